//! A real Keycloak with a private database, made of `tests/keycloak/realm.json`, and an administrator.

use std::ffi::OsStr;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::kept::{Kept, Program};
use super::{cache, free_tcp_port, until};

/// The secret of all service clients: easy to find where it must not be.
pub const SECRET: &str = "canary-recorder-secret-0123456789";
/// The secret of the client `Controller`.
pub const CONTROLLER_SECRET: &str = "canary-controller-secret-0123456789";
/// Name and password of whoever may change the realm.
const ADMIN: &str = "administrator";

/// A running identity provider.
pub struct Keycloak {
    _server: Kept,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
}

impl Keycloak {
    /// The one that all tests of this program share.
    pub fn shared() -> &'static Keycloak {
        static SHARED: OnceLock<Keycloak> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Begins to start it, and returns before it answers.
    pub fn begin() -> Keycloak {
        let home = cache().join("keycloak");
        let database = home.join("data/h2/keycloakdb.mv.db");
        assert!(database.exists(), "{} is missing: run scripts/servers all first", database.display());
        let folder = tempfile::tempdir().expect("a folder").keep();
        std::fs::copy(database, folder.join("keycloakdb.mv.db")).expect("copied");
        let port = free_tcp_port();
        let words = [
            "java".to_owned(),
            // What keeps its start short.
            "-XX:+UseSerialGC".into(),
            "-XX:TieredStopAtLevel=1".into(),
            "-Xms64m".into(),
            "-Xmx256m".into(),
            "-Dfile.encoding=UTF-8".into(),
            format!("-Dkc.home.dir={}", home.display()),
            format!("-Djboss.server.config.dir={}", home.join("conf").display()),
            "-Djava.util.logging.manager=org.jboss.logmanager.LogManager".into(),
            "-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory"
                .into(),
            "-cp".into(),
            home.join("lib/quarkus-run.jar").display().to_string(),
            "io.quarkus.bootstrap.runner.QuarkusEntryPoint".into(),
            "start".into(),
            "--optimized".into(),
            "--cache=local".into(),
            "--http-enabled=true".into(),
            "--http-host=127.0.0.1".into(),
            format!("--http-port={port}"),
            format!("--hostname=http://127.0.0.1:{port}"),
            format!("--db-url=jdbc:h2:file:{}/keycloakdb;NON_KEYWORDS=VALUE", folder.display()),
        ];
        let log = folder.join("log");
        let words = words.iter().map(|word| OsStr::new(word.as_str())).collect();
        let server = Kept::start(Program { words, variables: Vec::new(), log: &log, folder: Some(folder.clone()) });
        Keycloak { _server: server, port }
    }

    /// Starts it and waits until it answers.
    pub fn start() -> Keycloak {
        let keycloak = Self::begin();
        keycloak.wait();
        keycloak
    }

    /// Waits until it answers. Its port opens many seconds before, and then 503 is all that it says.
    pub fn wait(&self) {
        let realm = self.issuer();
        until(Duration::from_secs(120), "Keycloak answers", || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--max-time", "5", "--output", "/dev/null", &realm]);
            curl.status().expect("curl runs").success().then_some(())
        });
    }

    /// The issuer of its realm.
    pub fn issuer(&self) -> String {
        self.issuer_at(&format!("http://127.0.0.1:{}", self.port))
    }

    /// The realm behind another address.
    pub fn issuer_at(&self, base: &str) -> String {
        format!("{base}/realms/opentalk")
    }

    /// Changes a client's settings, as an administrator does.
    pub fn change_client(&self, client: &str, settings: &Value) {
        let token = self.admin_token();
        let found = self.admin("GET", &format!("/clients?clientId={client}"), None, &token);
        let id = found[0]["id"].as_str().expect("a client");
        self.admin("PUT", &format!("/clients/{id}"), Some(settings), &token);
    }

    /// Imports clients, roles and users, as an administrator does in the console.
    pub fn import(&self, what: &Value) {
        self.admin("POST", "/partialImport", Some(what), &self.admin_token());
    }

    /// The secret that it has made for a client.
    pub fn secret_of(&self, client: &str) -> String {
        let token = self.admin_token();
        let found = self.admin("GET", &format!("/clients?clientId={client}"), None, &token);
        let id = found[0]["id"].as_str().expect("a client");
        let secret = self.admin("GET", &format!("/clients/{id}/client-secret"), None, &token);
        secret["value"].as_str().expect("a secret").to_owned()
    }

    fn admin_token(&self) -> String {
        let url = format!("{}/protocol/openid-connect/token", self.issuer());
        let form = format!("grant_type=password&client_id=Frontend&username={ADMIN}&password={ADMIN}");
        let answer = curl(&["--data", &form, &url]);
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    fn admin(&self, method: &str, path: &str, body: Option<&Value>, token: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/admin/realms/opentalk{path}", self.port);
        let header = format!("Authorization: Bearer {token}");
        let body = body.unwrap_or(&json!({})).to_string();
        let mut arguments = vec!["--request", method, "--header", &header, "--header", "Content-Type: application/json"];
        if method != "GET" {
            arguments.extend(["--data", &body]);
        }
        arguments.push(&url);
        curl(&arguments)
    }
}

/// What a server answers to curl; nothing is null.
fn curl(arguments: &[&str]) -> Value {
    let out =
        Command::new("curl").args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"]).args(arguments).output();
    let out = out.expect("curl runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
}

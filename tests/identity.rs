//! Who we are for a controller: access tokens of a real Keycloak, and what is said when there are none.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use recorder_core::fault::{Blame, Fault, Retry};
use recorder_core::identity::Trouble;
use recorder_core::secret::Secret;
use roomcast::identity::{Claims, Identity, Provider, ProviderSettings, Refusal};
use roomcast::trust::Trust;
use serde_json::{Value, json};
use world::bad_http::{BadHttp, Fate};
use world::certificates::Certificates;
use world::keycloak::{Keycloak, SECRET};
use world::log::Log;
use world::rabbitmq::{PASSWORD, RabbitMq, USER};

fn settings(client: &str) -> ProviderSettings {
    ProviderSettings {
        issuer: Keycloak::shared().issuer(),
        token_endpoint: None,
        client_id: client.into(),
        client_secret: Secret::new(SECRET),
        trust: Trust::load(None).expect("the system's"),
    }
}

/// The same behind another name: only the endpoint is known there.
fn behind(proxy: &BadHttp, client: &str) -> ProviderSettings {
    let endpoint = format!("{}/protocol/openid-connect/token", Keycloak::shared().issuer_at(&proxy.url()));
    ProviderSettings { token_endpoint: Some(endpoint), ..settings(client) }
}

fn identity(settings: ProviderSettings) -> Identity {
    Identity::start(Provider::new(settings))
}

async fn trouble(settings: ProviderSettings) -> Trouble {
    Provider::new(settings).token().await.expect_err("no token")
}

/// Does what has a runtime of its own.
fn apart<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(act).join().expect("no panic"))
}

/// A proxy before the provider.
fn before(judge: impl FnMut(&world::bad_http::Asked) -> Fate + Send + 'static) -> BadHttp {
    let port = Keycloak::shared().port;
    apart(move || BadHttp::before(port, judge))
}

/// When a token ends, in seconds since 1970.
fn end_of(token: &Secret) -> u64 {
    let claims = token.expose().split('.').nth(1).expect("a JWT");
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    claims["exp"].as_u64().expect("an end")
}

fn seconds_since_1970() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Waits until `look` gives something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), looking).await.unwrap_or_else(|_| panic!("not within 40 s: {what}"))
}

#[tokio::test]
async fn one_request_gives_everybody_the_same_token_with_its_role() {
    let log = Log::start();
    let proxy = before(|_| Fate::Pass);
    let identity = identity(behind(&proxy, "Recorder"));
    let asked: Vec<_> = (0..50)
        .map(|_| {
            tokio::spawn({
                let identity = identity.clone();
                async move { identity.token().await }
            })
        })
        .collect();
    let mut tokens = Vec::new();
    for one in asked {
        tokens.push(one.await.expect("no panic").expect("a token"));
    }
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(proxy.asked(), 1);
    assert_eq!(Claims::read(&tokens[0]).has_role(), Some(true));
    log.holds_none_of(&[SECRET, tokens[0].expose()]);
}

/// A token of four seconds is replaced again and again, and none that is over is ever given out.
#[tokio::test]
async fn tokens_are_renewed_long_before_their_end() {
    let identity = identity(settings("ShortLived"));
    let mut seen = vec![identity.token().await.expect("a token")];
    while seen.len() < 4 {
        let next = until("another token", async || {
            let token = identity.token().await.expect("a token");
            assert!(end_of(&token) >= seconds_since_1970(), "a token that is over");
            (Some(&token) != seen.last()).then_some(token)
        })
        .await;
        seen.push(next);
    }
}

#[tokio::test]
async fn a_provider_that_is_not_ready_is_asked_until_it_is() {
    let log = Log::start();
    let proxy = before(|asked| if asked.number < 3 { Fate::Answer(503) } else { Fate::Pass });
    let identity = identity(behind(&proxy, "Recorder"));
    let fault = identity.token().await.expect_err("not ready");
    assert_eq!(fault.sentence, "The identity provider is not ready: it answers 503.");
    assert!(matches!(fault.retry, Retry::After(pause) if pause <= Duration::from_millis(250)), "{fault:?}");
    until("a token", async || identity.token().await.ok()).await;
    assert_eq!(proxy.asked(), 4);
    log.holds("gives access tokens again");
}

/// While the provider is away the token that is there is used to its end; then everybody is told, and it is found again when it is back.
#[tokio::test]
async fn a_provider_that_goes_away_is_missed_only_when_the_token_ends() {
    let mut proxy = before(|_| Fate::Pass);
    let identity = identity(behind(&proxy, "ShortLived"));
    let last = identity.token().await.expect("a token");
    apart(|| proxy.set_open(false));
    let fault = until("the token's end", async || match identity.token().await {
        Ok(token) => {
            assert!(token == last && end_of(&token) >= seconds_since_1970());
            None
        }
        Err(fault) => Some(fault),
    })
    .await;
    assert_eq!(fault.sentence, "The identity provider cannot be reached.");
    assert!(matches!(fault.retry, Retry::After(pause) if pause <= Duration::from_secs(20)));
    apart(|| proxy.set_open(true));
    let next = until("a token", async || identity.token().await.ok()).await;
    assert_ne!(next, last);
}

#[tokio::test]
async fn each_thing_that_an_operator_can_get_wrong_has_its_sentence() {
    let other_secret = ProviderSettings { client_secret: Secret::new("wrong"), ..settings("Recorder") };
    assert_eq!(trouble(other_secret).await, Trouble::WrongClient);
    assert_eq!(trouble(settings("Stranger")).await, Trouble::WrongClient);
    assert_eq!(trouble(settings("NoServiceAccount")).await, Trouble::NoServiceAccount);
    let keycloak = Keycloak::shared();
    let at = |issuer: String| ProviderSettings { issuer, ..settings("Recorder") };
    assert_eq!(trouble(at(format!("http://127.0.0.1:{}/realms/other", keycloak.port))).await, Trouble::NoRealm);
    let other_name = at(format!("http://localhost:{}/realms/opentalk", keycloak.port));
    assert_eq!(trouble(other_name).await, Trouble::OtherIssuer { issuer: keycloak.issuer() });
    assert_eq!(trouble(at("http://127.0.0.1:1/realms/opentalk".into())).await, Trouble::Unreachable);
    let nowhere =
        ProviderSettings { token_endpoint: Some(format!("http://127.0.0.1:{}/nothing", keycloak.port)), ..settings("Recorder") };
    assert_eq!(trouble(nowhere).await, Trouble::NotUnderstood);
    let certificates = Certificates::make();
    let foreign = certificates.tls_server("foreign");
    assert_eq!(trouble(at(format!("https://localhost:{foreign}/realms/opentalk"))).await, Trouble::NotSecure);
    let silent = before(|_| Fate::Swallow);
    assert_eq!(trouble(behind(&silent, "Recorder")).await, Trouble::TooSlow);
    let odd = before(|_| Fate::Answer(200));
    assert_eq!(trouble(behind(&odd, "Recorder")).await, Trouble::NotUnderstood);
}

/// What somebody must mend is told at once to everybody who asks, and found mended without a restart.
#[tokio::test]
async fn a_client_that_is_switched_off_is_told_and_found_again() {
    let keycloak = Keycloak::shared();
    keycloak.change_client("Switched", &json!({"enabled": false}));
    let identity = identity(settings("Switched"));
    let fault = identity.token().await.expect_err("no token");
    assert_eq!(fault.blame, Blame::Operator);
    assert!(fault.sentence.contains("see that the client is enabled"), "{fault}");
    keycloak.change_client("Switched", &json!({"enabled": true}));
    until("a token", async || identity.token().await.ok()).await;
}

/// The controller says 401: one more token is asked for, and when that does not help either the reason is told.
#[tokio::test]
async fn a_refused_token_is_renewed_once_and_then_explained() {
    for (client, words) in
        [("Nobody", "lacks the role opentalk-recorder"), ("CallIn", "lacks the role opentalk-recorder"), ("Recorder", "issuer")]
    {
        let log = Log::start();
        let identity = identity(settings(client));
        let first = identity.token().await.expect("a token");
        assert_eq!(identity.refused(&first).await, Refusal::TryAnother);
        let second = identity.token().await.expect("another");
        assert_ne!(second, first);
        // Another Session still had the first one.
        assert_eq!(identity.refused(&first).await, Refusal::TryAnother);
        assert_eq!(identity.token().await.expect("the same"), second);
        let Refusal::Final(Fault { sentence, retry, .. }) = identity.refused(&second).await else { panic!("a third token") };
        assert!(sentence.contains(words), "{sentence}");
        assert_eq!(retry, Retry::Never);
        if client == "Nobody" {
            log.holds("lacks the role opentalk-recorder");
        }
        log.holds_none_of(&[SECRET, first.expose(), second.expose()]);
    }
}

/// What operators import is what is needed: the role, and the audience that older controllers ask for.
#[tokio::test]
async fn the_sample_for_operators_gives_a_token_with_role_and_audience() {
    let keycloak = Keycloak::shared();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/keycloak/recorder.json");
    let text = std::fs::read_to_string(sample).expect("a file");
    // Under a name of its own: the client of the other tests stays as it is.
    let text = text.replace("service-account-recorder", "service-account-imported").replace("\"Recorder\"", "\"Imported\"");
    keycloak.import(&serde_json::from_str(&text).expect("JSON"));
    let settings = ProviderSettings { client_secret: Secret::new(keycloak.secret_of("Imported")), ..settings("Imported") };
    let token = Provider::new(settings).token().await.expect("a token");
    assert_eq!(token.claims.has_role(), Some(true));
    assert!(token.claims.audience().contains(&"Controller".to_owned()), "{:?}", token.claims);
}

/// The realm and the configuration of the sample stack belong to each other.
#[tokio::test]
async fn the_sample_stack_logs_in() {
    let keycloak = Keycloak::shared();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/opentalk");
    let text = |name: &str| std::fs::read_to_string(samples.join(name)).expect("a file");
    let realm =
        text("realm.json").replace("service-account-recorder", "service-account-sample").replace("\"Recorder\"", "\"Sample\"");
    let realm: Value = serde_json::from_str(&realm).expect("JSON");
    let (clients, users) = (&realm["clients"], &realm["users"]);
    keycloak.import(&serde_json::json!({ "ifResourceExists": "SKIP", "clients": clients, "users": users }));
    let config: toml::Value = toml::from_str(&text("roomcast.toml")).expect("TOML");
    let secret = config["keycloak"]["client_secret"].as_str().expect("a secret");
    let settings = ProviderSettings { client_secret: Secret::new(secret), ..settings("Sample") };
    let token = Provider::new(settings).token().await.expect("a token");
    assert_eq!(token.claims.has_role(), Some(true));
    assert!(token.claims.audience().contains(&"Controller".to_owned()), "{:?}", token.claims);
    let controller: toml::Value = toml::from_str(&text("controller.toml")).expect("TOML");
    assert_eq!(controller["rabbit_mq"]["recording_task_queue"], config["rabbitmq"]["queue"]);
}

/// The lines of `roomcast check` that are about Orders.
fn check(folder: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.current_dir(folder).args(["--config", "roomcast.toml", "check"]).envs(variables.iter().copied());
    let out = command.output().expect("it runs");
    let all = [out.stdout, out.stderr].concat();
    assert!(!String::from_utf8_lossy(&all).contains("canary"), "a secret was said");
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn check_looks_at_all_that_orders_of_a_controller_need() {
    let (keycloak, broker) = (Keycloak::shared(), RabbitMq::shared());
    let mut controller = BadHttp::before(keycloak.port, |asked| {
        Fate::Answer(if asked.headers.contains("authorization: bearer ") { 500 } else { 401 })
    });
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[keycloak]\nissuer = \"{}\"\n[rabbitmq]\nurl = \"{}\"\nuser = \"{USER}\"\nqueue = \"checked\"\n[controller]\nurl = \"{}\"\n",
        keycloak.issuer(),
        broker.url(),
        controller.url(),
    );
    std::fs::write(folder.path().join("roomcast.toml"), config).expect("written");
    let good = [("ROOMCAST_KEYCLOAK__CLIENT_SECRET", SECRET), ("ROOMCAST_RABBITMQ__PASSWORD", PASSWORD)];
    let said = check(folder.path(), &good);
    for line in [
        "ok    identity provider, client Recorder: gives an access token for 300 s with the role opentalk-recorder",
        "warn  identity provider, client Recorder: the access token is meant for no client",
        "ok    message broker, queue checked: can be used; the queue is not there yet",
        &format!("ok    controller {}: accepts the access token; to a room that does not exist it answers 500", controller.url()),
    ] {
        assert!(said.contains(line), "{line} was not said:\n{said}");
    }
    controller.set_open(false);
    let bad = [
        ("ROOMCAST_KEYCLOAK__CLIENT_SECRET", SECRET),
        ("ROOMCAST_KEYCLOAK__CLIENT_ID", "Nobody"),
        ("ROOMCAST_RABBITMQ__PASSWORD", "wrong"),
    ];
    let said = check(folder.path(), &bad);
    for line in [
        "FAIL  identity provider, client Nobody: The access token lacks the role opentalk-recorder: give the realm role",
        "FAIL  message broker, queue checked: The message broker does not let us in: correct [rabbitmq] user and password",
        &format!("FAIL  controller {}: the server cannot be reached: correct [controller] url", controller.url()),
        "things must be done before this works",
    ] {
        assert!(said.contains(line), "{line} was not said:\n{said}");
    }
    let said = check(folder.path(), &[]);
    assert!(said.contains("FAIL  identity provider: keycloak.issuer needs the secret of the client"), "{said}");
    assert!(said.contains("FAIL  message broker: rabbitmq.url needs the password of the user"), "{said}");
}

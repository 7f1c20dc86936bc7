//! Bad input from outside, each with its exact outcome: exit code, the sentence, and what is on disk afterwards. Secrets are kept.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use world::family::{Family, Role};
use world::film::Film;
use world::livekit::{API_KEY, API_SECRET, Grant, LiveKit, Rooms, token, token_until};
use world::product::{Outcome, Product};

/// The sentence for the operator: the last line.
fn sentence(outcome: &Outcome) -> &str {
    outcome.log.lines().rev().find(|line| line.starts_with("error: ")).unwrap_or("no sentence")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("a process").uid() == 0
}

/// Records with this token; the outcome, and what was left in the folder.
fn refused(url: &str, token: &str) -> (Outcome, Vec<String>) {
    let folder = tempfile::tempdir().expect("folder");
    let arguments = ["record", "--livekit", url, "--token-file", "-", "--to", "out.mp4", "--duration", "3s"];
    let product = Product::start(folder.path(), &arguments, &[("ROOMCAST_SESSION__CONFERENCE_GRACE", "5s")], token);
    let outcome = product.finish(Duration::from_secs(60));
    outcome.keeps_secret(folder.path(), &[token, API_SECRET]);
    let left = names(folder.path()).into_iter().filter(|name| name != "stdout" && name != "stderr").collect();
    (outcome, left)
}

#[test]
fn a_server_that_refuses_us_is_told_in_a_sentence_and_nothing_is_left() {
    let server = LiveKit::start();
    let strict = LiveKit::with(Rooms::Unknown);
    let good = token("room", "roomcast", "", Grant::Recorder);
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let expired = token_until("room", "roomcast", "", Grant::Recorder, -60);
    let nobody_there = format!("ws://127.0.0.1:{}", world::free_tcp_port());
    let web_server = WebServer::start();
    for (url, token, code, expected) in [
        (server.url(), forged.as_str(), 2, "error: The LiveKit server does not accept the access token."),
        (server.url(), expired.as_str(), 2, "error: The access token for the LiveKit room has expired."),
        (server.url(), "a.b.c", 2, "error: The LiveKit server does not accept the access token."),
        (strict.url(), good.as_str(), 2, "error: The room does not exist on the LiveKit server."),
        (web_server.url(), good.as_str(), 2, "error: There is no LiveKit server at this address."),
        (nobody_there, good.as_str(), 1, "error: The LiveKit server cannot be reached."),
    ] {
        let (outcome, left) = refused(&url, token);
        assert_eq!(sentence(&outcome), expected, "{}", outcome.log);
        assert_eq!(outcome.status.code(), Some(code), "{expected}");
        assert_eq!(outcome.said, "", "{expected}");
        assert!(left.is_empty(), "{expected} {left:?}");
    }
}

/// A web server that has nothing.
struct WebServer {
    port: u16,
}

impl WebServer {
    fn start() -> WebServer {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        // Ends with the test program.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                use std::io::{Read, Write};
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\nConnection: close\r\n\r\nnothing");
            }
        });
        WebServer { port }
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }
}

#[test]
fn layouts_and_sizes_that_cannot_be_are_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("layout");
    at("torn.toml", "background = \"#000000\"\n[[arrangement]\n");
    at("unknown.toml", "colour = \"#000000\"\narrangement = []\n");
    at("empty.toml", "arrangement = []\n");
    at("binary.toml", "\u{0}\u{1}\u{2}");
    for (arguments, expected) in [
        (["--layout", "torn.toml"], "layout \"torn.toml\", line 2: unclosed array table, expected `]`"),
        (
            ["--layout", "unknown.toml"],
            "layout \"unknown.toml\", line 1: unknown field `colour`, expected one of `background`, `backdrop`, `safe_area`, `video`, `hold_ms`, \
             `transition_ms`, `strip`, `pinned`, `ornament`, `arrangement`",
        ),
        (["--layout", "empty.toml"], "layout \"empty.toml\", top level: arrangement must be there at least once"),
        (["--layout", "binary.toml"], "layout \"binary.toml\", line 1: key with no value, expected `=`"),
        (
            ["--size", "0x0"],
            "invalid value '0x0' for '--size <SIZE>': 0x0 is out of range: a picture has 128x128 to 3840x2160 pixels",
        ),
        (
            ["--size", "321x180"],
            "invalid value '321x180' for '--size <SIZE>': 321x180 is odd: width and height must be even numbers",
        ),
        (
            ["--size", "99999999999x2"],
            "invalid value '99999999999x2' for '--size <SIZE>': \"99999999999x2\" is not a size; write it like \"1280x720\"",
        ),
    ] {
        let product = Product::start(folder.path(), &[&["rehearse", "--to", "out.mp4"][..], &arguments].concat(), &[], "");
        let outcome = product.finish(Duration::from_secs(10));
        let first = outcome.log.lines().next().unwrap_or_default();
        assert_eq!(first, format!("error: {expected}"));
        assert_eq!(outcome.status.code(), Some(2), "{first}");
    }
    assert_eq!(names(folder.path()), ["binary.toml", "empty.toml", "stderr", "stdout", "torn.toml", "unknown.toml"]);
}

#[test]
fn a_folder_that_may_not_be_written_is_named_before_anything_starts() {
    let base = tempfile::tempdir().expect("folder");
    std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let closed = base.path().join("closed");
    std::fs::create_dir(&closed).expect("folder");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).expect("mode");
    // The program where everybody may run it: folders above may be closed to others.
    let program = base.path().join("roomcast");
    std::fs::copy(env!("CARGO_BIN_EXE_roomcast"), &program).expect("copy");
    for (wanted, folder) in
        [(closed.join("out.mp4"), closed.join("out.mp4.roomcast")), (closed.join("new/out.mp4"), closed.join("new"))]
    {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        command.args(["record", "--livekit", "ws://127.0.0.1:1", "--token-file", "-", "--to"]).arg(&wanted).current_dir("/");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("roomcast starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"a.b.c").expect("token");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!("error: The folder {} cannot be made: Permission denied (os error 13).", folder.display());
        assert_eq!(said.lines().next(), Some(expected.as_str()), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
    assert!(names(&closed).is_empty());
}

#[test]
fn a_full_disk_ends_the_recording_there_with_a_sentence_and_a_film_that_plays() {
    let folder = tempfile::tempdir().expect("folder");
    let small = folder.path().join("small");
    std::fs::create_dir(&small).expect("folder");
    // In a mount namespace of its own, so nothing is left mounted; what is on the small disk is copied out at the end.
    let script = format!(
        "mount -t tmpfs -o size=2m none {small} || exit 77; {program} rehearse --duration 60s --size 320x180 --to {small}/out.mp4; \
         code=$?; ls -A {small} > left; cp {small}/out.mp4 . ; exit $code",
        small = small.display(),
        program = env!("CARGO_BIN_EXE_roomcast")
    );
    let output = Command::new("unshare")
        .args(if is_root() { &["--mount"][..] } else { &["--user", "--map-root-user", "--mount"] })
        .args(["sh", "-c", &script])
        .env("ROOMCAST_PROGRAMME__SOUND_KBPS", "256")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(77), "a small disk cannot be mounted here: {said}");
    println!("{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let expected = format!("error: The disk is full: {}/out.mp4.roomcast/recording.mp4 cannot grow.", small.display());
    assert_eq!(said.lines().last(), Some(expected.as_str()), "{said}");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(folder.path().join("left")).expect("names"), "out.mp4\n", "finalised to that point");
    let film = Film::watch(&folder.path().join("out.mp4"), &[]);
    assert_eq!(film.complaints, "");
    assert!(film.pictures.len() > 60, "{} pictures", film.pictures.len());
    assert!((film.sound().end_s() - film.duration_s).abs() < 0.1);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let duration =
        table.lines().find_map(|line| line.trim().strip_prefix("duration")?.trim().strip_suffix(" s")?.parse::<f64>().ok());
    // The table counts what the disk has confirmed; the fragment whose confirmation failed may be whole all the same.
    let unconfirmed_s = film.duration_s - duration.expect("a table");
    assert!((-0.1..=0.6).contains(&unconfirmed_s), "{unconfirmed_s} s more than in {table}");
}

/// What a process was started with: arguments, and environment where `is_child`.
fn public_parts(pid: u32, with_environment: bool) -> String {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).map(|raw| String::from_utf8_lossy(&raw).into_owned());
    let mut all = read("cmdline").expect("it runs");
    if with_environment {
        all += &read("environ").expect("it runs");
    }
    all
}

/// Records an empty room with everything logged, and looks into its processes meanwhile. `secrets` may be nowhere.
fn looked_through(way: &[&str], environment: &[(&str, &str)], secrets: &[&str], input: &str, url: &str) {
    let folder = tempfile::tempdir().expect("folder");
    let arguments = [&["record", "--livekit", url, "--to", "out.mp4", "--duration", "2s", "--size", "320x180"], way].concat();
    let environment = [environment, &[("RUST_LOG", "trace")]].concat();
    let product = Product::start(folder.path(), &arguments, &environment, input);
    product.logs(" recording target.id=", Duration::from_secs(20));
    let family = Family::of(product.pid());
    assert!(family.the(Role::Worker).is_some());
    for (pid, role) in &family.members {
        // The supervisor was given what the operator gave it; nobody below gets it that way.
        let seen = public_parts(*pid, *role != Role::Supervisor);
        for secret in secrets {
            assert!(!seen.contains(secret), "a secret is in the arguments or environment of the {role:?}");
        }
    }
    let outcome = product.finish(Duration::from_secs(30));
    assert!(
        outcome.status.success(),
        "{}",
        outcome.log.lines().filter(|line| !line.contains("TRACE")).collect::<Vec<_>>().join("\n")
    );
    for text in [API_SECRET, "eyJ", "ice-pwd", "a=fingerprint", "access_token="] {
        if let Some(at) = outcome.log.find(text) {
            let line = outcome.log[..at].rfind('\n').map_or(0, |end| end + 1);
            panic!("{text:?} is in the log: {}", outcome.log[line..].lines().next().unwrap_or_default());
        }
    }
    outcome.keeps_secret(folder.path(), secrets);
}

#[test]
fn secrets_are_in_no_log_argument_list_environment_or_file() {
    let server = LiveKit::start();
    let keys = tempfile::tempdir().expect("folder");
    let file = |name: &str, text: &str| {
        let path = keys.path().join(name);
        std::fs::write(&path, text).expect("file");
        path.display().to_string()
    };
    let token = token("canary", "roomcast", "", Grant::Recorder);
    let (token_file, secret_file) = (file("token", &token), file("secret", API_SECRET));
    let url = server.url();
    looked_through(&["--token-file", &token_file], &[], &[&token, API_SECRET], "", &url);
    looked_through(&["--token-file", "-"], &[], &[&token, API_SECRET], &token, &url);
    let by_key = ["--room", "canary", "--api-key", API_KEY];
    looked_through(&[&by_key[..], &["--api-secret-file", &secret_file]].concat(), &[], &[API_SECRET], "", &url);
    looked_through(&by_key, &[("ROOMCAST_LIVEKIT__API_SECRET", API_SECRET)], &[API_SECRET], "", &url);
    let wrong = "canary-wrong-secret-0123456789abcdefghij";
    let folder = tempfile::tempdir().expect("folder");
    let arguments = [&["record", "--livekit", &url, "--to", "out.mp4"], &by_key[..]].concat();
    let environment = [("ROOMCAST_LIVEKIT__API_SECRET", wrong), ("RUST_LOG", "trace")];
    let outcome = Product::start(folder.path(), &arguments, &environment, "").finish(Duration::from_secs(30));
    assert_eq!(sentence(&outcome), "error: The LiveKit server does not accept the access token.");
    outcome.keeps_secret(folder.path(), &[wrong]);
    assert!(!outcome.log.contains("eyJ"));
}

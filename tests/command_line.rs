//! What the program says to bad input, word for word.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn roomcast(folder: &Path, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.current_dir(folder).env_clear().env("COLUMNS", "100").envs(variables.iter().copied()).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn bad_input_has_an_exact_sentence_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    at("empty", " \n");
    at("token", "a.b.c\n");
    at("no-token", "hello\n");
    at("bad.toml", "[mixer]\ndelay = \"9s\"\n");
    std::fs::create_dir(folder.path().join("folder.mp4")).unwrap();
    let url = ["--livekit", "wss://x.invalid"];
    let good = |more: &[&'static str]| [&["record"], &url[..], &["--to", "a.mp4"], more].concat();
    let no_arguments = "a token is not taken as an argument, because other users of this machine can read it there; put it into a file and \
         give --token-file FILE, or - for standard input";
    let no_secret = "a secret is not taken as an argument, because other users of this machine can read it there; give \
                     --api-secret-file FILE or set ROOMCAST_LIVEKIT__API_SECRET";
    let no_operator = "a token is not taken as an argument, because other users of this machine can read it there; give --token-file FILE \
                       or set ROOMCAST_HTTP__TOKEN";
    let table: Vec<(Vec<&str>, &str)> = vec![
        (good(&["--token", "canary"]), no_arguments),
        (good(&["--token=canary"]), no_arguments),
        (good(&["--token"]), no_arguments),
        (good(&["--room", "r", "--api-secret", "canary"]), no_secret),
        (good(&[]), "give --token-file FILE with an access token, or --room NAME with an API key and its secret"),
        (good(&["--room", "r"]), "--room needs an API key: give --api-key KEY or set ROOMCAST_LIVEKIT__API_KEY"),
        (
            good(&["--room", "r", "--api-key", "k"]),
            "--room needs the secret of the API key: give --api-secret-file FILE or set ROOMCAST_LIVEKIT__API_SECRET",
        ),
        (
            good(&["--room", "r", "--api-key", "k", "--api-secret-file", "missing"]),
            "cannot read missing: no such file or directory",
        ),
        (good(&["--room", "r", "--api-key", "k", "--api-secret-file", "empty"]), "empty is empty; it must hold the secret"),
        (good(&["--token-file", "missing"]), "cannot read the token from missing: no such file or directory"),
        (good(&["--token-file", "empty"]), "empty holds no token"),
        (good(&["--token-file", "-"]), "standard input does not hold an access token (three parts with dots between)"),
        (good(&["--token-file", "no-token"]), "no-token does not hold an access token (three parts with dots between)"),
        (
            good(&["--token-file", "token", "--layout", "circle"]),
            "there is no layout \"circle\"; give one of auto, stage, screen, speaker, grid, interview, single, portrait, audio, or a file.toml",
        ),
        (good(&["--token-file", "token", "--layout", "x.toml"]), "cannot read the layout x.toml: no such file or directory"),
        (good(&["--token-file", "token", "--duration", "0s"]), "--duration must be at least 1s"),
        (good(&["--config", "bad.toml"]), "bad.toml, line 2: mixer.delay: 9s is out of range: it must be 200ms to 2s"),
        (good(&["--config", "none.toml"]), "cannot read none.toml: no such file or directory"),
        (vec!["record", "--to", "a.mp4"], "give the address of the LiveKit server with --livekit URL"),
        (
            vec!["record", "--to", "a.mp4", "--livekit", "wss://u:canary@h", "--token-file", "token"],
            "--livekit: an address must not contain a password, a token or anything after a question mark",
        ),
        (vec!["record", "--to", "folder.mp4"], "--to folder.mp4 is a folder; give the name of the file to make"),
        (
            vec!["record", "--to", "a.mkv"],
            "--to a.mkv is neither a file that ends in .mp4, nor s3://bucket/key.mp4, nor rtmp://host/app, nor a live destination of \
             the configuration (none is configured)",
        ),
        (vec!["record", "--to", "./a.mkv"], "--to ./a.mkv must end in .mp4"),
        (
            vec!["record", "--to", "rtmp://h/app/canary", "--key-file", "token"],
            "a stream key is not taken as an argument, because other users of this machine can read it there; give the address as \
             rtmp://HOST/APP, and the key with --key-file FILE. An application with a slash in its name is configured as a destination",
        ),
        (
            vec!["record", "--to", "a.mp4", "--key", "canary"],
            "a stream key is not taken as an argument, because other users of this machine can read it there; put it into a file and \
             give --key-file FILE, or - for standard input",
        ),
        (
            vec!["record", "--to", "s3://team/a.mp4"],
            "s3:// needs an access key: write storage.access_key into the configuration, or set ROOMCAST_STORAGE__ACCESS_KEY",
        ),
        (
            vec!["worker", "--link", "0"],
            "file descriptor 0 is not the private socket: a worker is started by the supervisor, not by hand",
        ),
        (vec!["recover", "folder.mp4"], "The folder folder.mp4 holds nothing that can be recovered; it was left as it is."),
        (
            good(&["--size", "0x0"]),
            "invalid value '0x0' for '--size <SIZE>': 0x0 is out of range: a picture has 128x128 to 3840x2160 pixels",
        ),
        (good(&["--http", "localhost"]), "invalid value 'localhost' for '--http <ADDRESS>': invalid socket address syntax"),
        (vec!["status", "--token", "canary"], no_operator),
        (vec!["layout", "s", "grid", "--token=canary"], no_operator),
        (vec!["status", "--token-file", "empty"], "empty holds no token"),
        (
            vec!["health", "--url", "https://u:canary@example.org"],
            "this is not an address of Roomcast; write it like \"http://127.0.0.1:11411\"",
        ),
        (good(&["--fps", "0"]), "invalid value '0' for '--fps <FPS>': 0 is not in 1..=60"),
    ];
    for (arguments, sentence) in table {
        let output = roomcast(folder.path(), &arguments, &[], "canary");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.lines().next(), Some(format!("error: {sentence}").as_str()), "for {arguments:?}");
        assert_eq!(output.status.code(), Some(2), "for {arguments:?}");
        assert!(!error.contains("canary"), "for {arguments:?}");
        assert!(output.stdout.is_empty());
    }
    // Nothing was made.
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bad.toml", "empty", "folder.mp4", "no-token", "token"]);
}

#[test]
fn a_bad_variable_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("ROOMCAST_MIXER__DELAY", "soon")];
    let output = roomcast(folder.path(), &["recover", "x"], &variables, "");
    let sentence = "error: environment variable ROOMCAST_MIXER__DELAY: \"soon\" is not a length of time; write it like \
                    \"500ms\", \"60s\", \"2m\" or \"12h\"\n";
    assert_eq!((String::from_utf8(output.stderr).unwrap().as_str(), output.status.code()), (sentence, Some(2)));
}

/// What a health check of a container sees when nobody answers.
#[test]
fn nobody_is_not_healthy() {
    let folder = tempfile::tempdir().unwrap();
    // Held, so that nobody else listens there, and never listened on.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    let output = roomcast(folder.path(), &["health"], &[("ROOMCAST_HTTP__LISTEN", &address)], "");
    let sentence = format!("error: {address} cannot be reached: connection refused\n");
    assert_eq!((String::from_utf8(output.stderr).unwrap(), output.status.code()), (sentence, Some(1)));
}

#[test]
fn an_interrupt_while_the_simulated_meeting_begins_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let is_empty = || std::fs::read_dir(&temporary).unwrap().next().is_none();
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.current_dir(folder.path()).env("TMPDIR", &temporary).args(["rehearse", "--to", "out.mp4"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The folder of the actors' socket is made just before they are started.
    while is_empty() {
        std::thread::yield_now();
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "ended by itself: {error}");
    assert!(error.contains("nothing was recorded") || error.contains("before anything was recorded"), "{error}");
    assert!(is_empty(), "the actors and their folder are gone");
    assert!(!folder.path().join("out.mp4").exists());
}

#[test]
fn another_recorders_configuration_becomes_ours_and_its_secrets_go_into_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let old = "[auth]\nissuer = \"https://id.example.org/realms/o\"\nclient_secret = \"canary\"\n[recorder]\ndisplay = true\n";
    std::fs::write(at("old.toml"), old).unwrap();
    std::fs::create_dir(at("kept")).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let configuration = |folder: &str| {
        format!(
            "# Made by `roomcast import-config`. What is not said here has its default: see docs/config.md.\n\n[keycloak]\n\
             client_secret_file = \"{folder}/keycloak\"\nissuer = \"https://id.example.org/realms/o\"\n"
        )
    };
    let window =
        "recorder.display: not needed: there is no window to look into; a live destination of your own shows the same.\n";

    let output = roomcast(folder.path(), &["import-config", "old.toml"], &[], "");
    assert_eq!(text(&output.stdout), configuration("/run/secrets"));
    let remark = "auth.client_secret: put its secret into /run/secrets/keycloak, readable for Roomcast only.\n";
    assert_eq!(text(&output.stderr), format!("{window}{remark}"));
    assert_eq!(output.status.code(), Some(0));

    let into_files = ["import-config", "old.toml", "--secrets", "kept"];
    let output = roomcast(folder.path(), &into_files, &[], "");
    assert_eq!(text(&output.stdout), configuration("kept"));
    assert_eq!(text(&output.stderr), format!("{window}auth.client_secret: its secret is in kept/keycloak now.\n"));
    assert_eq!(std::fs::read_to_string(at("kept/keycloak")).unwrap(), "canary");
    assert_eq!(std::fs::metadata(at("kept/keycloak")).unwrap().permissions().mode() & 0o777, 0o400);

    let output = roomcast(folder.path(), &into_files, &[], "");
    assert_eq!(text(&output.stderr), "error: kept/keycloak is there already; nothing is overwritten\n");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(2)));

    std::fs::write(at("bad.toml"), "[auth]\nissuer_url = \"canary\"\n").unwrap();
    let output = roomcast(folder.path(), &["import-config", "bad.toml"], &[], "");
    let sentence = "error: bad.toml, line 2: auth.issuer_url: no version of OpenTalk's recorder has such a key; take it out, or correct \
                    its name\n";
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), (sentence, Some(2)));
}

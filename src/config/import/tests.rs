use std::collections::BTreeSet;

use super::*;

const FOLDER: &str = "/run/secrets";

fn imported(text: &str) -> Imported {
    import("old.toml", text, Path::new(FOLDER)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What is made of the file, without the line that says who made it.
fn toml_of(text: &str) -> String {
    let imported = imported(text);
    imported.toml.split_once('\n').map(|(_, rest)| rest.trim_start().to_owned()).unwrap_or_default()
}

fn refusal(text: &str) -> String {
    import("old.toml", text, Path::new(FOLDER)).expect_err("refused").to_string()
}

/// Versions 0.6 to 0.16.
const WITH_BROKER: &str = r#"
[auth]
issuer = "https://id.example.org/auth/realms/opentalk"
client_id = "Recorder"
client_secret = "canary-1"

[controller]
domain = "controller.example.org:11311"
insecure = false
upload_chunk_size = 6000000

[rabbitmq]
uri = "amqps://record%40er:canary%2D2@rabbitmq.example.org:5671/%2F?heartbeat=5"
queue = "opentalk_recorder"

[livekit]
url = "livekit.example.org:7880"
api_key = "devkey"
api_secret = "canary-3"

[monitoring]
addr = "127.0.0.1"
port = 11412

[recorder]
clock_format = "%d.%m.%Y %H:%M"
display = true
max_load = 80

[recorder.hardware_acceleration]
manufacturer = "intel"
device = "/dev/dri/renderD129"

[[recorder.sinks]]
type = "webm"
location = "/srv/recordings/$room.webm"

[[recorder.sinks]]
type = "rtmp"
location = "rtmp://live.example.org/app/canary-4 live=1"
audio_bitrate = 96000
audio_rate = 48000
video_bitrate = 6000
video_speed_preset = "fast"

[[recorder.sinks]]
type = "display"
"#;

const FROM_BROKER: &str = r#"# Made by `roomcast import-config`. What is not said here has its default: see docs/config.md.

[controller]
url = "https://controller.example.org:11311"

[keycloak]
client_id = "Recorder"
client_secret_file = "/run/secrets/keycloak"
issuer = "https://id.example.org/auth/realms/opentalk"

[rabbitmq]
password_file = "/run/secrets/rabbitmq"
queue = "opentalk_recorder"
url = "amqps://rabbitmq.example.org:5671/%2F"
user = "record@er"

[livekit]
api_key = "devkey"
api_secret_file = "/run/secrets/livekit"
url = "ws://livekit.example.org:7880"

[serve]
recordings = ["/srv/recordings/{start}-{room}.mp4"]

[strip]
clock = "%d.%m.%Y %H:%M"

[http]
listen = "127.0.0.1:11412"

[destinations.stream]
address = "rtmp://live.example.org/app"
key_file = "/run/secrets/key-stream"
"#;

/// Versions from 0.17 on.
const BY_KEYS: &str = r#"
[controller]
url = "https://controller.example.org"
api_key = "canary:canary-5"
upload_chunk_size = 5242880

[http]
addr = "0.0.0.0"
host = "0.0.0.0"
port = "5555"
api_keys = ["id:canary-6", { id = "roomserver", secret = "canary-7" }]

[monitoring]
port = 11411

[orchestrator]
url = "https://orchestrator.example.org"
api_key = { id = "recorder", secret = "canary-8" }

[recorder]
clock_format = "%x %X %Z"
"#;

const FROM_KEYS: &str = r#"# Made by `roomcast import-config`. What is not said here has its default: see docs/config.md.

[controller]
url = "https://controller.example.org"

[serve]
recordings = ["controller"]

[strip]
clock = "%x %X %Z"

[http]
listen = "0.0.0.0:11411"
"#;

#[test]
fn a_file_of_each_era_becomes_a_configuration_of_ours() {
    let Imported { toml, remarks, secrets } = imported(WITH_BROKER);
    assert_eq!(toml, FROM_BROKER);
    let secrets: Vec<_> =
        secrets.iter().map(|kept| (kept.key.as_str(), kept.file.as_str(), kept.secret.expose().to_owned())).collect();
    let kept = |key, file, secret: &str| (key, file, secret.to_owned());
    assert_eq!(
        secrets,
        [
            kept("auth.client_secret", "keycloak", "canary-1"),
            kept("rabbitmq.uri", "rabbitmq", "canary-2"),
            kept("livekit.api_secret", "livekit", "canary-3"),
            kept("recorder.sinks.location", "key-stream", "canary-4"),
        ]
    );
    assert_eq!(
        remarks,
        [
            "controller.upload_chunk_size: not needed: how long the parts of an upload are follows from the length of the recording.",
            "rabbitmq.uri: what stands behind its question mark is left out: Roomcast chooses these itself.",
            "livekit.url: it says not how to speak to the server; ws:// is taken, and wss:// is better where the server has it.",
            "recorder.display, recorder.sinks.type: not needed: there is no window to look into; a live destination of your own shows \
             the same.",
            "recorder.max_load: not taken over: serve.slots says how many Sessions run at once, and [admission] what the machine must \
             have left for another one; admission.cpu_percent counts what that one will use, too.",
            "recorder.hardware_acceleration.manufacturer, recorder.hardware_acceleration.device: not taken over: pictures are encoded by \
             the processor, about half a core for 720p; with programme.encoder = \"auto\" hardware does it where it can.",
            "recorder.sinks.type: not needed: recordings are MP4, and serve.recordings says where they go, with \"controller\" among it \
             to their meeting.",
            "recorder.sinks.location: recordings are MP4, and each has a name of its own in the same folder.",
            "recorder.sinks.location: `--to stream` streams there; in rooms of OpenTalk the moderators choose where streams go.",
            "recorder.sinks.audio_bitrate, recorder.sinks.audio_rate, recorder.sinks.video_bitrate, \
             recorder.sinks.video_speed_preset: not needed: the programme is encoded once for everybody who gets it; see [programme] \
             and [renditions].",
            "monitoring.addr: health is answered there; status and metrics need a token of operators as well, see http.token_file.",
        ]
    );

    let Imported { toml, remarks, secrets } = imported(BY_KEYS);
    assert_eq!(toml, FROM_KEYS);
    assert!(secrets.is_empty(), "none that we would need");
    assert_eq!(
        remarks,
        [
            "controller.api_key, http.addr, http.host, http.port, http.api_keys: Orders by HTTP with API keys, of controllers from 0.34 \
             on, are not taken yet; for controllers 0.20 to 0.33 fill in [keycloak] and [rabbitmq].",
            "controller.upload_chunk_size: not needed: how long the parts of an upload are follows from the length of the recording.",
            "orchestrator.url, orchestrator.api_key: not needed: services share the Orders of one queue among themselves.",
            "controller.url: recordings go to the controller, as they did; a place beside it in serve.recordings keeps another copy.",
            "monitoring.port: health is answered there; status and metrics need a token of operators as well, see http.token_file.",
        ]
    );
}

#[test]
fn no_secret_is_in_what_is_printed() {
    for old in [WITH_BROKER, BY_KEYS] {
        let imported = imported(old);
        for text in imported.remarks.iter().chain([&imported.toml, &format!("{imported:?}")]) {
            assert!(!text.contains("canary"), "{text}");
        }
    }
}

/// The files above and the table below hold every key, so that none is mapped without having been looked at.
#[test]
fn each_key_has_its_fate() {
    let one = |key: &str, value: &str| {
        let (section, field) = key.rsplit_once('.').unwrap();
        format!("[{section}]\n{field} = {value}\n")
    };
    let of_sink = |field: &str, value: &str| format!("[[recorder.sinks]]\n{field} = {value}\n");
    let text = "\"text\"";
    let table: Vec<(&str, String, &str)> = vec![
        ("auth.issuer", one("auth.issuer", "\"http://id/realms/x\""), "[keycloak]\nissuer = \"http://id/realms/x\"\n"),
        ("auth.client_id", one("auth.client_id", "\"Obelisk\""), "[keycloak]\nclient_id = \"Obelisk\"\n"),
        ("auth.client_secret", one("auth.client_secret", text), "[keycloak]\nclient_secret_file = \"/run/secrets/keycloak\"\n"),
        (
            "controller.url",
            one("controller.url", "\"http://c:1/x\""),
            "[controller]\nurl = \"http://c:1/x\"\n\n[serve]\nrecordings = [\"controller\"]\n",
        ),
        (
            "controller.domain",
            one("controller.domain", "\"c:1\""),
            "[controller]\nurl = \"https://c:1\"\n\n[serve]\nrecordings = [\"controller\"]\n",
        ),
        (
            "controller.insecure",
            "[controller]\ninsecure = true\ndomain = \"c\"\n".into(),
            "[controller]\nurl = \"http://c\"\n\n[serve]\nrecordings = [\"controller\"]\n",
        ),
        ("controller.api_key", one("controller.api_key", "\"a:b\""), ""),
        ("controller.upload_chunk_size", one("controller.upload_chunk_size", "5242880"), ""),
        (
            "rabbitmq.uri",
            one("rabbitmq.uri", "\"amqp://localhost\""),
            "[rabbitmq]\npassword_file = \"/run/secrets/rabbitmq\"\nurl = \"amqp://localhost\"\n",
        ),
        ("rabbitmq.queue", one("rabbitmq.queue", "\"q\""), "[rabbitmq]\nqueue = \"q\"\n"),
        ("livekit.url", one("livekit.url", "\"wss://l\""), "[livekit]\nurl = \"wss://l\"\n"),
        ("livekit.api_key", one("livekit.api_key", text), "[livekit]\napi_key = \"text\"\n"),
        ("livekit.api_secret", one("livekit.api_secret", text), "[livekit]\napi_secret_file = \"/run/secrets/livekit\"\n"),
        ("http.addr", one("http.addr", text), ""),
        ("http.host", one("http.host", text), ""),
        ("http.port", one("http.port", "11511"), ""),
        ("http.api_keys", one("http.api_keys", "[]"), ""),
        ("monitoring.addr", one("monitoring.addr", "\"::1\""), "[http]\nlisten = \"[::1]:11411\"\n"),
        ("monitoring.port", one("monitoring.port", "\"80\""), "[http]\nlisten = \"0.0.0.0:80\"\n"),
        ("orchestrator.url", one("orchestrator.url", text), ""),
        ("orchestrator.api_key", one("orchestrator.api_key", text), ""),
        ("recorder.clock_format", one("recorder.clock_format", "\"%H\""), "[strip]\nclock = \"%H\"\n"),
        ("recorder.display", one("recorder.display", "false"), ""),
        ("recorder.max_load", one("recorder.max_load", "80"), ""),
        ("recorder.hardware_acceleration.manufacturer", one("recorder.hardware_acceleration.manufacturer", text), ""),
        ("recorder.hardware_acceleration.device", one("recorder.hardware_acceleration.device", text), ""),
        ("recorder.sinks", "[recorder]\nsinks = []\n".into(), ""),
        ("recorder.sink", one("recorder.sink", "\"mp4\""), ""),
        ("recorder.rtmp_uri", one("recorder.rtmp_uri", "\"rtmp://h/a\""), "[destinations.stream]\naddress = \"rtmp://h/a\"\n"),
        ("recorder.rtmp_audio_bitrate", one("recorder.rtmp_audio_bitrate", "96000"), ""),
        ("recorder.rtmp_audio_rate", one("recorder.rtmp_audio_rate", "48000"), ""),
        ("recorder.rtmp_video_bitrate", one("recorder.rtmp_video_bitrate", "6000"), ""),
        ("recorder.rtmp_speed_preset", one("recorder.rtmp_speed_preset", text), ""),
        ("recorder.rtmp_video_speed_preset", one("recorder.rtmp_video_speed_preset", text), ""),
        ("type", of_sink("type", "\"matroska\""), ""),
        ("location", of_sink("location", "\"a.webm\""), "[serve]\nrecordings = [\"{start}-{room}.mp4\"]\n"),
        ("rtmp_uri", of_sink("rtmp_uri", "\"rtmp://h/a/$room live=1\""), ""),
        ("audio_bitrate", of_sink("audio_bitrate", "1"), ""),
        ("audio_rate", of_sink("audio_rate", "1"), ""),
        ("video_bitrate", of_sink("video_bitrate", "1"), ""),
        ("video_speed_preset", of_sink("video_speed_preset", text), ""),
        ("rtmp_audio_bitrate", of_sink("rtmp_audio_bitrate", "1"), ""),
        ("rtmp_audio_rate", of_sink("rtmp_audio_rate", "1"), ""),
        ("rtmp_video_bitrate", of_sink("rtmp_video_bitrate", "1"), ""),
        ("rtmp_video_speed_preset", of_sink("rtmp_video_speed_preset", text), ""),
    ];
    for (key, old, expected) in &table {
        assert_eq!(toml_of(old), *expected, "{key}");
        let is_silent = ["recorder.sinks", "controller.insecure"].contains(key);
        let Imported { remarks, .. } = imported(old);
        assert!(!expected.is_empty() || is_silent || !remarks.is_empty(), "{key} is left out without a word");
    }
    let tried: BTreeSet<&str> = table.iter().map(|(key, ..)| *key).collect();
    let known = KEYS.iter().map(|(key, _)| *key).chain(SINK_KEYS.iter().map(|(key, _)| *key));
    assert_eq!(known.collect::<BTreeSet<_>>(), tried);
}

#[test]
fn several_streams_have_names_of_their_own() {
    let sink = |key: &str| format!("[[recorder.sinks]]\ntype = \"rtmp\"\nlocation = \"rtmps://h/a/{key}\"\n");
    let toml = toml_of(&(sink("x") + &sink("y")));
    assert!(toml.contains("[destinations.stream]\n") && toml.contains("[destinations.stream-2]\n"), "{toml}");
    assert!(toml.contains("\"/run/secrets/key-stream-2\""), "{toml}");
}

#[test]
fn a_clock_that_cannot_be_shown_is_left_as_it_is() {
    let old = "[recorder]\nclock_format = \"%Q\"\n";
    assert_eq!(toml_of(old), "");
    assert!(
        imported(old).remarks[0].starts_with("recorder.clock_format: the clock is left as Roomcast has it, because this one ")
    );
}

#[test]
fn bad_files_are_refused_with_their_line_and_key() {
    let unknown = "no version of OpenTalk's recorder has such a key; take it out, or correct its name";
    for (old, expected) in [
        ("[auth\n", "line 1: unclosed table, expected `]`".to_owned()),
        ("[auth]\n\nissuer_url = \"x\"\n", format!("line 3: auth.issuer_url: {unknown}")),
        ("[keycloak]\nissuer = \"x\"\n", format!("line 1: keycloak: {unknown}")),
        ("[mixer]\n", format!("line 1: mixer: {unknown}")),
        ("\n[recorder.hardware_acceleration]\nvendor = 1\n", format!("line 3: recorder.hardware_acceleration.vendor: {unknown}")),
        ("[[recorder.sinks]]\ntype = \"rtmp\"\ncanary = 1\n", format!("line 3: recorder.sinks.canary: {unknown}")),
        ("controller = 3\n", "line 1: controller: must be a section".into()),
        ("[recorder]\nsinks = 3\n", "line 2: recorder.sinks: must be a list of sections".into()),
        ("[recorder]\nsinks = [3]\n", "line 2: recorder.sinks: must be a list of sections".into()),
        (
            "[recorder]\nsink = \"dash\"\n",
            "line 2: recorder.sink: must be \"webm\", \"mp4\", \"matroska\", \"rtmp\" or \"display\"".into(),
        ),
        ("[auth]\nclient_secret = 7\n", "line 2: auth.client_secret: must be text in quotes, and not empty".into()),
        ("[auth]\nclient_secret = \" \"\n", "line 2: auth.client_secret: must be text in quotes, and not empty".into()),
        (
            "[auth]\nissuer = \"id\"\n",
            "line 2: auth.issuer: an address of an identity provider looks like \"https://id.example.org/realms/opentalk\", without a \
             password"
                .into(),
        ),
        (
            "[controller]\ninsecure = true\ndomain = \"a b\"\n",
            "line 3: controller.domain: an address of a controller looks like \"https://controller.example.org\", without a password"
                .into(),
        ),
        ("[controller]\ninsecure = 1\n", "line 2: controller.insecure: must be true or false".into()),
        (
            "[rabbitmq]\nuri = \"canary\"\n",
            "line 2: rabbitmq.uri: must be an address of a broker, like \"amqps://user:password@rabbitmq.example.org\"".into(),
        ),
        (
            "[rabbitmq]\nuri = \"https://u:canary@h\"\n",
            "line 2: rabbitmq.uri: an address of a broker looks like \"amqps://rabbitmq.example.org/vhost\", without user and password"
                .into(),
        ),
        ("[monitoring]\naddr = \"localhost\"\n", "line 2: monitoring.addr: must be an IP address".into()),
        ("[monitoring]\nport = 70000\n", "line 2: monitoring.port: must be a port, 0 to 65535".into()),
        (
            "[[recorder.sinks]]\nlocation = \"srt://h/canary\"\n",
            "line 2: recorder.sinks.location: must be an address like \"rtmp://live.example.org/app/key\"".into(),
        ),
    ] {
        assert_eq!(refusal(old), format!("old.toml, {expected}"));
        assert!(!refusal(old).contains("canary") || old.contains("canary ="), "{old}");
    }
}

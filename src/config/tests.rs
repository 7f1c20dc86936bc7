use std::time::Duration;

use super::*;

fn variables(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn error_of(text: &str) -> String {
    parse("roomcast.toml", text, []).unwrap_err().to_string()
}

/// What serde says of an unknown section.
const SECTIONS: &str = "`programme`, `renditions`, `mixer`, `sound`, `session`, `spool`, `books`, `layout`, `strip`, `slates`, `avatars`, `livekit`, \
                        `serve`, `admission`, `controller`, `keycloak`, `rabbitmq`, `storage`, `live`, `destinations`, `http`, `monitor`, `log`";

#[test]
fn bad_files_have_exact_messages() {
    let table = [
        (
            "[programme]\nwidht = 3\n",
            "roomcast.toml, line 2: programme.widht: unknown field `widht`, expected one of `size`, `fps`, `language`, `video_kbps`, `sound_kbps`, `encoder`",
        ),
        (
            "[programme]\n\nsize = \"0x0\"\n",
            "roomcast.toml, line 3: programme.size: 0x0 is out of range: a picture has 128x128 to 3840x2160 pixels",
        ),
        (
            "[programme]\nsize = \"1281x720\"\n",
            "roomcast.toml, line 2: programme.size: 1281x720 is odd: width and height must be even numbers",
        ),
        (
            "[programme]\nsize = \"wide\"\n",
            "roomcast.toml, line 2: programme.size: \"wide\" is not a size; write it like \"1280x720\"",
        ),
        ("[programme]\nsize = 720\n", "roomcast.toml, line 2: programme.size: invalid type: integer `720`, expected a string"),
        ("[programme]\nfps = 0\n", "roomcast.toml, line 2: programme.fps: 0 is out of range: it must be 1 to 60"),
        (
            "[programme]\nfps = \"30\"\n",
            "roomcast.toml, line 2: programme.fps: invalid type: string \"30\", expected a whole number",
        ),
        ("[programme]\nfps = -1\n", "roomcast.toml, line 2: programme.fps: invalid value: integer `-1`, expected a whole number"),
        (
            "[programme]\nvideo_kbps = 99\n",
            "roomcast.toml, line 2: programme.video_kbps: 99 is out of range: it must be 100 to 50000",
        ),
        (
            "[programme]\nsound_kbps = 500\n",
            "roomcast.toml, line 2: programme.sound_kbps: 500 is out of range: it must be 32 to 320",
        ),
        (
            "[mixer]\ndelay = \"5 parsecs\"\n",
            "roomcast.toml, line 2: mixer.delay: \"5 parsecs\" is not a length of time; write it like \"500ms\", \"60s\", \"2m\" or \"12h\"",
        ),
        (
            "[renditions.small]\n\nsize = \"641x360\"\n",
            "roomcast.toml, line 1: renditions.small: 641x360 is odd: width and height must be even numbers",
        ),
        (
            "[renditions.small]\nfps = 15\n",
            "roomcast.toml, line 1: renditions.small: unknown field `fps`, expected one of `size`, `video_kbps`, `sound_kbps`, `layout`",
        ),
        (
            "[renditions.small]\nvideo_kbps = 99\n",
            "roomcast.toml, line 1: renditions.small: video_kbps: 99 is out of range: it must be 100 to 50000",
        ),
        (
            "[renditions.small]\nsound_kbps = 500\n",
            "roomcast.toml, line 1: renditions.small: sound_kbps: 500 is out of range: it must be 32 to 320",
        ),
        (
            "[renditions.Small]\n",
            "roomcast.toml, line 1: renditions.Small: a rendition is called by up to 40 small letters, digits and -",
        ),
        (
            "[renditions.programme]\n",
            "roomcast.toml, line 1: renditions.programme: \"programme\" is the rendition of [programme]; choose another name",
        ),
        ("[mixer]\ndelay = \"100ms\"\n", "roomcast.toml, line 2: mixer.delay: 100ms is out of range: it must be 200ms to 2s"),
        ("[mixer]\ndelay = \"3s\"\n", "roomcast.toml, line 2: mixer.delay: 3s is out of range: it must be 200ms to 2s"),
        ("[sound]\ntarget_lufs = -5\n", "roomcast.toml, line 2: sound.target_lufs: -5 is out of range: it must be -30 to -10"),
        (
            "[sound]\ntarget_lufs = \"loud\"\n",
            "roomcast.toml, line 2: sound.target_lufs: invalid type: string \"loud\", expected a whole number",
        ),
        (
            "[sound]\nlevel = \"music\"\n",
            "roomcast.toml, line 2: sound.level: unknown variant `music`, expected `speech` or `off`",
        ),
        ("[sound]\nduck_db = 41\n", "roomcast.toml, line 2: sound.duck_db: 41 is out of range: it must be 0 to 40"),
        (
            "[sound]\nduck_attack = \"0s\"\n",
            "roomcast.toml, line 2: sound.duck_attack: 0s is out of range: it must be 50ms to 10s",
        ),
        (
            "[sound]\nduck_release = \"11s\"\n",
            "roomcast.toml, line 2: sound.duck_release: 11s is out of range: it must be 50ms to 10s",
        ),
        (
            "[session]\nmax_duration = \"99999999999999999999h\"\n",
            "roomcast.toml, line 2: session.max_duration: \"99999999999999999999h\" is not a length of time; write it like \"500ms\", \"60s\", \"2m\" or \"12h\"",
        ),
        (
            "[session]\nroom_empty_grace = \"0s\"\n",
            "roomcast.toml, line 2: session.room_empty_grace: 0s is out of range: it must be 1s to 1h",
        ),
        (
            "[session]\nconference_grace = \"2h\"\n",
            "roomcast.toml, line 2: session.conference_grace: 2h is out of range: it must be 5s to 1h",
        ),
        ("[sesion]\nx = 1\n", "roomcast.toml, line 2: sesion.x: unknown field `sesion`, expected one of {sections}"),
        ("[sesion]\n", "roomcast.toml, line 1: sesion: unknown field `sesion`, expected one of {sections}"),
        ("fps = 30\n", "roomcast.toml, line 1: fps: unknown field `fps`, expected one of {sections}"),
        ("programme = 3\n", "roomcast.toml, line 1: programme: invalid type: integer `3`, expected struct Programme"),
        (
            "[livekit]\nurl = \"ftp://x\"\n",
            "roomcast.toml, line 2: livekit.url: an address of a LiveKit server begins with ws://, wss://, http:// or https://, not with ftp:",
        ),
        (
            "[livekit]\nurl = \"wss://u:canary@x\"\n",
            "roomcast.toml, line 2: livekit.url: an address must not contain a password, a token or anything after a question mark",
        ),
        (
            "[livekit]\nurl = \"nowhere\"\n",
            "roomcast.toml, line 2: livekit.url: this is not an address; write it like \"wss://livekit.example.org\"",
        ),
        ("[livekit]\napi_secret = 4711\n", "roomcast.toml, line 2: livekit.api_secret: must be text in quotes, and not empty"),
        ("[livekit]\napi_secret = \"canary\n", "roomcast.toml, line 2: invalid basic string, expected `\"`"),
        ("[livekit]\napi_secret = canary\n", "roomcast.toml, line 2: string values must be quoted, expected literal string"),
        (
            "[livekit]\napi_secret = \"a\"\napi_secret_file = \"b\"\n",
            "livekit.api_secret and livekit.api_secret_file are both given; keep one of them",
        ),
        (
            "[storage]\nendpoint = \"https://key:canary@s3.example.org\"\n",
            "roomcast.toml, line 2: storage.endpoint: an address of a storage looks like \"https://s3.example.org\", without a password",
        ),
        (
            "[storage]\nsecret_key = \"canary\"\nsecret_key_file = \"b\"\n",
            "storage.secret_key and storage.secret_key_file are both given; keep one of them",
        ),
        (
            "[avatars]\nallowed_addresses = [\"10.0.0.0/8\", \"home\"]\n",
            "roomcast.toml, line 2: avatars.allowed_addresses: \"home\" is not an address or a block of addresses such as 192.0.2.0/24",
        ),
        (
            "[live]\nallowed_addresses = [\"10.0.0.0/8\", \"home\"]\n",
            "roomcast.toml, line 2: live.allowed_addresses: \"home\" is not an address or a block of addresses such as 192.0.2.0/24",
        ),
        (
            "[destinations.Main]\nkey = \"canary\"\n",
            "roomcast.toml, line 1: destinations.Main: a destination is called by up to 40 small letters, digits and -",
        ),
        (
            "[destinations.main]\nkey = \"canary\"\nurl = \"rtmp://x/y\"\n",
            "roomcast.toml, line 1: destinations.main: unknown field `url`, expected one of `preset`, `address`, `key`, `key_file`, `rendition`",
        ),
        (
            "[destinations.main]\nkey = \"canary\"\nkey_file = \"b\"\n",
            "destinations.main.key and destinations.main.key_file are both given; keep one of them",
        ),
        (
            "[keycloak]\nissuer = \"https://user:canary@id.example.org/realms/opentalk\"\n",
            "roomcast.toml, line 2: keycloak.issuer: an address of an identity provider looks like \"https://id.example.org/realms/opentalk\", without a password",
        ),
        (
            "[keycloak]\ntoken_endpoint = \"keycloak:8080\"\n",
            "roomcast.toml, line 2: keycloak.token_endpoint: an address of an identity provider looks like \"https://id.example.org/realms/opentalk\", without a password",
        ),
        (
            "[keycloak]\nclient_secret = \"canary\"\nclient_secret_file = \"b\"\n",
            "keycloak.client_secret and keycloak.client_secret_file are both given; keep one of them",
        ),
        (
            "[controller]\nurl = \"wss://controller.example.org\"\n",
            "roomcast.toml, line 2: controller.url: an address of a controller looks like \"https://controller.example.org\", without a password",
        ),
        (
            "[rabbitmq]\nurl = \"amqp://user:canary@rabbitmq.example.org\"\n",
            "roomcast.toml, line 2: rabbitmq.url: an address of a broker looks like \"amqps://rabbitmq.example.org/vhost\", without user and password",
        ),
        ("[rabbitmq]\nqueue = \"\"\n", "roomcast.toml, line 2: rabbitmq.queue: the name of a queue has 1 to 200 bytes"),
        ("[rabbitmq]\npassword = 4711\n", "roomcast.toml, line 2: rabbitmq.password: must be text in quotes, and not empty"),
        (
            "[rabbitmq]\npassword = \"canary\"\npassword_file = \"b\"\n",
            "rabbitmq.password and rabbitmq.password_file are both given; keep one of them",
        ),
        ("[spool]\nkeep = \"10000h\"\n", "roomcast.toml, line 2: spool.keep: 10000h is out of range: it must be 0s to 8760h"),
        (
            "[spool]\nkeep_after_delivery = \"10000h\"\n",
            "roomcast.toml, line 2: spool.keep_after_delivery: 10000h is out of range: it must be 0s to 8760h",
        ),
        (
            "[controller]\nupload_mbps = 0\n",
            "roomcast.toml, line 2: controller.upload_mbps: 0 is out of range: it must be 1 to 10000",
        ),
        (
            "[serve]\nrecordings = [\"controller\", \"controller\"]\n",
            "roomcast.toml, line 2: serve.recordings: the controller can be only one of the places",
        ),
        (
            "[serve]\nrecordings = [\"controler\"]\n",
            "roomcast.toml, line 2: serve.recordings: \"controler\" is neither a file that ends in .mp4, nor s3://bucket/key.mp4, nor controller",
        ),
        ("[log]\nformat = \"xml\"\n", "roomcast.toml, line 2: log.format: unknown variant `xml`, expected `text` or `json`"),
        (
            "[log]\nfilter = \"a=b=c\"\n",
            "roomcast.toml, line 2: log.filter: \"a=b=c\" is not a log filter; write it like \"info\" or \"warn,roomcast::ingest=debug\"",
        ),
        ("[programme\n", "roomcast.toml, line 1: unclosed table, expected `]`"),
        ("[programme]\nfps = 30\nfps = 25\n", "roomcast.toml, line 3: duplicate key"),
        ("\u{feff}x = [", "roomcast.toml, line 1: unclosed array, expected `]`"),
    ];
    for (text, expected) in table {
        let error = error_of(text);
        assert_eq!(error, expected.replace("{sections}", SECTIONS), "for:\n{text}");
        assert!(!error.contains("canary"));
    }
}

#[test]
fn bad_variables_are_named() {
    let table = [
        ("ROOMCAST_MIXER__DELAY", "5", "\"5\" is not a length of time; write it like \"500ms\", \"60s\", \"2m\" or \"12h\""),
        ("ROOMCAST_PROGRAMME__FPS", "many", "invalid type: string \"many\", expected a whole number"),
        ("ROOMCAST_PROGRAMME__FPS", "0", "0 is out of range: it must be 1 to 60"),
        ("ROOMCAST_LAYOUT__TRANSITION", "3s", "3s is out of range: it must be 0s to 2s"),
        ("ROOMCAST_STRIP__CLOCK", "%H:%Q", "must be a time as strftime writes it, such as \"%H:%M\"; %Q is not known"),
        ("ROOMCAST_PROGRAMME__LANGUAGE", "fr", "unknown variant `fr`, expected `en` or `de`"),
        ("ROOMCAST_PROGRAMME__SIZE", "0x0", "0x0 is out of range: a picture has 128x128 to 3840x2160 pixels"),
        (
            "ROOMCAST_PROGRAMME__HEIGHT",
            "720",
            "unknown field `height`, expected one of `size`, `fps`, `language`, `video_kbps`, `sound_kbps`, `encoder`",
        ),
        ("ROOMCAST_NOTHING__HEIGHT", "720", "unknown field `nothing`, expected one of {sections}"),
        ("ROOMCAST_RENDITIONS__SMALL__SIZE", "wide", "\"wide\" is not a size; write it like \"1280x720\""),
        ("ROOMCAST_MIXER_DELAY", "800ms", "section and field are separated by two underscores; write ROOMCAST_MIXER__DELAY"),
        ("ROOMCAST_LIVEKIT__API_SECRET", " ", "must be text in quotes, and not empty"),
        ("ROOMCAST_DESTINATIONS__MAIN__KEY", " ", "must be text in quotes, and not empty"),
        (
            "ROOMCAST_DESTINATIONS__MAIN__URL",
            "rtmp://x/y",
            "unknown field `url`, expected one of `preset`, `address`, `key`, `key_file`, `rendition`",
        ),
    ];
    for (variable, value, expected) in table {
        let error = parse("", "", variables(&[(variable, value)])).unwrap_err().to_string();
        assert_eq!(error, format!("environment variable {variable}: {}", expected.replace("{sections}", SECTIONS)));
    }
}

#[test]
fn generated_files_are_up_to_date() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in generate::FILES {
        let stored = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        assert_eq!(stored, text(), "{path} is not what the source says; run: cargo run -- generate");
    }
}

#[test]
fn the_sample_equals_the_defaults() {
    let (_, sample) = generate::FILES[1];
    assert_eq!(parse("sample", &sample(), []).unwrap(), Config::default());
}

#[test]
fn the_sample_of_a_whole_stack_is_accepted() {
    let text = include_str!("../../samples/opentalk/roomcast.toml");
    let config = parse("sample", text, []).unwrap();
    assert!(config.keycloak.issuer.is_some() && config.controller.url.is_some() && config.rabbitmq.url.is_some());
    assert_eq!(config.serve.recordings, ["controller", "s3://recordings/{start}-{room}.mp4"]);
}

/// With the comment sign taken off, each example in the sample is accepted too (one secret at a time).
#[test]
fn the_examples_of_the_sample_are_valid() {
    let (_, sample) = generate::FILES[1];
    let text = sample();
    let examples = text.lines().filter_map(|l| l.strip_prefix("# ")).filter(|l| l.contains(" = "));
    let mut section = "";
    let mut tried = 0;
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if let Some(example) = line.strip_prefix("# ").filter(|l| l.split_once(" = ").is_some_and(|(k, _)| !k.contains(' '))) {
            parse("sample", &format!("{section}\n{example}\n"), []).unwrap();
            tried += 1;
        }
    }
    assert_eq!(tried, examples.count());
    assert!(tried >= 5);
}

#[test]
fn variables_have_precedence_over_the_file() {
    let file = "[programme]\nfps = 25\n[mixer]\ndelay = \"800ms\"\n";
    let given = variables(&[
        ("ROOMCAST_PROGRAMME__FPS", "60"),
        ("ROOMCAST_LIVEKIT__API_KEY", "12345"),
        ("ROOMCAST_LIVEKIT__API_SECRET", "canary"),
        ("ROOMCAST_CONFIG", "roomcast.toml"),
        ("PATH", "/bin"),
    ]);
    let config = parse("roomcast.toml", file, given).unwrap();
    assert_eq!((config.programme.fps, config.mixer.delay), (60, Span::from_millis(800)));
    assert_eq!(config.livekit.api_key.as_deref(), Some("12345"));
    assert_eq!(config.livekit.secret().unwrap().unwrap().expose(), "canary");
    assert!(!format!("{config:?}").contains("canary"));
    assert!(!toml::to_string(&config).unwrap().contains("canary"));
}

/// A key may come from the environment while everything else of its destination stands in the file.
#[test]
fn variables_reach_a_named_destination() {
    let file = "[destinations.main]\npreset = \"twitch\"\n[destinations.other]\naddress = \"rtmp://example.org/app\"\n";
    let given = variables(&[("ROOMCAST_DESTINATIONS__MAIN__KEY", "canary"), ("ROOMCAST_LIVE__ALLOWED_ADDRESSES", "[\"::1\"]")]);
    let config = parse("roomcast.toml", file, given).unwrap();
    let main = &config.destinations["main"];
    assert_eq!(main.preset.as_deref(), Some("twitch"));
    assert_eq!(main.secret("main").unwrap().unwrap().expose(), "canary");
    assert_eq!(config.destinations.len(), 2);
    assert!(config.live.policy().check([0, 0, 0, 0, 0, 0, 0, 1].into()).is_ok());
    assert!(!format!("{config:?}").contains("canary"));
    let secrets = [
        "DESTINATIONS__MAIN__KEY",
        "STORAGE__SECRET_KEY",
        "LIVEKIT__API_SECRET",
        "KEYCLOAK__CLIENT_SECRET",
        "RABBITMQ__PASSWORD",
    ];
    for secret in secrets {
        assert!(is_secret_variable(&format!("ROOMCAST_{secret}")), "{secret}");
    }
    for plain in ["ROOMCAST_DESTINATIONS__MAIN__KEY_FILE", "ROOMCAST_LIVEKIT__API_KEY", "PATH"] {
        assert!(!is_secret_variable(plain));
    }
}

#[test]
fn lengths_of_time_are_written_as_they_are_read() {
    for text in ["1ms", "500ms", "1s", "60s", "90s", "2m", "1h", "12h"] {
        assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
    }
    for bad in ["", "5", "s", "-1s", "1.5s", "1 s", "1d", "+1s", "1S"] {
        assert!(bad.parse::<Span>().is_err(), "{bad}");
    }
}

#[test]
fn the_rate_of_the_picture_follows_from_its_height() {
    for (size, kbps) in [("854x480", 1200), ("1280x720", 3000), ("1920x1080", 4500)] {
        let programme = Programme { size: size.parse().unwrap(), ..Programme::default() };
        assert_eq!(programme.video_kbps(), kbps);
        assert_eq!(Programme { video_kbps: Some(2000), ..programme }.video_kbps(), 2000);
    }
}

fn of_the_repository(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Whoever copies from the page for operators gets a configuration that is one.
#[test]
fn what_operators_copy_is_understood() {
    let page = of_the_repository("docs/with-your-opentalk.md");
    let block = page.split("```toml\n").find(|block| block.contains("[serve]")).unwrap();
    let copied = parse("roomcast.toml", block.split("```").next().unwrap(), []).unwrap();
    assert_eq!(copied.serve.recordings.len(), 2);
    let files = [
        copied.keycloak.client_secret_file,
        copied.rabbitmq.password_file,
        copied.storage.secret_key_file,
        copied.http.token_file,
    ];
    // The user of the service is given this folder, and systemd leaves it readable.
    assert!(files.iter().flatten().all(|file| file.starts_with("/etc/roomcast/secrets")));
    assert_eq!(files.iter().flatten().count(), 4);
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let variables: Vec<&str> = words.filter(|word| word.starts_with("ROOMCAST_") && *word != "ROOMCAST_CONFIG").collect();
    assert!(variables.len() > 5 && variables.iter().all(|variable| is_secret_variable(variable)), "{variables:?}");
}

/// systemd kills only after everything that `serve` needs by default to end in order.
#[test]
fn the_unit_waits_for_the_end_of_the_service() {
    let unit = of_the_repository("samples/roomcast.service");
    let limit = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let Serve { drain_timeout, delivery_grace, .. } = Serve::default();
    let needed = drain_timeout.duration() + delivery_grace.duration() + Duration::from_secs(10);
    assert!(Duration::from_secs(limit.parse().unwrap()) > needed, "{limit} s, and {needed:?} are needed");
}

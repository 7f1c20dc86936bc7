//! One Session to many places at once, as a user orders it: a file, an object in a storage, and live destinations on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use world::product::Product;
use world::rtmp::{Nginx, decode};
use world::s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use world::{cpu_seconds, free_tcp_port, until};

/// Seconds of programme.
const SECONDS: u64 = 24;
/// Destinations that take the stream.
const GOOD: usize = 10;

/// Sums of the video packets of a file, in their order, as they are stored: both containers keep H.264 in the same form.
fn video_packets(file: &Path) -> Vec<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-map", "0:v:0", "-c", "copy", "-f", "framemd5", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit(',').next())
        .map(|sum| sum.trim().into())
        .collect()
}

/// How late the sound is in a file of a rehearsal: median and worst, in ms. FLV is first put into an MP4, without touching its packets.
fn sync_of(file: &Path, folder: &Path) -> (f64, f64) {
    let mp4 = folder.join("inspected.mp4");
    let copied = Command::new("ffmpeg").args(["-v", "error", "-y", "-i"]).arg(file).args(["-c", "copy"]).arg(&mp4).status();
    assert!(copied.expect("ffmpeg runs").success());
    let output = Command::new(env!("CARGO_BIN_EXE_roomcast")).arg("inspect").arg(&mp4).arg("--json").output().expect("runs");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("figures");
    let number = |name: &str| found["sync"][name].as_f64().expect("a figure");
    (number("median_ms"), number("worst_ms"))
}

/// The worker below a supervisor.
fn worker_of(supervisor: u32) -> Option<u32> {
    let children = std::fs::read_dir(format!("/proc/{supervisor}/task")).ok()?.flatten().map(|task| task.path().join("children"));
    let pids = children.filter_map(|file| std::fs::read_to_string(file).ok());
    let mut pids = pids.flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>());
    pids.find(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("--link"))
    })
}

/// A person sees the same meeting in the file, in the storage, and on ten channels; the one channel that is down is said to be down.
#[test]
fn a_meeting_goes_to_a_file_a_storage_and_ten_channels_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, nginx) = (S3Server::start(), Nginx::start());
    let mut config = format!(
        "[storage]\nendpoint = \"{}\"\naccess_key = \"{ACCESS_KEY}\"\n[live]\nallowed_addresses = [\"127.0.0.0/8\"]\n",
        storage.url()
    );
    let mut arguments: Vec<String> = vec!["--config".into(), "roomcast.toml".into(), "rehearse".into()];
    arguments.extend(["--duration".into(), format!("{SECONDS}s"), "--to".into(), "out.mp4".into()]);
    arguments.extend(["--layout".into(), "grid".into()]);
    arguments.extend(["--to".into(), "s3://recordings/team/out.mp4".into()]);
    for n in 1..GOOD {
        config += &format!("[destinations.channel-{n}]\naddress = \"{}\"\nkey_file = \"key-{n}\"\n", nginx.address());
        std::fs::write(folder.path().join(format!("key-{n}")), format!("good-canary-{n}x\n")).unwrap();
        arguments.extend(["--to".into(), format!("channel-{n}")]);
    }
    config += &format!("[destinations.down]\naddress = \"rtmp://127.0.0.1:{}/live\"\nkey = \"canary-down\"\n", free_tcp_port());
    std::fs::write(folder.path().join("roomcast.toml"), config).unwrap();
    arguments.extend(["--to".into(), "down".into(), "--to".into(), nginx.address(), "--key-file".into(), "-".into()]);

    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let environment = [("ROOMCAST_STORAGE__SECRET_KEY", SECRET_KEY)];
    let product = Product::start(folder.path(), &arguments, &environment, &format!("good-canary-{GOOD}x"));
    product.logs("rec ", Duration::from_secs(90));
    let secrets = ["canary"];
    let listed = product.argument_lists();
    assert!(secrets.iter().all(|secret| !listed.contains(secret)), "{listed}");
    let worker = worker_of(product.pid()).expect("a worker");
    for pid in [product.pid(), worker] {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        assert_eq!(
            core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
            ["1", "1"],
            "a crash leaves no dump with keys in it"
        );
    }
    until(Duration::from_secs(60), "20 s of programme", || product.log().contains("00:00:2").then_some(()));
    let cpu = cpu_seconds(worker, "live");
    let outcome = product.finish(Duration::from_secs(60));
    outcome.is_well();
    println!("{}\n{}", outcome.log, outcome.said);

    // What was told: ten on air, one down, and the object stored.
    assert_eq!(outcome.log.matches(": live\n").count(), GOOD, "each channel is said to be live once");
    assert!(outcome.log.contains("down: retrying (attempt 2 at ") && outcome.log.contains("The server refuses the connection."));
    assert!(outcome.said.contains("s3://recordings/team/out.mp4  stored"), "{}", outcome.said);

    let cpu_s =
        outcome.said.lines().find_map(|line| line.trim().strip_prefix("CPU seconds per second")?.trim().parse::<f64>().ok());
    assert!(cpu_s.is_some_and(|cpu_s| cpu_s < 1.2), "waiting for storages and servers costs nothing: {cpu_s:?} cores");

    // The file and the object are the same, and the storage has nothing besides.
    let file = folder.path().join("out.mp4");
    assert!(storage.object("team/out.mp4") == std::fs::read(&file).unwrap(), "the object is the file");
    assert_eq!((storage.keys(), storage.uploads()), (vec!["team/out.mp4".to_owned()], vec![]));

    // Everywhere the same packets, from the keyframe on with which each channel began.
    let all = video_packets(&file);
    assert_eq!(all.len() as u64, SECONDS * 30);
    let (median, worst) = sync_of(&file, folder.path());
    println!("file: sound against picture: median {median:+.1} ms, worst {worst:+.1} ms");
    for n in 1..=GOOD {
        let recorded = nginx.recordings(&format!("good-canary-{n}x"));
        let [flv] = recorded.as_slice() else { panic!("one recording of channel {n}: {recorded:?}\n{}", nginx.log()) };
        let packets = video_packets(flv);
        let first = all.iter().position(|sum| *sum == packets[0]).expect("a packet of the file");
        assert_eq!(packets, all[first..], "channel {n}, from picture {first} on");
        assert!(first <= 90, "channel {n} began at picture {first}");
        assert_eq!(decode(flv), packets.len(), "channel {n} decodes");
        if n == 1 || n == GOOD {
            let (flv_median, flv_worst) = sync_of(flv, folder.path());
            println!("channel {n}: from picture {first} on; median {flv_median:+.1} ms, worst {flv_worst:+.1} ms");
            assert!((flv_median - median).abs() < 2.0 && flv_median.abs() < 20.0, "FLV {flv_median} ms, MP4 {median} ms");
        }
    }
    let most = cpu.iter().copied().fold(0.0, f64::max) / 20.0;
    println!(
        "{} live threads in 20 s: {cpu:.2?} s; most {:.2} % of a core; load {}",
        cpu.len(),
        most * 100.0,
        std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim()
    );
    assert_eq!(cpu.len(), GOOD + 1);
    assert!(most < 0.06, "a destination costs 2 % of a core; three times that is the limit here");

    // Keys are nowhere but in their own files.
    for n in 1..GOOD {
        std::fs::remove_file(folder.path().join(format!("key-{n}"))).unwrap();
    }
    std::fs::remove_file(folder.path().join("roomcast.toml")).unwrap();
    outcome.keeps_secret(folder.path(), &secrets);
}

/// Somebody orders only an object: it is in the storage within 10 s of the end, and this machine keeps a copy and says why.
#[test]
fn an_object_alone_is_stored_and_its_copy_is_kept_for_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let storage = S3Server::start();
    let endpoint = storage.url();
    let environment = [
        ("ROOMCAST_STORAGE__ENDPOINT", endpoint.as_str()),
        ("ROOMCAST_STORAGE__ACCESS_KEY", ACCESS_KEY),
        ("ROOMCAST_STORAGE__SECRET_KEY", SECRET_KEY),
    ];
    let arguments = ["rehearse", "--duration", "5s", "--to", "s3://recordings/alone.mp4"];
    let product = Product::start(folder.path(), &arguments, &environment, "");
    let outcome = product.finish(Duration::from_secs(120));
    outcome.is_well();
    let object = storage.object("alone.mp4");
    let watched = folder.path().join("seen.mp4");
    std::fs::write(&watched, &object).unwrap();
    assert_eq!(video_packets(&watched).len(), 150);
    let kept = folder.path().join("alone.mp4.roomcast/upload/recording.mp4");
    assert!(std::fs::read(&kept).unwrap() == object, "the copy is the object");
    let spool = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        command.current_dir(folder.path()).envs(environment).arg("spool").arg(".").args(more);
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = spool(&[]);
    assert!(listed.contains("confirmed; deleted in 2") && listed.contains("s3: recordings/alone.mp4, confirmed"), "{listed}");
    let listed: serde_json::Value = serde_json::from_str(&spool(&["--json"])).unwrap();
    assert_eq!(listed[0]["bytes"].as_u64(), Some(object.len() as u64));
}

/// The storage is away at the end. Whoever does not want to wait is told what to do, and the object is made later, once.
#[test]
fn what_is_not_uploaded_is_gone_on_with_by_recover() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = S3Server::start();
    let endpoint = storage.url();
    let environment = [
        ("ROOMCAST_STORAGE__ENDPOINT", endpoint.as_str()),
        ("ROOMCAST_STORAGE__ACCESS_KEY", ACCESS_KEY),
        ("ROOMCAST_STORAGE__SECRET_KEY", SECRET_KEY),
    ];
    let arguments = ["rehearse", "--duration", "5s", "--to", "late.mp4", "--to", "s3://recordings/late.mp4"];
    let product = Product::start(folder.path(), &arguments, &environment, "");
    product.logs("recording target.id=recording", Duration::from_secs(90));
    storage.kill();
    product.logs("retrying ", Duration::from_secs(60));
    until(Duration::from_secs(60), "the file", || folder.path().join("late.mp4").exists().then_some(()));
    product.signal(nix::sys::signal::Signal::SIGINT);
    let outcome = product.finish(Duration::from_secs(30));
    assert_eq!(outcome.status.code(), Some(1));
    let advice =
        "the recording is kept in ./late.mp4.roomcast, and its upload goes on with: roomcast recover ./late.mp4.roomcast";
    assert!(
        outcome.log.contains("not everything is uploaded") && outcome.log.contains("roomcast recover late.mp4.roomcast"),
        "{advice}\n{}",
        outcome.log
    );
    storage.come_back();
    let again = Product::start(folder.path(), &["recover", "late.mp4.roomcast"], &environment, "");
    again.finish(Duration::from_secs(60)).is_well();
    assert!(storage.object("late.mp4") == std::fs::read(folder.path().join("late.mp4")).unwrap());
    assert_eq!((storage.keys(), storage.uploads()), (vec!["late.mp4".to_owned()], vec![]));
}

/// An operator asks before a meeting whether all will work, and gets a line for each thing.
#[test]
fn a_check_says_what_works_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, nginx) = (S3Server::start(), Nginx::start());
    let config = format!(
        "[programme]\nsize = \"640x360\"\n[storage]\nendpoint = \"{}\"\naccess_key = \"{ACCESS_KEY}\"\nsecret_key = \"{SECRET_KEY}\"\n\
         [live]\nallowed_addresses = [\"127.0.0.0/8\"]\n\
         [destinations.good]\naddress = \"{}\"\nkey = \"good-canary\"\n[destinations.bad]\naddress = \"{}\"\nkey = \"bad-canary\"\n\
         [destinations.inner]\naddress = \"rtmp://10.0.0.1/live\"\nkey = \"canary\"\n[destinations.keyless]\npreset = \"twitch\"\n",
        storage.url(),
        nginx.address(),
        nginx.address(),
    );
    std::fs::write(folder.path().join("roomcast.toml"), config).unwrap();
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        command.current_dir(folder.path()).args(["--config", "roomcast.toml", "check"]).args(more);
        let output = command.output().expect("runs");
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("canary") && !complained.contains("canary"), "{said}{complained}");
        println!("{said}{complained}");
        (output.status.code(), said, complained)
    };
    let (_, said, _) = check(&["--to", "a.mp4", "--to", "s3://recordings/a.mp4", "--to", "good"]);
    for line in [
        "ok    GStreamer: all elements of ",
        "ok    H.264 encoder, 640x360 at 30: ",
        "ok    AAC encoder, 128 kbit/s: works",
        "ok    fonts: names can be written",
        "ok    a.mp4: can be written",
        "ok    s3://recordings/a.mp4: written and deleted in ",
        "ok    good: can be reached; the key was not tried (--publish); round trip ",
    ] {
        assert!(said.contains(line), "{line}");
    }
    assert_eq!(storage.keys(), Vec::<String>::new(), "nothing of the check is left");

    let (code, said, complained) = check(&["--publish"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--publish tests the stream keys themselves"));
    assert!(said.contains("ok    good: takes the stream; round trip "));
    assert!(said.contains("FAIL  bad: "));
    assert!(said.contains("FAIL  keyless: destinations.keyless has no stream key"), "and the others are looked at all the same");
    assert!(said.contains("FAIL  inner: The operator does not allow streams to the address of this server"));
    assert!(complained.contains("things must be done before this works"));
    let (_, said, _) = check(&["--to", "s3://missing/a.mp4"]);
    assert!(said.contains("FAIL  s3://missing/a.mp4: the bucket does not exist; see [storage] in docs/config.md"), "{said}");

    // A Session uses the stream: the key is not tried.
    let arguments = ["--config", "roomcast.toml", "rehearse", "--duration", "30s", "--to", "good"];
    let product = Product::start(folder.path(), &arguments, &[], "");
    product.logs("good: live", Duration::from_secs(90));
    let (_, said, _) = check(&["--publish", "--to", "good"]);
    assert!(said.contains("FAIL  good: a Session streams there now with this key, so the key is not tried"), "{said}");
    let second = Product::start(folder.path(), &arguments, &[], "").finish(Duration::from_secs(30));
    assert!(
        second.log.contains("good is in use: another Session on this machine streams to this address with this key"),
        "{}",
        second.log
    );
    product.signal(nix::sys::signal::Signal::SIGINT);
    product.finish(Duration::from_secs(30)).is_well();
}

/// Whoever configures a service asks about it without naming its places again.
#[test]
fn a_check_of_a_service_looks_at_where_its_recordings_go() {
    let folder = tempfile::tempdir().unwrap();
    let storage = S3Server::start();
    let write = |recordings: &str, more: &str| {
        let config = format!(
            "[rabbitmq]\nurl = \"amqp://127.0.0.1:1\"\npassword = \"canary\"\n[serve]\nrecordings = [{recordings}]\n[spool]\ndir = \"spool\"\n\
             [storage]\nendpoint = \"{}\"\naccess_key = \"{ACCESS_KEY}\"\n{more}\n",
            storage.url(),
        );
        std::fs::write(folder.path().join("roomcast.toml"), config).unwrap();
    };
    let check = |secret: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        command.current_dir(folder.path()).args(["--config", "roomcast.toml", "check"]);
        let output = command.env("ROOMCAST_STORAGE__SECRET_KEY", secret).output().expect("runs");
        String::from_utf8(output.stdout).unwrap()
    };
    write(r#""controller", "films/{room}/{start}.mp4", "s3://recordings/{room}/{start}.mp4""#, "");
    let said = check(SECRET_KEY);
    for line in [
        "ok    layout and slates: can be read",
        "ok    spool: can be written",
        "ok    recordings to films/{room}/{start}.mp4: can be written",
        "ok    recordings to s3://recordings/{room}/{start}.mp4: written and deleted in ",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!said.contains("recordings to controller"), "{said}");
    assert_eq!(storage.keys(), Vec::<String>::new(), "nothing of the check is left");
    write(r#""s3://missing/{start}.mp4""#, "[slates]\nnobody = \"nothing.toml\"");
    let said = check(SECRET_KEY);
    for line in [
        "FAIL  layout and slates: cannot read the slate nothing.toml: no such file or directory",
        "FAIL  recordings to s3://missing/{start}.mp4: the bucket does not exist; see [storage] in docs/config.md",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let said = check("wrong");
    assert!(said.contains("FAIL  recordings to s3://missing/{start}.mp4: "), "{said}");
}

//! Real RTMP servers with private folders: nginx, which is strict and records exactly what came, and mediamtx, which does TLS and rejects keys late.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{cache, cached_program, free_tcp_port, signal, until, wait};

/// The publishing user of mediamtx's private paths.
pub const USER: &str = "user=streamer&pass=canary-pass";

/// A running nginx that takes streams at the application `live`, whose names must begin with `good`.
pub struct Nginx {
    child: Option<Child>,
    folder: tempfile::TempDir,
    /// RTMP.
    pub port: u16,
    http_port: u16,
}

impl Nginx {
    /// Starts a server and waits until it answers.
    pub fn start() -> Nginx {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["rec", "body"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let (port, http_port) = (free_tcp_port(), free_tcp_port());
        let root = folder.path().display();
        let modules = cache().join("nginx/usr/lib/nginx/modules");
        let config = format!(
            "load_module {}/ngx_rtmp_module.so;\ndaemon off; master_process off; pid {root}/pid; error_log {root}/error.log info;\n\
             events {{ worker_connections 256; }}\n\
             rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; ping 2s; ping_timeout 4s; application live {{ live on; \
             on_publish http://127.0.0.1:{}/; record all; record_path {root}/rec; record_unique on; }} }} }}\n\
             http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/body; fastcgi_temp_path {root}/body; \
             uwsgi_temp_path {root}/body; scgi_temp_path {root}/body;\n\
             server {{ listen 127.0.0.1:{http_port}; location /stat {{ rtmp_stat all; }} location /control {{ rtmp_control all; }} }} }}\n",
            modules.display(),
            doorman(),
        );
        std::fs::write(folder.path().join("nginx.conf"), config).expect("configuration is written");
        let mut server = Nginx { child: None, folder, port, http_port };
        server.come_back();
        server
    }

    /// Starts the server again after [`Nginx::kill`], at the same ports.
    pub fn come_back(&mut self) {
        let program = cache().join("nginx/usr/sbin/nginx");
        assert!(program.exists(), "{} is missing: run scripts/servers first", program.display());
        let (folder, log) = (self.folder.path(), self.folder.path().join("error.log"));
        let child = Command::new(program)
            .args([
                "-p".as_ref(),
                folder.as_os_str(),
                "-c".as_ref(),
                folder.join("nginx.conf").as_os_str(),
                "-e".as_ref(),
                log.as_os_str(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        self.child = Some(child);
        until(Duration::from_secs(10), "nginx answers", || http(self.http_port, "GET", "/stat").filter(|a| a.contains("200 OK")));
    }

    /// Ends the server at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::SIGKILL);
            child.wait().expect("it ends");
        }
    }

    /// Where streams go.
    pub fn address(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    /// What was recorded of a stream, oldest first.
    pub fn recordings(&self, name: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.path().join("rec")).expect("the folder is ours");
        let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
        paths.retain(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}-"))));
        paths.sort();
        paths
    }

    /// Everything that was recorded, with the names of its streams as the server writes them.
    pub fn all_recordings(&self) -> Vec<(String, PathBuf)> {
        let files = std::fs::read_dir(self.folder.path().join("rec")).expect("the folder is ours");
        let named = |path: PathBuf| (path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(), path);
        files.map(|file| named(file.expect("readable").path())).collect()
    }

    /// Hangs up on a publisher.
    pub fn drop_publisher(&self, name: &str) {
        let answer = http(self.http_port, "GET", &format!("/control/drop/publisher?app=live&name={name}"));
        assert!(answer.is_some_and(|answer| answer.contains("200 OK")));
    }

    /// What the server logged; for the message of a test that fails.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whom nginx asks about each stream: yes, if its name begins with `good`. Ends with the test program.
fn doorman() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
            let (mut asked, mut buffer) = (String::new(), [0; 4096]);
            while !asked.contains("name=") {
                match stream.read(&mut buffer) {
                    Ok(count) if count > 0 => asked.push_str(&String::from_utf8_lossy(&buffer[..count])),
                    _ => break,
                }
            }
            let verdict = if asked.contains("&name=good") { "200 OK" } else { "403 Forbidden" };
            let _ = write!(stream, "HTTP/1.1 {verdict}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    port
}

/// A certificate and its key, as PEM files.
pub struct Identity<'a> {
    /// The chain.
    pub certificate: &'a Path,
    /// The key.
    pub key: &'a Path,
}

/// A running mediamtx: anybody may publish at `live/good…`, [`USER`] at `priv/…`.
pub struct MediaMtx {
    child: Child,
    folder: tempfile::TempDir,
    /// RTMP.
    pub port: u16,
    /// RTMPS.
    pub tls_port: u16,
    api_port: u16,
}

impl MediaMtx {
    /// Starts a server with this identity and waits until it answers.
    pub fn start(identity: &Identity<'_>) -> MediaMtx {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, tls_port, api_port) = (free_tcp_port(), free_tcp_port(), free_tcp_port());
        let config = format!(
            "logLevel: info\napi: yes\napiAddress: 127.0.0.1:{api_port}\nrtsp: no\nhls: no\nsrt: no\nwebrtc: no\nrtmp: yes\n\
             rtmpAddress: 127.0.0.1:{port}\nrtmpEncryption: \"optional\"\nrtmpsAddress: 127.0.0.1:{tls_port}\nrtmpServerKey: {}\n\
             rtmpServerCert: {}\nauthMethod: internal\nauthInternalUsers:\n  - user: any\n    ips: ['127.0.0.1', '::1']\n    \
             permissions: [{{action: api}}, {{action: publish, path: ~^live/good}}]\n  - user: streamer\n    pass: canary-pass\n    \
             permissions: [{{action: publish, path: ~^priv/}}]\npathDefaults:\n  record: yes\n  \
             recordPath: {}/rec/%path/%Y-%m-%d_%H-%M-%S-%f\n  recordFormat: fmp4\npaths:\n  all_others:\n",
            identity.key.display(),
            identity.certificate.display(),
            folder.path().display(),
        );
        let file = folder.path().join("mediamtx.yml");
        std::fs::write(&file, config).expect("configuration is written");
        let log = std::fs::File::create(folder.path().join("log")).expect("log");
        let child = Command::new(cached_program("mediamtx"))
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("mediamtx starts");
        let server = MediaMtx { child, folder, port, tls_port, api_port };
        until(Duration::from_secs(20), "mediamtx answers", || {
            http(api_port, "GET", "/v3/paths/list").filter(|answer| answer.contains("200 OK"))
        });
        server
    }

    /// What the server says about its streams (JSON).
    pub fn paths(&self) -> String {
        http(self.api_port, "GET", "/v3/paths/list").expect("mediamtx answers")
    }

    /// What was recorded at a path, oldest first.
    pub fn recordings(&self, path: &str) -> Vec<PathBuf> {
        let Ok(files) = std::fs::read_dir(self.folder.path().join("rec").join(path)) else { return Vec::new() };
        let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
        paths.sort();
        paths
    }

    /// What the server logged; for the message of a test that fails.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for MediaMtx {
    fn drop(&mut self) {
        signal(&self.child, Signal::SIGTERM);
        if wait(&mut self.child, Duration::from_secs(3)).is_none() {
            signal(&self.child, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

fn http(port: u16, method: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// One tag of an FLV file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// 8 sound, 9 video, 18 data.
    pub kind: u8,
    /// Milliseconds.
    pub time_ms: u32,
    /// The body.
    pub body: Vec<u8>,
}

/// The tags of an FLV file (Adobe FLV 10.1, annex E).
pub fn read_flv(path: &Path) -> Vec<Tag> {
    let file = std::fs::read(path).expect("a recording");
    assert_eq!(&file[..3], b"FLV");
    let (mut rest, mut tags) = (&file[13..], Vec::new());
    while rest.len() >= 11 {
        let number = |at: usize| u32::from_be_bytes([0, rest[at], rest[at + 1], rest[at + 2]]);
        let length = number(1) as usize;
        let Some(body) = rest.get(11..11 + length) else { break };
        tags.push(Tag { kind: rest[0], time_ms: number(4) | u32::from(rest[7]) << 24, body: body.to_vec() });
        rest = rest.get(11 + length + 4..).unwrap_or_default();
    }
    tags
}

/// Decodes a file with ffmpeg and gives the number of pictures; panics at any error that it sees.
pub fn decode(path: &Path) -> usize {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats", "-loglevel", "warning", "-xerror", "-i"])
        .arg(path)
        .args(["-map", "0", "-f", "framecrc", "-"])
        .output()
        .expect("ffmpeg runs");
    let (said, pictures) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success() && said.is_empty(), "{} does not decode clean: {said}", path.display());
    pictures.lines().filter(|line| line.starts_with("0,")).count()
}

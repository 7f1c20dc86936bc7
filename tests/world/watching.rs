//! A real browser that looks at a page of the product: headless Chromium, asked by the DevTools protocol what the page holds.

use std::process::Child;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::whep::ask;
use super::{chromium, until};

/// A browser starts in about a second; on a machine that is busy with other things in ten.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one page.
pub struct Watcher {
    child: Child,
    _profile: tempfile::TempDir,
    runtime: Runtime,
    page: WebSocketStream<MaybeTlsStream<TcpStream>>,
    asked: u64,
}

impl Watcher {
    /// Opens `page`; `language` is what the browser asks for.
    pub fn open(page: &str, language: &str) -> Watcher {
        let profile = tempfile::tempdir().expect("a folder");
        let language = format!("--accept-lang={language}");
        let arguments = ["--remote-debugging-port=0", "--remote-allow-origins=*", "--window-size=1100,1100", &language];
        let child = chromium::start(profile.path(), page, &arguments);
        let port_file = profile.path().join("DevToolsActivePort");
        let port: u16 = until(PATIENCE, "the browser says its port", || {
            std::fs::read_to_string(&port_file).ok()?.lines().next()?.parse().ok()
        });
        let address: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
        let socket = until(PATIENCE, "the browser has the page", || {
            let list: Value = serde_json::from_slice(&ask(address, "GET", "/json/list", &[], b"").ok()?.body).ok()?;
            let one = list.as_array()?.iter().find(|one| one["type"] == "page" && one["url"] == page)?;
            Some(one["webSocketDebuggerUrl"].as_str()?.to_owned())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (asking, _) = runtime.block_on(connect_async(socket)).expect("the page can be asked");
        let mut watcher = Watcher { child, _profile: profile, runtime, page: asking, asked: 0 };
        // What was there before the page goes with it.
        until(PATIENCE, "the page is loaded", || {
            let is_there = watcher.value("document.readyState === 'complete' && document.getElementById('programme') !== null");
            is_there.as_bool().filter(|there| *there).map(drop)
        });
        watcher
    }

    /// The value of an expression in the page; promises are awaited. Panics when it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "the page says {answer}");
        answer["result"]["value"].clone()
    }

    /// What the page looks like, as a PNG file.
    pub fn looks(&mut self, dark: bool) -> Vec<u8> {
        let scheme = if dark { "dark" } else { "light" };
        self.call("Emulation.setEmulatedMedia", &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }));
        let picture = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64")
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.asked += 1;
        let (id, page) = (self.asked, &mut self.page);
        let question = json!({ "id": id, "method": method, "params": parameters }).to_string();
        self.runtime.block_on(async {
            page.send(Message::text(question)).await.expect("the browser listens");
            loop {
                let said =
                    timeout(PATIENCE, page.next()).await.expect("the browser answers").expect("it is there").expect("it speaks");
                let Message::Text(text) = said else { continue };
                let said: Value = serde_json::from_str(&text).expect("JSON");
                if said["id"] == id {
                    assert!(said.get("error").is_none(), "{method}: {said}");
                    return said["result"].clone();
                }
            }
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The child has not been waited for, so its group is still its own.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

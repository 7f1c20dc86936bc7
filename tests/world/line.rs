//! A network line between the product and a server, which can be cut, go dead, or carry nonsense. Whatever is spoken over TCP can be behind it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Everything passes.
    Up,
    /// Connections are reset: those that are open, and those that come.
    Cut,
    /// Nothing passes and nothing is closed, as behind a switch that is off. What was sent meanwhile arrives when it is on again.
    Dead,
    /// Whoever is connected, or connects, hears nonsense and no more.
    Nonsense,
}

/// A line that is up, until it is set otherwise.
pub struct Line {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Line {
    /// A line to a server on a port of 127.0.0.1.
    pub fn to(server: u16) -> Line {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("bound");
        let (condition, seen) = watch::channel(Condition::Up);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, seen.clone()));
            }
        });
        Line { address, condition, runtime: Some(runtime) }
    }

    /// Its near end: a TCP port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// It is so from now on.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One connection, to its end.
async fn carry(mut client: TcpStream, server: u16, mut condition: watch::Receiver<Condition>) -> Option<()> {
    let mut far: Option<TcpStream> = None;
    let (mut there, mut back) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let now = *condition.wait_for(|condition| *condition != Condition::Dead).await.ok()?;
        match now {
            Condition::Cut => return socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).ok(),
            Condition::Nonsense => return client.write_all(&[0xff; 300]).await.ok(),
            Condition::Up | Condition::Dead => {}
        }
        let far = match &mut far {
            Some(far) => far,
            None => far.insert(TcpStream::connect(("127.0.0.1", server)).await.ok()?),
        };
        // Only what can be left off without a loss is chosen between: what was read is passed on to its end.
        let (read, to, bytes) = tokio::select! {
            changed = condition.changed() => {
                changed.ok()?;
                continue;
            }
            read = client.read(&mut there) => (read, far, &there),
            read = far.read(&mut back) => (read, &mut client, &back),
        };
        let count = read.ok().filter(|count| *count > 0)?;
        to.write_all(&bytes[..count]).await.ok()?;
    }
}

//! The operators' interface by HTTP: health, metrics, status, and the layout of a Session.
//!
//! In: requests, and the [`Board`]. Out: answers; commands to Sessions, by the board. A task for each connection on the supervisor's runtime, beside
//! the Sessions and never in their way: a request has [`TIME`] from the first byte to the last, a connection carries one request, and at most
//! [`MAX_CONNECTIONS`] are open; more wait. It refuses everything but health without the operators' token, and answers no key and no name of a person.
//! It speaks plain HTTP: beyond this machine it belongs behind a proxy with TLS.

mod api;
pub mod client;
pub mod metrics;
pub mod status;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use recorder_core::secret::Secret;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower_service::Service;

pub(crate) use api::wanted;

use super::board::Board;
use super::layouts::Layouts;

/// What a connection may take, from its first byte to its last.
pub const TIME: Duration = Duration::from_secs(10);
/// Connections at the same time.
pub const MAX_CONNECTIONS: usize = 32;
/// Largest body of a request, in bytes.
pub const MAX_BODY: usize = 4 << 10;
/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// After a connection could not be taken, which is for want of file descriptors.
const BREATH: Duration = Duration::from_millis(200);

/// What answers are made of.
pub struct Operators {
    /// The Sessions.
    pub board: Board,
    /// The layouts that can be chosen.
    pub layouts: Layouts,
    /// Without one, only health is answered.
    pub token: Option<Token>,
}

/// What operators prove themselves by. Kept as its sum only.
pub struct Token(digest::Digest);

impl Token {
    /// Of this text.
    pub fn new(secret: &Secret) -> Self {
        Self(digest::digest(&digest::SHA256, secret.expose().as_bytes()))
    }

    /// In a time that says nothing about how much of it is right.
    fn is(&self, given: &str) -> bool {
        let given = digest::digest(&digest::SHA256, given.as_bytes());
        constant_time::verify_slices_are_equal(self.0.as_ref(), given.as_ref()).is_ok()
    }
}

/// The interface while it is there. Ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address is taken, or is not one of this machine.
    pub async fn start(listen: SocketAddr, operators: Operators) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        if operators.token.is_none() {
            tracing::warn!("there is no token for operators (http.token_file): only the health of this process is answered");
        }
        tracing::info!(%address, "operators are answered");
        let task = tokio::spawn(listen_on(listener, api::router(Arc::new(operators)), TIME));
        Ok(Self { address, task })
    }

    /// Where it listens; with the port that was chosen when it was asked for any.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes connections until it is aborted; those that are open end by their own limit of time.
async fn listen_on(listener: TcpListener, app: Router, time: Duration) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an operator's connection cannot be taken");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let app = app.clone();
        tokio::spawn(async move {
            if tokio::time::timeout(time, serve(stream, app)).await.is_err() {
                tracing::debug!("an operator's connection was too slow");
            }
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, app: Router) {
    let mut http = http1::Builder::new();
    // The time of the whole connection is limited, and with it that of the head.
    http.keep_alive(false).max_buf_size(MAX_HEAD).header_read_timeout(None);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(by_any_body(app))).await {
        tracing::debug!(%error, "an operator's connection ended early");
    }
}

/// The router as a service of what arrives.
fn by_any_body(
    app: Router,
) -> impl Service<hyper::Request<hyper::body::Incoming>, Response = axum::response::Response, Error = Infallible, Future: Send> + Clone
{
    app
}

#[cfg(test)]
mod tests;

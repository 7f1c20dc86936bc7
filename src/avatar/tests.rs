//! Against HTTP servers on this machine that answer as they are told, well or badly.

use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{ImageFormat, RgbImage};
use recorder_core::address::AddressBlock;
use recorder_core::ids::{TrackId, TrackKind};
use recorder_core::scene::{Fit, Rect, Rgb, Tile};
use recorder_core::time::SessionTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server at a loopback address; counts the requests.
struct Server {
    address: String,
    asked: Arc<AtomicUsize>,
}

/// What a server does with a connection whose request was read.
enum Reply {
    /// Sends this, and closes.
    Bytes(Vec<u8>),
    /// Sends this, and then nothing, for ever.
    Stall(Vec<u8>),
}

impl Server {
    async fn start(host: &str, reply: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut stalled: Vec<TcpStream> = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                // A client that has heard enough may be gone before everything is sent.
                match reply(head.split(' ').nth(1).unwrap()) {
                    Reply::Bytes(bytes) => drop(stream.write_all(&bytes).await),
                    Reply::Stall(bytes) => {
                        drop(stream.write_all(&bytes).await);
                        stalled.push(stream);
                    }
                }
            }
        });
        Self { address, asked }
    }

    fn at(&self, path: &str) -> Pii {
        Pii::new(format!("{}{path}", self.address))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn redirect(to: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes())
}

fn png() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(20, 20, image::Rgb([200, 30, 30])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Only this one loopback address may be asked, so that another stands for the operator's own network.
const ALLOWED: &str = "127.0.0.2";

fn rules() -> AvatarRules {
    let policy = AddressPolicy::allowing(vec![ALLOWED.parse::<AddressBlock>().unwrap()]);
    AvatarRules { allow_http: true, policy, ..AvatarRules::default() }
}

async fn fetched(address: &Pii) -> Result<Still, AvatarError> {
    picture(&Fetcher::new(&rules()).unwrap().within(Duration::from_secs(2)), address).await
}

#[tokio::test]
async fn a_picture_is_fetched_also_over_a_redirect_and_without_a_length() {
    let server = Server::start(ALLOWED, |path| match path {
        "/moved" => redirect("/there?size=20"),
        "/there?size=20" => Reply::Bytes(answer("image/png; q=1", &png())),
        "/open" => Reply::Bytes([&b"HTTP/1.0 200 OK\r\nContent-Type: IMAGE/PNG\r\n\r\n"[..], &png()].concat()),
        _ => Reply::Bytes(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()),
    })
    .await;
    for path in ["/moved", "/open"] {
        let still = fetched(&server.at(path)).await.unwrap();
        assert_eq!((still.width(), still.height()), (20, 20), "{path}");
    }
    assert!(matches!(fetched(&server.at("/other")).await, Err(AvatarError::Status(404))));
}

#[tokio::test]
async fn what_a_bad_server_sends_is_refused() {
    let server = Server::start(ALLOWED, |path| match path {
        "/promised" => Reply::Stall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3000000\r\n\r\n".to_vec()),
        "/endless" => {
            let head = b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n".to_vec();
            Reply::Stall([head, vec![0; fetch::LARGEST + 1]].concat())
        }
        "/slow" => Reply::Stall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\n\x89PNG".to_vec()),
        "/silent" => Reply::Stall(Vec::new()),
        "/page" => Reply::Bytes(answer("text/html", &png())),
        "/svg" => Reply::Bytes(answer("image/svg+xml", b"<svg/>")),
        "/lie" => Reply::Bytes(answer("image/png", b"<html></html>")),
        "/bomb" => Reply::Bytes(answer("image/png", &bomb())),
        "/circle" => redirect("/circle"),
        "/nowhere" => Reply::Bytes(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec()),
        _ => Reply::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec()),
    })
    .await;
    assert!(matches!(fetched(&server.at("/promised")).await, Err(AvatarError::TooLarge)));
    assert!(matches!(fetched(&server.at("/endless")).await, Err(AvatarError::TooLarge)));
    assert!(matches!(fetched(&server.at("/slow")).await, Err(AvatarError::TooSlow)));
    assert!(matches!(fetched(&server.at("/silent")).await, Err(AvatarError::TooSlow)));
    assert!(matches!(fetched(&server.at("/page")).await, Err(AvatarError::Type)));
    assert!(matches!(fetched(&server.at("/svg")).await, Err(AvatarError::Type)));
    assert!(matches!(fetched(&server.at("/lie")).await, Err(AvatarError::Still(crate::mixer::still::StillError::Format))));
    assert!(matches!(fetched(&server.at("/bomb")).await, Err(AvatarError::Still(crate::mixer::still::StillError::TooLarge))));
    assert!(matches!(fetched(&server.at("/circle")).await, Err(AvatarError::Redirects)));
    assert!(matches!(fetched(&server.at("/nowhere")).await, Err(AvatarError::Protocol)));
    assert!(matches!(fetched(&server.at("/else")).await, Err(AvatarError::Protocol)));
}

/// A real PNG of 5000x5000 pixels of one colour: small to send, large to decode.
fn bomb() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::GrayImage::new(5000, 5000).write_to(&mut bytes, ImageFormat::Png).unwrap();
    assert!(bytes.get_ref().len() < fetch::LARGEST);
    bytes.into_inner()
}

#[tokio::test]
async fn only_allowed_addresses_are_asked_also_after_a_redirect() {
    let inside = Server::start("127.0.0.1", |_| Reply::Bytes(answer("image/png", &png()))).await;
    let (by_address, port) = (inside.address.clone(), inside.address.rsplit(':').next().unwrap().to_owned());
    let by_name = format!("http://localhost:{port}/");
    let to_name = by_name.clone();
    let outside = Server::start(ALLOWED, move |path| redirect(if path == "/name" { &to_name } else { &by_address })).await;
    for address in [inside.at("/"), Pii::new(&by_name), outside.at("/address"), outside.at("/name")] {
        assert!(matches!(fetched(&address).await, Err(AvatarError::Forbidden)), "{}", address.expose());
    }
    for odd in
        [format!("http://2130706433:{port}/"), format!("http://[::ffff:127.0.0.1]:{port}/"), format!("http://0x7f.1:{port}/")]
    {
        assert!(matches!(fetched(&Pii::new(odd.as_str())).await, Err(AvatarError::Forbidden)), "{odd}");
    }
    assert_eq!((inside.asked(), outside.asked()), (0, 2));
}

#[tokio::test]
async fn https_alone_is_asked_unless_the_operator_allows_more() {
    let server = Server::start(ALLOWED, |_| Reply::Bytes(answer("image/png", &png()))).await;
    let strict = Fetcher::new(&AvatarRules { allow_http: false, ..rules() }).unwrap();
    for address in
        [server.at("/"), Pii::new("file:///etc/passwd"), Pii::new("https://name:word@example.org/"), Pii::new("picture.png")]
    {
        assert!(matches!(strict.fetch(&address).await, Err(AvatarError::Address)), "{}", address.expose());
    }
    assert_eq!(server.asked(), 0);
    let pretender = TcpListener::bind((ALLOWED, 0)).await.unwrap();
    let pretended = Pii::new(format!("https://{}/", pretender.local_addr().unwrap()));
    let answer = async {
        let (mut stream, _) = pretender.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (result, _stream) = tokio::join!(strict.fetch(&pretended), answer);
    assert!(matches!(result, Err(AvatarError::NotSecure)), "{result:?}");
}

#[test]
fn no_error_says_where_a_picture_lies() {
    let secret = "https://user:word@pictures.example.org/ada.png";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(Fetcher::new(&AvatarRules::default()).unwrap().fetch(&Pii::new(secret))).unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(!said.contains("example") && !said.contains("word"), "{said}");
}

fn person(name: &str) -> ParticipantId {
    ParticipantId::new(name)
}

/// One Rendition shows these people.
fn scenes(names: &[&str]) -> Scenes {
    Arc::from([scene(names)])
}

fn scene(names: &[&str]) -> Arc<Scene> {
    let canvas = CanvasSize { width_px: 64, height_px: 36 };
    let tiles = names.iter().map(|name| Tile {
        participant: person(name),
        video: Some(TrackId::new(person(name), TrackKind::Camera)),
        rect: Rect { x: 0, y: 0, width: 64, height: 36 },
        fit: Fit::Cover,
        label: None,
        speaking: false,
    });
    Arc::new(Scene { tiles: tiles.collect(), ..Scene::empty(SessionTime::ZERO, canvas, Rgb(0, 0, 0)) })
}

async fn next_change(avatars: &mut Avatars) -> Vec<(ParticipantId, Option<Still>)> {
    loop {
        tokio::time::timeout(Duration::from_secs(20), avatars.fetched()).await.unwrap();
        let changes = avatars.changes();
        if !changes.is_empty() {
            return changes;
        }
    }
}

#[tokio::test]
async fn those_who_are_shown_get_their_pictures_and_each_is_fetched_once() {
    let server = Server::start(ALLOWED, |_| Reply::Bytes(answer("image/png", &png()))).await;
    let mut avatars = Avatars::new(&rules());
    for name in ["ada", "bob", "cem"] {
        avatars.lies_at(&person(name), Some(&server.at("/shared")));
    }
    assert!(avatars.changes().is_empty());
    avatars.show(&scenes(&["ada", "bob", "dan"]));
    let mut first = next_change(&mut avatars).await;
    first.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        first.iter().map(|(who, still)| (who.as_str(), still.is_some())).collect::<Vec<_>>(),
        [("ada", true), ("bob", true)]
    );
    assert!(avatars.changes().is_empty(), "said once");
    // Who comes into view gets theirs at once; who comes back gets theirs again.
    avatars.show(&scenes(&["cem"]));
    assert_eq!(avatars.changes().len(), 1);
    avatars.show(&scenes(&["ada", "cem"]));
    let again = avatars.changes();
    assert_eq!(again.iter().map(|(who, _)| who.as_str()).collect::<Vec<_>>(), ["ada"]);
    assert_eq!(server.asked(), 1);
    // The mixer of each Rendition forgets who it does not show.
    avatars.show(&Arc::from([scene(&["ada", "cem"]), scene(&["cem"])]));
    assert_eq!(avatars.changes().iter().map(|(who, _)| who.as_str()).collect::<Vec<_>>(), ["cem"]);
    avatars.show(&Arc::from([scene(&["ada", "cem"]), scene(&["ada", "cem"])]));
    assert_eq!(avatars.changes().iter().map(|(who, _)| who.as_str()).collect::<Vec<_>>(), ["ada"]);
    // Another picture replaces the old one when it is there; none means initials.
    avatars.lies_at(&person("ada"), Some(&server.at("/other")));
    assert!(avatars.changes().is_empty());
    assert_eq!(next_change(&mut avatars).await.len(), 1);
    avatars.lies_at(&person("ada"), None);
    assert_eq!(avatars.changes(), [(person("ada"), None)]);
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn what_failed_is_tried_again_after_a_while_and_not_before() {
    let mut avatars = Avatars::new(&rules());
    let nowhere = Pii::new("http://127.0.0.1:9/");
    avatars.lies_at(&person("ada"), Some(&nowhere));
    avatars.show(&scenes(&["ada"]));
    avatars.fetched().await;
    assert!(avatars.changes().is_empty());
    avatars.show(&scenes(&["ada", "bob"]));
    assert!(avatars.running.is_empty() && avatars.waiting.is_empty());
    let long_ago = Instant::now().checked_sub(RETRY_AFTER).unwrap();
    avatars.kept.get_mut(&nowhere).unwrap().known = Known::Failed(long_ago);
    avatars.show(&scenes(&["ada"]));
    assert_eq!(avatars.running.len(), 1);
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let mut avatars = Avatars::new(&rules());
    let nowhere = |n: usize| Pii::new(format!("http://127.0.0.1:9/{n}"));
    for n in 0..KNOWN_PEOPLE + 50 {
        avatars.lies_at(&person(&format!("p{n}")), Some(&nowhere(n)));
        if n % 10 == 0 {
            avatars.show(&scenes(&[&format!("p{n}"), &format!("p{}", n / 2)]));
        }
    }
    assert_eq!(avatars.addresses.len(), KNOWN_PEOPLE);
    assert!(avatars.kept.len() <= KEPT && avatars.waiting.len() <= KEPT && avatars.running.len() <= AT_ONCE);
    avatars.lies_at(&person("p0"), Some(&Pii::new("x".repeat(LONGEST_ADDRESS + 1))));
    assert_eq!(avatars.addresses.len(), KNOWN_PEOPLE - 1);
    let mut off = Avatars::new(&AvatarRules { fetch: false, ..rules() });
    let mut without_trust = Avatars::new(&AvatarRules { ca_file: Some("/nowhere.pem".into()), ..rules() });
    for avatars in [&mut off, &mut without_trust] {
        avatars.lies_at(&person("ada"), Some(&nowhere(1)));
        avatars.show(&scenes(&["ada"]));
        assert!(avatars.kept.is_empty() && avatars.running.is_empty());
    }
}

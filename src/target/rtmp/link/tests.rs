use std::net::TcpListener;
use std::time::Instant;

use super::*;

fn connected(listener: &TcpListener) -> (Link, TcpStream) {
    let mut link = Link::connect(listener.local_addr().unwrap(), None, 64 * 1024).unwrap();
    let (peer, _) = listener.accept().unwrap();
    let begin = Instant::now();
    while !link.is_connected().unwrap() {
        assert!(begin.elapsed() < Duration::from_secs(5));
        link.wait(true, Duration::from_millis(10));
    }
    (link, peer)
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn what_the_other_side_confirms_is_known_and_what_it_does_not_read_too() {
    let (mut link, mut peer) = connected(&listener());
    let before = link.signs();
    let mut bytes = vec![7; 10_000];
    link.send(&mut bytes).unwrap();
    assert!(bytes.is_empty());
    let mut read = vec![0; 10_000];
    peer.read_exact(&mut read).unwrap();
    let begin = Instant::now();
    while link.signs().unconfirmed > 0 {
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    let after = link.signs();
    assert_eq!(after.confirmed - before.confirmed, 10_000);
    assert!(after.round_trip > Duration::ZERO);
    // Nobody reads: the system takes only so much, and says how much it holds.
    let mut bytes = vec![7; 64 << 20];
    link.send(&mut bytes).unwrap();
    assert!(!bytes.is_empty(), "64 MiB fit into buffers");
    assert!(link.signs().unconfirmed > 0);
}

#[test]
fn ends_and_refusals_are_told_apart() {
    let (mut link, peer) = connected(&listener());
    drop(peer);
    link.wait(false, Duration::from_secs(5));
    assert_eq!(link.receive(&mut [0; 10]), Ok(Got::End));

    let closed = listener().local_addr().unwrap();
    let mut link = match Link::connect(closed, None, 1000) {
        Err(reason) => return assert_eq!(reason, Reason::ConnectionRefused),
        Ok(link) => link,
    };
    let begin = Instant::now();
    let reason = loop {
        match link.is_connected() {
            Err(reason) => break reason,
            Ok(is) => assert!(!is && begin.elapsed() < Duration::from_secs(5)),
        }
    };
    assert_eq!(reason, Reason::ConnectionRefused);
}

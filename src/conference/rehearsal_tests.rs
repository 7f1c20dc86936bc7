use std::sync::Arc;
use std::time::Duration;

use recorder_core::conference::LayerWish;
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use tokio::net::UnixListener;

use super::*;
use crate::ingest::capture::ArrivalIsCapture;
use crate::media::{Codec, MediaSource, lanes};
use crate::rehearsal::actors::Meeting;
use crate::rehearsal::card;
use crate::rehearsal::loops::{Layer, LayerLoop, PersonLoops};
use crate::rehearsal::script;
use crate::rehearsal::stage::Stage;

/// Loops that cost nothing to make: only the headers are VP8, then the layer's height and the picture's number.
fn loops(card: usize) -> PersonLoops {
    let picture = |key: bool, layer: Layer, n: u32| -> Arc<[u8]> {
        let (width, height) = layer.size_px();
        let mut data = if key { vec![0, 0, 0, 0x9d, 1, 0x2a] } else { vec![1, 0, 0] };
        if key {
            data.extend((width as u16).to_le_bytes());
            data.extend((height as u16).to_le_bytes());
        }
        data.extend((height as u16).to_le_bytes());
        data.extend((n as u16).to_le_bytes());
        data.into()
    };
    let chain = |layer, twin: bool| (0..card::LOOP_FRAMES).map(|n| picture(twin || n % card::FPS == 0, layer, n)).collect();
    let layers = [Layer::L180, Layer::L360];
    let layers = layers.map(|layer| LayerLoop { layer, main: chain(layer, false), twin: chain(layer, true) });
    let sound = (0..500_u16).map(|n| [[0xf8, 0].as_slice(), &n.to_le_bytes()].concat().into()).collect();
    PersonLoops { person: &card::PEOPLE[card], layers: layers.into(), sound }
}

struct World {
    handle: ConferenceHandle,
    media: MediaSource,
    actors: tokio::task::JoinHandle<Result<(), crate::rehearsal::actors::ActorError>>,
    _folder: tempfile::TempDir,
}

fn world(duration: Option<Duration>) -> World {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("actors");
    let listener = UnixListener::bind(&socket).unwrap();
    let stage = Stage::new([0, 1, 2, 3, script::SCREEN_CARD].map(loops).into(), Arc::from([0xf8, 0xff]));
    let actors = tokio::spawn(async move { Meeting::new(stage, duration, nix::unistd::getppid()).play(&listener).await });
    let (sink, media) = lanes();
    let settings = RehearsalSettings { socket, clock: SessionClock::start() };
    World { handle: enter(settings, Box::new(ArrivalIsCapture), sink), media, actors, _folder: folder }
}

impl World {
    async fn event(&mut self) -> ConferenceEvent {
        tokio::time::timeout(Duration::from_secs(10), self.handle.events.recv()).await.unwrap().unwrap()
    }

    /// Frames of a Track until one of them satisfies.
    async fn frames_until(&mut self, track: &TrackId, mut enough: impl FnMut(&crate::media::MediaFrame) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let lane = if track.kind.is_video() { &self.media.video } else { &self.media.sound };
            match lane.try_recv() {
                Ok(frame) if frame.track == *track && enough(&frame) => return,
                Ok(_) => {}
                Err(_) => tokio::task::yield_now().await,
            }
        }
        panic!("not enough of {track:?}");
    }
}

fn ada(kind: TrackKind) -> TrackId {
    TrackId::new(ParticipantId::new("ada"), kind)
}

fn wanted(track: TrackId, size_px: Option<(u32, u32)>) -> Subscription {
    Subscription { track, layer: size_px.map(|(width_px, height_px)| LayerWish { width_px, height_px }) }
}

fn layer_height(data: &[u8]) -> u16 {
    u16::from_le_bytes([data[data.len() - 4], data[data.len() - 3]])
}

fn number(data: &[u8]) -> u16 {
    u16::from_le_bytes([data[data.len() - 2], data[data.len() - 1]])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_pictures_and_sound_arrive_by_the_network() {
    let mut world = world(None);
    assert_eq!(world.event().await, ConferenceEvent::Entered { title: Some(Pii::new("Rehearsal")) });
    assert_eq!(world.event().await, ConferenceEvent::Joined { participant: ParticipantId::new("ada"), name: Pii::new("Ada") });
    for kind in [TrackKind::Camera, TrackKind::Microphone] {
        assert_eq!(world.event().await, ConferenceEvent::TrackUp { track: ada(kind), muted: false });
    }
    assert_eq!(world.event().await, ConferenceEvent::Speaking { participants: vec![ParticipantId::new("ada")] });
    assert_eq!(world.event().await, ConferenceEvent::Listed);

    let (camera, sound) = (ada(TrackKind::Camera), ada(TrackKind::Microphone));
    let wish = |size| ConferenceCommand::Subscribe(vec![wanted(camera.clone(), Some(size)), wanted(sound.clone(), None)]);
    world.handle.commands.send(wish((320, 180))).await.unwrap();
    let mut seen: Vec<(u16, u64, bool)> = Vec::new();
    let mut stream = None;
    world
        .frames_until(&camera, |frame| {
            assert_eq!((frame.codec, layer_height(&frame.data)), (Codec::Vp8, 180));
            stream = Some(frame.stream);
            seen.push((number(&frame.data), frame.rtp_time, frame.keyframe));
            seen.len() > 10
        })
        .await;
    assert!(seen[0].2, "begins with a keyframe");
    assert!(seen.windows(2).all(|two| two[1].0 == two[0].0 + 1 && two[1].1 == two[0].1 + 3_000), "{seen:?}");
    world.frames_until(&sound, |frame| frame.codec == Codec::Opus).await;

    // A keyframe out of turn, when asked for.
    world.handle.commands.send(ConferenceCommand::RequestKeyframe(camera.clone())).await.unwrap();
    world.frames_until(&camera, |frame| frame.keyframe && !number(&frame.data).is_multiple_of(30)).await;

    // The layer follows the tile, on the same stream.
    world.handle.commands.send(wish((640, 360))).await.unwrap();
    world.frames_until(&camera, |frame| frame.keyframe && layer_height(&frame.data) == 360 && Some(frame.stream) == stream).await;

    world.handle.commands.send(ConferenceCommand::Leave).await.unwrap();
    while world.event().await != (ConferenceEvent::Ended { reason: EndReason::Left }) {}
    world.actors.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_meeting_ends_by_itself_when_its_duration_is_over() {
    let mut world = world(Some(Duration::from_millis(700)));
    let mut joined = 0;
    loop {
        match world.event().await {
            ConferenceEvent::Joined { .. } => joined += 1,
            ConferenceEvent::Ended { reason } => {
                assert_eq!(reason, EndReason::RoomClosed);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(joined, 2, "the second person joins after half a second");
    world.actors.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_that_die_end_the_session_with_a_fault() {
    let mut world = world(None);
    world.event().await;
    world.actors.abort();
    loop {
        if let ConferenceEvent::Ended { reason } = world.event().await {
            assert!(matches!(reason, EndReason::Refused(fault) if fault.blame == Blame::Us));
            break;
        }
    }
}

#[tokio::test]
async fn who_says_goodbye_and_does_not_listen_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("actors");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut receiver = tokio::net::UnixStream::connect(&socket).await.unwrap();
    say(&mut receiver, &ToActors::Hello).await.unwrap();
    say(&mut receiver, &ToActors::Leave).await.unwrap();
    // Gone before the actors have said a word: what they write comes to nobody.
    drop(receiver);
    let stage = Stage::new(vec![loops(0)], Arc::from([0xf8, 0xff]));
    let playing = Meeting::new(stage, None, nix::unistd::getppid()).play(&listener);
    tokio::time::timeout(Duration::from_secs(10), playing).await.expect("nobody is waited for").unwrap();
}

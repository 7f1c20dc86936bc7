//! Enters a LiveKit room, subscribes everything, and prints what arrives each second:
//! `LIVEKIT_KEY=… LIVEKIT_SECRET=… room_listen ws://127.0.0.1:7880 ROOM [SECONDS] [tcp]`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use recorder_core::conference::{ConferenceCommand, ConferenceEvent, LayerWish, Subscription};
use recorder_core::ids::TrackId;
use recorder_core::secret::Secret;
use roomcast::clock::SessionClock;
use roomcast::conference::livekit_room::{LiveKitSettings, enter};
use roomcast::ingest::Transports;
use roomcast::ingest::capture::ArrivalIsCapture;
use roomcast::livekit::{token, token_source::TokenSource};
use roomcast::media::lanes;

#[derive(Default)]
struct Seen {
    frames: u64,
    bytes: u64,
    keyframes: u64,
    holes: u64,
    stream: u32,
    first_ms: u128,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("which server?")?;
    let room = arguments.next().ok_or("which room?")?;
    let seconds: u64 = arguments.next().map_or(Ok(20), |s| s.parse())?;
    let secret = Secret::new(std::env::var("LIVEKIT_SECRET")?);
    let token = token::mint(&std::env::var("LIVEKIT_KEY")?, &secret, &room, "listener", Duration::from_secs(600))?;

    let (sink, source) = lanes();
    let mut settings =
        LiveKitSettings::new(url, token, roomcast::trust::Trust::load(None)?, SessionClock::start(), Box::new(ArrivalIsCapture));
    if arguments.next().as_deref() == Some("tcp") {
        settings.ingest.transports = Transports::TcpOnly;
    }
    let started = Instant::now();
    let mut conference = enter(settings, sink, TokenSource::none());
    let mut wish: BTreeMap<TrackId, Subscription> = BTreeMap::new();
    let mut seen: BTreeMap<TrackId, Seen> = BTreeMap::new();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut ticks = 0;
    let mut out = std::io::stdout();
    loop {
        tokio::select! {
            event = conference.events.recv() => {
                let Some(event) = event else { break };
                writeln!(out, "{:>6} ms {event:?}", started.elapsed().as_millis())?;
                match event {
                    ConferenceEvent::TrackUp { track, .. } => {
                        let layer = track.kind.is_video().then_some(LayerWish { width_px: 640, height_px: 360 });
                        wish.insert(track.clone(), Subscription { track, layer });
                    }
                    ConferenceEvent::TrackDown { track } => _ = wish.remove(&track),
                    ConferenceEvent::Ended { .. } => break,
                    _ => continue,
                }
                conference.commands.send(ConferenceCommand::Subscribe(wish.values().cloned().collect())).await?;
            }
            _ = tick.tick() => {
                for frame in source.video.try_iter().chain(source.sound.try_iter()) {
                    let s = seen.entry(frame.track).or_default();
                    if s.frames == 0 {
                        s.first_ms = started.elapsed().as_millis();
                    }
                    s.frames += 1;
                    s.bytes += frame.data.len() as u64;
                    s.keyframes += u64::from(frame.keyframe);
                    s.holes += u64::from(!frame.contiguous);
                    s.stream = frame.stream;
                }
                ticks += 1;
                if ticks % 20 == 0 {
                    for (track, s) in &seen {
                        writeln!(
                            out,
                            "  {}/{:?}: {} frames, {} kB, {} keyframes, {} holes, stream {}, first after {} ms",
                            track.participant, track.kind, s.frames, s.bytes / 1000, s.keyframes, s.holes, s.stream, s.first_ms
                        )?;
                    }
                }
                if ticks == seconds * 10 {
                    conference.commands.send(ConferenceCommand::Leave).await?;
                }
            }
        }
    }
    Ok(())
}

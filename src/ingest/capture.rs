//! Where a frame's capture time comes from.
//!
//! In: RTP times, arrivals and sender reports. Out: capture times on the session clock. Runs on the reception thread, once a frame.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use recorder_core::ids::TrackId;
use recorder_core::time::SessionTime;

/// The model of the senders' clocks, as reception needs it.
pub trait CaptureTimes: Send {
    /// A frame arrived; when was it captured? `rtp_time` counts in `clock_hz`, extended to 64 bits, continuous within `stream`.
    fn arrived(&mut self, track: &TrackId, stream: u32, clock_hz: u32, rtp_time: u64, arrival: SessionTime) -> SessionTime;

    /// Where the RTP time of a frame lies that a media server made up. Nobody captured it, so nothing is learned from its arrival.
    /// `None` when nothing is known of the stream.
    fn made_up(&mut self, track: &TrackId, stream: u32, rtp_time: u64, arrival: SessionTime) -> Option<SessionTime>;

    /// A sender report (RFC 3550 §6.4.1) arrived: at `ntp_ns` of the sender's own clock (since 1970) its RTP time was `rtp_time`, extended
    /// like that of the frames.
    fn sender_report(&mut self, track: &TrackId, stream: u32, clock_hz: u32, ntp_ns: i64, rtp_time: u64, arrival: SessionTime);

    /// The Track is gone for good.
    fn forget(&mut self, track: &TrackId);
}

/// Takes the arrival for the capture: right up to the network's jitter. For tests and tools that need no lip sync.
#[derive(Default, Debug)]
pub struct ArrivalIsCapture;

impl CaptureTimes for ArrivalIsCapture {
    fn arrived(&mut self, _: &TrackId, _: u32, _: u32, _: u64, arrival: SessionTime) -> SessionTime {
        arrival
    }

    fn made_up(&mut self, _: &TrackId, _: u32, _: u64, arrival: SessionTime) -> Option<SessionTime> {
        Some(arrival)
    }

    fn sender_report(&mut self, _: &TrackId, _: u32, _: u32, _: i64, _: u64, _: SessionTime) {}

    fn forget(&mut self, _: &TrackId) {}
}

impl CaptureTimes for recorder_core::clock_model::ClockModel {
    fn arrived(&mut self, track: &TrackId, stream: u32, clock_hz: u32, rtp_time: u64, arrival: SessionTime) -> SessionTime {
        self.arrived(track, stream, clock_hz, rtp_time, arrival)
    }

    fn made_up(&mut self, track: &TrackId, stream: u32, rtp_time: u64, _: SessionTime) -> Option<SessionTime> {
        self.place(track, stream, rtp_time)
    }

    fn sender_report(&mut self, track: &TrackId, stream: u32, clock_hz: u32, ntp_ns: i64, rtp_time: u64, arrival: SessionTime) {
        self.sender_report(track, stream, clock_hz, ntp_ns, rtp_time, arrival);
    }

    fn forget(&mut self, track: &TrackId) {
        self.forget(track);
    }
}

/// One model for receptions that follow each other: what is known of a sender's clock outlives the connection. The lock guards the model alone, and is
/// held for one look at it.
#[derive(Clone)]
pub struct SharedCapture(Arc<Mutex<Box<dyn CaptureTimes>>>);

impl SharedCapture {
    /// Shares `model`.
    pub fn new(model: Box<dyn CaptureTimes>) -> Self {
        Self(Arc::new(Mutex::new(model)))
    }

    fn model(&self) -> MutexGuard<'_, Box<dyn CaptureTimes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CaptureTimes for SharedCapture {
    fn arrived(&mut self, track: &TrackId, stream: u32, clock_hz: u32, rtp_time: u64, arrival: SessionTime) -> SessionTime {
        self.model().arrived(track, stream, clock_hz, rtp_time, arrival)
    }

    fn made_up(&mut self, track: &TrackId, stream: u32, rtp_time: u64, arrival: SessionTime) -> Option<SessionTime> {
        self.model().made_up(track, stream, rtp_time, arrival)
    }

    fn sender_report(&mut self, track: &TrackId, stream: u32, clock_hz: u32, ntp_ns: i64, rtp_time: u64, arrival: SessionTime) {
        self.model().sender_report(track, stream, clock_hz, ntp_ns, rtp_time, arrival);
    }

    fn forget(&mut self, track: &TrackId) {
        self.model().forget(track);
    }
}

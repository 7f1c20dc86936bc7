//! The keys of OpenTalk's recorder, versions 0.1 to 0.18, and what becomes of each.

/// What becomes of a key.
pub(super) enum Fate {
    /// Our field of the same meaning, a text.
    Text(&'static str),
    /// Our field that names a file with the secret, and that file.
    Secret(&'static str, &'static str),
    /// Nothing, for this reason.
    Remark(&'static str),
    /// It needs a closer look.
    Looked(Look),
}

/// Keys whose meaning is not simply that of a field of ours.
#[derive(Clone, Copy)]
pub(super) enum Look {
    Domain,
    Insecure,
    Broker,
    LiveKit,
    MonitoringAddress,
    MonitoringPort,
    Clock,
    Sinks,
    SinkKind,
    SinkPlace,
    Stream,
}

const BY_HTTP: &str = "Orders by HTTP with API keys, of controllers from 0.34 on, are not taken yet; for controllers 0.20 to 0.33 fill in [keycloak] and [rabbitmq].";
const SHARED: &str = "not needed: services share the Orders of one queue among themselves.";
const ONE_ENCODING: &str =
    "not needed: the programme is encoded once for everybody who gets it; see [programme] and [renditions].";
pub(super) const NO_WINDOW: &str = "not needed: there is no window to look into; a live destination of your own shows the same.";
const HARDWARE: &str = "not taken over: pictures are encoded by the processor, about half a core for 720p; with programme.encoder = \"auto\" hardware does it where it can.";
const PARTS: &str = "not needed: how long the parts of an upload are follows from the length of the recording.";
const LOAD: &str = "not taken over: serve.slots says how many Sessions run at once, and [admission] what the machine must have left for another one; admission.cpu_percent counts what that one will use, too.";

/// Every key of every version.
pub(super) const KEYS: [(&str, Fate); 34] = [
    ("auth.issuer", Fate::Text("keycloak.issuer")),
    ("auth.client_id", Fate::Text("keycloak.client_id")),
    ("auth.client_secret", Fate::Secret("keycloak.client_secret_file", "keycloak")),
    ("controller.url", Fate::Text("controller.url")),
    ("controller.domain", Fate::Looked(Look::Domain)),
    ("controller.insecure", Fate::Looked(Look::Insecure)),
    ("controller.api_key", Fate::Remark(BY_HTTP)),
    ("controller.upload_chunk_size", Fate::Remark(PARTS)),
    ("rabbitmq.uri", Fate::Looked(Look::Broker)),
    ("rabbitmq.queue", Fate::Text("rabbitmq.queue")),
    ("livekit.url", Fate::Looked(Look::LiveKit)),
    ("livekit.api_key", Fate::Text("livekit.api_key")),
    ("livekit.api_secret", Fate::Secret("livekit.api_secret_file", "livekit")),
    ("http.addr", Fate::Remark(BY_HTTP)),
    ("http.host", Fate::Remark(BY_HTTP)),
    ("http.port", Fate::Remark(BY_HTTP)),
    ("http.api_keys", Fate::Remark(BY_HTTP)),
    ("monitoring.addr", Fate::Looked(Look::MonitoringAddress)),
    ("monitoring.port", Fate::Looked(Look::MonitoringPort)),
    ("orchestrator.url", Fate::Remark(SHARED)),
    ("orchestrator.api_key", Fate::Remark(SHARED)),
    ("recorder.clock_format", Fate::Looked(Look::Clock)),
    ("recorder.display", Fate::Remark(NO_WINDOW)),
    ("recorder.max_load", Fate::Remark(LOAD)),
    ("recorder.hardware_acceleration.manufacturer", Fate::Remark(HARDWARE)),
    ("recorder.hardware_acceleration.device", Fate::Remark(HARDWARE)),
    ("recorder.sinks", Fate::Looked(Look::Sinks)),
    ("recorder.sink", Fate::Looked(Look::SinkKind)),
    ("recorder.rtmp_uri", Fate::Looked(Look::Stream)),
    ("recorder.rtmp_audio_bitrate", Fate::Remark(ONE_ENCODING)),
    ("recorder.rtmp_audio_rate", Fate::Remark(ONE_ENCODING)),
    ("recorder.rtmp_video_bitrate", Fate::Remark(ONE_ENCODING)),
    ("recorder.rtmp_speed_preset", Fate::Remark(ONE_ENCODING)),
    ("recorder.rtmp_video_speed_preset", Fate::Remark(ONE_ENCODING)),
];

/// Keys of each of `recorder.sinks`.
pub(super) const SINK_KEYS: [(&str, Fate); 11] = [
    ("type", Fate::Looked(Look::SinkKind)),
    ("location", Fate::Looked(Look::SinkPlace)),
    ("rtmp_uri", Fate::Looked(Look::Stream)),
    ("audio_bitrate", Fate::Remark(ONE_ENCODING)),
    ("audio_rate", Fate::Remark(ONE_ENCODING)),
    ("video_bitrate", Fate::Remark(ONE_ENCODING)),
    ("video_speed_preset", Fate::Remark(ONE_ENCODING)),
    ("rtmp_audio_bitrate", Fate::Remark(ONE_ENCODING)),
    ("rtmp_audio_rate", Fate::Remark(ONE_ENCODING)),
    ("rtmp_video_bitrate", Fate::Remark(ONE_ENCODING)),
    ("rtmp_video_speed_preset", Fate::Remark(ONE_ENCODING)),
];

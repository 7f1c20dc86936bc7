"use strict";
// Shows the programme by WHEP, and once a second how everything stands. Both begin again by themselves when they are cut.

const TEXTS = {
  en: {
    title: "programme monitor", people: "People", tiles: "Tiles", fps: "Pictures a second", repeated: "Pictures repeated", lag: "Encoder lag",
    viewers: "Watching here", targets: "Targets", listen: "Sound on", mute: "Sound off", connecting: "Connecting …",
    waiting_picture: "The picture comes when the programme begins.", gone: "The monitor is not there. Trying again …",
    full: "Too many people watch already. Trying again …", refused: "This browser cannot play what the monitor sends.",
    token: "Token", enter: "Enter", wrong_token: "The monitor needs its token.",
    recording_name: "Recording", waiting: "waiting", recording: "recording", interrupted: "interrupted", connecting_target: "connecting", live: "live",
    behind: (s) => `live, behind by ${s} s`, retrying: (n, why) => `trying again (attempt ${n}): ${why}`,
    refused_target: (n, why) => `refused (attempt ${n}): ${why}`, ended: "ended", uploading: "uploading",
    upload_retrying: "uploading, trying again", upload_refused: "the storage refuses it", stored: "stored", lost: "cannot be stored",
  },
  de: {
    title: "Programm-Monitor", people: "Personen", tiles: "Kacheln", fps: "Bilder pro Sekunde", repeated: "Bilder wiederholt", lag: "Encoder-Rückstand",
    viewers: "Sehen hier zu", targets: "Ziele", listen: "Ton an", mute: "Ton aus", connecting: "Verbinde …",
    waiting_picture: "Das Bild kommt, sobald das Programm beginnt.", gone: "Der Monitor ist nicht da. Neuer Versuch …",
    full: "Es sehen schon zu viele zu. Neuer Versuch …", refused: "Dieser Browser kann nicht abspielen, was der Monitor sendet.",
    token: "Zugangswort", enter: "Öffnen", wrong_token: "Der Monitor braucht sein Zugangswort.",
    recording_name: "Aufzeichnung", waiting: "wartet", recording: "zeichnet auf", interrupted: "unterbrochen", connecting_target: "verbindet", live: "live",
    behind: (s) => `live, ${s} s verspätet`, retrying: (n, why) => `neuer Versuch (Nr. ${n}): ${why}`,
    refused_target: (n, why) => `abgelehnt (Versuch Nr. ${n}): ${why}`, ended: "beendet", uploading: "wird hochgeladen",
    upload_retrying: "wird hochgeladen, neuer Versuch", upload_refused: "der Speicher lehnt es ab", stored: "gespeichert", lost: "nicht zu speichern",
  },
};

const language = document.documentElement.lang;
const text = TEXTS[language] ?? TEXTS.en;
const byId = (id) => document.getElementById(id);
const video = byId("programme");
const stream = new MediaStream();
const AGAIN_MS = 1000;
/** Who has not both streams after this time tries again. */
const CONNECT_WITHIN_MS = 10_000;
let peer = null;
let token = sessionStorage.getItem("token") ?? "";

document.title = `Roomcast ${text.title}`;
for (const element of document.querySelectorAll("[data-text]")) element.textContent = text[element.dataset.text];

function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  return fetch(path, { ...options, headers, cache: "no-store" });
}

function notice(words) {
  byId("notice").textContent = words;
}

/** Asks for the token until it is right. */
function needsToken() {
  byId("door").hidden = false;
  notice(text.wrong_token);
}

byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  sessionStorage.setItem("token", token);
  byId("door").hidden = true;
  watch();
});

/** Whether one of the two streams comes and the other does not: seldom, a connection begins without one of them, and another connection has both. */
async function isHalf(connection) {
  const packets = { audio: 0, video: 0 };
  for (const report of (await connection.getStats()).values()) {
    if (report.type === "inbound-rtp") packets[report.kind] += report.packetsReceived;
  }
  return (packets.audio > 0) !== (packets.video > 0);
}

/** Begins to watch. A peer that is cut is replaced by a new one. */
async function watch() {
  peer?.close();
  const mine = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  peer = mine;
  let place = null;
  const again = (why) => {
    if (peer !== mine) return;
    peer = null;
    mine.leave();
    mine.close();
    notice(why);
    setTimeout(watch, AGAIN_MS);
  };
  mine.ontrack = ({ track, receiver }) => {
    // As soon as possible: what repairs loss here is the viewer's own wish for a keyframe.
    receiver.jitterBufferTarget = 0;
    for (const old of stream.getTracks()) if (old.kind === track.kind) stream.removeTrack(old);
    stream.addTrack(track);
    if (video.srcObject !== stream) video.srcObject = stream;
  };
  mine.onconnectionstatechange = () => {
    if (mine.connectionState === "connected") notice(video.videoWidth ? "" : text.waiting_picture);
    if (mine.connectionState === "failed" || mine.connectionState === "disconnected") again(text.gone);
  };
  mine.leave = () => {
    if (place) ask(place, { method: "DELETE", keepalive: true }).catch(() => {});
  };
  notice(text.connecting);
  try {
    mine.addTransceiver("video", { direction: "recvonly" });
    mine.addTransceiver("audio", { direction: "recvonly" });
    await mine.setLocalDescription();
    const answer = await ask("/whep", { method: "POST", headers: { "Content-Type": "application/sdp" }, body: mine.localDescription.sdp });
    if (answer.status === 401) return needsToken();
    if (answer.status === 422) return notice(text.refused);
    if (answer.status !== 201) return again(answer.status === 503 ? text.full : text.gone);
    place = answer.headers.get("Location");
    await mine.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    setTimeout(async () => {
      if (peer === mine && (mine.connectionState !== "connected" || (await isHalf(mine)))) again(text.gone);
    }, CONNECT_WITHIN_MS);
  } catch {
    again(text.gone);
  }
}

video.addEventListener("resize", () => {
  notice("");
  byId("screen").style.setProperty("--shape", video.videoWidth / video.videoHeight);
});
addEventListener("pagehide", () => peer?.leave());
addEventListener("pageshow", (event) => event.persisted && watch());

const sound = byId("sound");
function showSound() {
  sound.textContent = video.muted ? text.listen : text.mute;
  sound.setAttribute("aria-pressed", String(!video.muted));
}
sound.addEventListener("click", () => {
  video.muted = !video.muted;
  showSound();
});
showSound();

function clock(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function size(bytes) {
  const [value, unit] = bytes < 1e6 ? [bytes / 1e3, "kB"] : bytes < 1e9 ? [bytes / 1e6, "MB"] : [bytes / 1e9, "GB"];
  return `${value.toLocaleString(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 })} ${unit}`;
}

/** Words and colour of a Target's state. */
function wordsOf(state) {
  switch (state.is) {
    case "recording": return [`${text.recording}, ${clock(state.seconds)}`, "good"];
    case "interrupted": return [`${text.interrupted}, ${clock(state.seconds)}`, "busy"];
    case "connecting": return [text.connecting_target, "busy"];
    case "live": return [text.live, "good"];
    case "behind": return [text.behind(state.by_s), "busy"];
    case "retrying": return [text.retrying(state.attempt, state.reason), "busy"];
    case "refused": return [text.refused_target(state.attempt, state.reason), "bad"];
    case "uploading": return [text.uploading, "good"];
    case "upload_retrying": return [text.upload_retrying, "busy"];
    case "stored": return [text.stored, "good"];
    case "upload_refused": case "lost": return [text[state.is], "bad"];
    default: return [text[state.is] ?? state.is, "idle"];
  }
}

function cell(words, ...classes) {
  const span = document.createElement("span");
  span.textContent = words;
  span.classList.add(...classes);
  return span;
}

function show(state) {
  byId("clock").textContent = clock(state.elapsed_s);
  byId("people").textContent = state.people;
  byId("tiles").textContent = state.tiles;
  byId("fps").textContent = state.fps.toLocaleString(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  byId("repeated").textContent = state.repeated;
  byId("repeated").classList.toggle("bad", state.repeated > 0);
  byId("lag").textContent = `${state.encoder_lag_ms} ms`;
  byId("lag").classList.toggle("bad", state.encoder_lag_ms >= 500);
  byId("viewers").textContent = state.viewers;
  byId("targets").replaceChildren(...state.targets.map((target) => {
    const line = document.createElement("li");
    const [words, colour] = wordsOf(target.state);
    // The recording of another Rendition has its name behind: "recording-upright".
    const name = target.kind === "recording" ? target.name.replace(/^recording-?/, `${text.recording_name} `) : target.name;
    line.append(cell(name, "name"), cell(words, "state", colour), cell(target.bytes ? size(target.bytes) : "", "size"));
    return line;
  }));
}

async function follow() {
  try {
    const answer = await ask("/state");
    if (answer.ok) show(await answer.json());
  } catch {
    // The picture says that the monitor is not there.
  }
  setTimeout(follow, AGAIN_MS);
}

watch();
follow();

// The page: sends the camera, shows the avatar.

import { CameraTrouble, follow, listCameras, openCamera, tick } from "./camera.js";
import { canH264, H264Encoder, ImageDecoder, JpegEncoder } from "./codecs.js";
import { Connection } from "./connection.js";
import { Panel } from "./panel.js";
import { packFrame } from "./protocol.js";
import { drawLandmarks, Painter } from "./stage.js";
import { Statistics } from "./statistics.js";
import { upload } from "./upload.js";

const $ = (id) => document.getElementById(id);
const LOST_DELAY = 700; // ms without the person before the page reports it
const STATUS_WORDS = { lost: "You are out of view; the avatar waits", calibrating: "Stand still for a moment", waiting: "Looking for you" };

const connection = new Connection("socket", (sessionStorage.page ??= crypto.getRandomValues(new Uint32Array(2)).join("-")));
const panel = new Panel();
const painter = new Painter($("picture"));
const decoder = new ImageDecoder(() => connection.request("keyframe"));
const statistics = new Statistics();

let encoder = new JpegEncoder();
let avatar = "";
let driver = "camera";
let running = false; // frames are being sent
let stream = null;
let stopFrames = () => {};
let number = 0, drawn = 0;
let seenAt = 0;
let recordingSince = 0;
let drivingUrl = "";

// Connection ------------------------------------------------------------------------------------------------

connection.addEventListener("open", () => link("open", "Connected"));
connection.addEventListener("lost", ({ detail: { pause, attempts } }) => {
  link("lost", attempts > 1 ? "No connection" : "Reconnecting…");
  $("saved").hidden = true; // the recording is on the server
  if (attempts < 3) return;
  const seconds = Math.max(1, Math.round(pause / 1000));
  card("The server does not respond", `Check that ram-avatar live is still running and that this device is on its network. Retrying in ${seconds} s.`, {
    spinner: true,
    button: ["Retry now", () => connection.connect()],
  });
});
connection.addEventListener("busy", ({ detail: { taken } }) => {
  stop();
  link("ended", "Not connected");
  card(taken ? "Another page took over" : "Another page drives this avatar", "Only one page can drive at a time. Driving from here stops the other one.", {
    button: ["Drive from here", () => connection.connect(true)],
  });
});
connection.addEventListener("event", ({ detail: event }) => EVENTS[event.type]?.(event));

const EVENTS = {
  loading: () => card("Loading the avatar", "This takes a few seconds.", { spinner: true }),
  welcome: welcomed,
  settings: ({ settings }) => panel.show(settings),
  driver: ({ driver: name, name: film }) => {
    driver = name;
    panel.showDriver(name, film);
    if (film) $("film-name").dataset.there = "yes";
    if (name === "film") start();
  },
  statistics: showServerStatistics,
  keyframe: () => encoder.restart(),
  trouble: ({ text }) => trouble(text),
  refused: ({ text }) => trouble(text),
  failed: ({ text }) => {
    stop();
    link("ended", "Stopped");
    card("The avatar could not be loaded", text, {});
  },
  recording: () => showRecording(true),
  recorded: ({ text, recording, seconds }) => {
    showRecording(false);
    if (text) trouble(text);
    else offerRecording(recording, `Recording of ${Math.round(seconds)} s ready. `).click();
  },
};

function welcomed(event) {
  const back = running && event.avatar === avatar; // after a network failure or a restart of the server
  if (back && event.driver !== driver) connection.request("driver", { kind: driver });
  if (back) connection.request("settings", { changes: panel.settings });
  else driver = event.driver;
  avatar = event.avatar;
  panel.fill({ ...event, driver, settings: back ? panel.settings : event.settings });
  document.title = `${event.avatar} live`;
  $("picture").setAttribute("aria-label", `The avatar ${event.avatar}`);
  showRecording(event.recording);
  if (event.recordings.length) offerRecording(event.recordings.at(-1), "Your last recording is still available. ");
  $("virtual").hidden = !event.virtual_camera;
  $("virtual").textContent = `Other programs can use the camera “${event.virtual_camera}”.`;
  if ($("coding").value === "h264") connection.request("coding", { h264: true });
  if (running) {
    state("running");
    return;
  }
  sendFrame(null, performance.now()); // one image, shown behind the card
  ready();
}

function ready() {
  state("idle");
  $("start").disabled = false;
  const sliders = ["sliders", () => (chooseDriver("sliders"), start())];
  if (driver === "camera") {
    card("Step in front of the camera", "Your video goes only to the computer that runs RAM-Avatar. Nothing is recorded unless you press Record.", {
      button: ["Start camera", start],
      other: ["Use sliders instead", sliders[1]],
    });
  } else {
    const text = { source: "It follows the motion given by --source.", sliders: "Move the face and fingers with the sliders.", film: "It follows the person in your video." };
    card("The avatar is ready", text[driver], { button: ["Start", start] });
  }
}

// Running ---------------------------------------------------------------------------------------------------

async function start() {
  hideTrouble();
  if (driver === "film" && !$("film-name").dataset.there) {
    $("film").click();
    return;
  }
  stopFrames();
  if (driver === "camera") {
    try {
      await startCamera();
    } catch (error) {
      if (!(error instanceof CameraTrouble)) throw error;
      stop();
      trouble(error.message);
      return;
    }
  } else {
    stopCamera();
    stopFrames = tick(() => sendFrame(null, performance.now()));
  }
  running = true;
  state("running");
}

async function startCamera() {
  stopCamera();
  stream = await openCamera($("cameras").value);
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", () => {
    stop();
    trouble("The camera was disconnected. Reconnect it, then press Start.");
    refreshCameras();
  });
  track.addEventListener("mute", () => trouble("The camera sends no video. Check that its shutter is open and that no other program uses it."));
  track.addEventListener("unmute", hideTrouble);
  $("video").srcObject = stream;
  await $("video").play().catch(() => {});
  $("preview").hidden = false;
  $("driving").hidden = true;
  $("video").hidden = false;
  refreshCameras(track.getSettings().deviceId);
  stopFrames = follow(stream, $("video"), sendFrame);
}

function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  $("video").srcObject = null;
  $("preview").hidden = true;
}

function stop() {
  running = false;
  stopFrames();
  stopFrames = () => {};
  stopCamera();
  $("status").hidden = $("numbers").hidden = true;
  if (recordingSince) connection.request("record", { on: false });
  if (connection.open) ready();
}

async function sendFrame(picture, captured) {
  const closed = picture instanceof HTMLVideoElement ? null : picture;
  if (!connection.ready || (!running && picture)) {
    closed?.close();
    if (running && connection.open) statistics.drop();
    return;
  }
  const mine = (number = (number + 1) >>> 0);
  connection.reserve(mine);
  try {
    if (picture === null) {
      connection.sendFrame(packFrame(mine, captured));
    } else {
      const { coding, bytes } = await encoder.encode(picture);
      connection.sendFrame(packFrame(mine, captured, coding, bytes));
    }
  } catch {
    connection.release(mine); // the encoder was closed meanwhile
  } finally {
    closed?.close();
  }
}

connection.addEventListener("answer", async ({ detail: answer }) => {
  if (answer.dropped) statistics.drop();
  showStatus(answer.status);
  if (answer.coding === 0) return;
  const picture = await decoder.decode(answer).catch(() => null);
  if (!picture) return;
  if (answer.number > drawn || drawn - answer.number > 1e6) {
    drawn = answer.number;
    painter.draw(picture, answer.opacityBelow);
    $("picture").dataset.number = answer.number;
    if (running) showRunning(answer);
  }
  picture.close();
});

function showRunning(answer) {
  showDriving(answer);
  const shown = (now) => statistics.show(answer.captured, now);
  document.hidden ? shown(performance.now()) : requestAnimationFrame(shown);
}

function showDriving({ driving, points }) {
  if (driving) {
    URL.revokeObjectURL(drivingUrl);
    drivingUrl = URL.createObjectURL(new Blob([driving], { type: "image/jpeg" }));
    $("driving").src = drivingUrl;
    $("driving").hidden = false;
    $("video").hidden = true;
    $("preview").hidden = false;
  }
  if (!document.hidden && !$("preview").hidden) drawLandmarks($("overlay"), points);
}

// Display ---------------------------------------------------------------------------------------------------

function state(name) {
  document.body.dataset.state = name;
  const on = name === "running";
  $("card").hidden = on;
  $("start-label").textContent = on ? "Stop" : "Start";
  $("start-icon").setAttribute("href", on ? "#i-stop" : "#i-play");
  $("start").classList.toggle("primary", !on);
  $("start").disabled = !(on || name === "idle");
  $("calibrate").disabled = !(on && driver !== "sliders" && driver !== "source");
  $("record").disabled = !on;
}

function card(title, text, { spinner = false, button = null, other = null }) {
  if (!running) state(button?.[1] === start ? "idle" : "waiting");
  else $("card").hidden = false;
  $("card-title").textContent = title;
  $("card-text").textContent = text;
  $("card-spinner").hidden = !spinner;
  for (const [id, action] of [["card-button", button], ["card-other", other]]) {
    $(id).hidden = !action;
    if (action) [$(id).textContent, $(id).onclick] = action;
  }
}

function link(name, text) {
  document.body.dataset.link = name;
  $("link").textContent = text;
}

function trouble(text) {
  $("trouble-text").textContent = text;
  $("trouble").hidden = false;
}

function hideTrouble() {
  $("trouble").hidden = true;
}

function showStatus(status) {
  const now = performance.now();
  if (status === "seen" || status === "playing") seenAt = now;
  const words = status === "lost" && now - seenAt < LOST_DELAY ? null : STATUS_WORDS[status];
  const shown = words ?? null;
  if ($("status").textContent !== (shown ?? "")) $("status").textContent = shown ?? "";
  $("status").hidden = !shown || !running;
  $("status").classList.toggle("warn", status === "lost");
}

function showServerStatistics({ stages, latency }) {
  $("stages").replaceChildren(
    ...stages.filter((name) => latency[name]?.p95 > 0).map((name) => {
      const row = document.createElement("tr");
      row.innerHTML = "<th scope='row'></th><td></td><td></td>";
      row.children[0].textContent = name;
      row.children[1].textContent = latency[name].p50.toFixed(1);
      row.children[2].textContent = latency[name].p95.toFixed(1);
      return row;
    }),
  );
  const { fps, p50, p95, dropped } = statistics.summary();
  const ms = (value) => (value === undefined ? "–" : `${Math.round(value)} ms`);
  const texts = { fps: fps.toFixed(1), p50: ms(p50), p95: ms(p95), dropped: String(dropped) };
  for (const [name, text] of Object.entries(texts)) document.querySelector(`[data-statistic="${name}"]`).textContent = text;
  $("numbers").textContent = `${Math.round(fps)} fps · ${ms(p50)}`;
  $("numbers").hidden = !running || !fps;
}

function showRecording(on) {
  recordingSince = on ? recordingSince || performance.now() : 0;
  $("recording").hidden = !on;
  $("record").setAttribute("aria-pressed", on);
  $("record-label").textContent = on ? "Stop" : "Record";
}

// Fill both sides of the image with a blurred copy: a few pixels, enlarged.
setInterval(() => {
  if (running && !document.hidden && panel.settings?.background !== "transparent") {
    $("ambient").getContext("2d").drawImage($("picture"), 0, 0, 8, 8);
  }
}, 400);

setInterval(() => {
  if (!recordingSince) return;
  const seconds = Math.floor((performance.now() - recordingSince) / 1000);
  $("recorded-for").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}, 500);

function offerRecording(recording, text) {
  const anchor = document.createElement("a");
  anchor.href = `recordings/${recording}.mp4`;
  anchor.download = "";
  anchor.textContent = "Save";
  $("saved").replaceChildren(text, anchor);
  $("saved").hidden = false;
  return anchor;
}

// Controls --------------------------------------------------------------------------------------------------

$("start").addEventListener("click", () => (running ? stop() : start()));
$("calibrate").addEventListener("click", () => connection.request("calibrate"));
$("mirror").addEventListener("click", () => connection.request("settings", { changes: { mirror: !panel.settings.mirror } }));
$("record").addEventListener("click", () => connection.request("record", { on: !recordingSince }));
$("trouble-close").addEventListener("click", hideTrouble);
$("avatar").addEventListener("change", ({ target }) => connection.request("avatar", { name: target.value }));
$("cameras").addEventListener("change", () => running && start());
panel.addEventListener("settings", ({ detail }) => connection.request("settings", { changes: detail }));
panel.addEventListener("driver", ({ detail }) => chooseDriver(detail));

function chooseDriver(name) {
  driver = name;
  panel.showDriver(name);
  if (name === "film" && !$("film-name").dataset.there) {
    $("film").click();
    return;
  }
  if (name !== "film") delete $("film-name").dataset.there; // the server deletes it
  connection.request("driver", { kind: name });
  running ? start() : ready();
}

async function refreshCameras(current = $("cameras").value) {
  panel.showCameras(await listCameras(), current);
}
navigator.mediaDevices?.addEventListener?.("devicechange", () => refreshCameras());

async function sendFile(kind, file, name, progress) {
  try {
    await upload(kind, file, progress);
    name.textContent = file.name;
    name.dataset.there = "yes";
  } catch (error) {
    trouble(error.message);
  }
}

$("film").addEventListener("change", ({ target }) => {
  if (target.files[0]) sendFile("film", target.files[0], $("film-name"), $("film-progress"));
  target.value = "";
});
$("backdrop").addEventListener("change", ({ target }) => {
  if (target.files[0]) sendFile("picture", target.files[0], $("backdrop-name"));
  target.value = "";
});

$("view-link").value = new URL("view", location.href).href;
$("copy-link").addEventListener("click", async () => {
  $("view-link").select();
  await navigator.clipboard?.writeText($("view-link").value).catch(() => {});
  $("copy-link").textContent = "Copied";
  setTimeout(() => ($("copy-link").textContent = "Copy"), 1500);
});

$("coding").addEventListener("change", ({ target }) => {
  encoder.close();
  encoder = target.value === "h264" ? new H264Encoder() : new JpegEncoder();
  connection.request("coding", { h264: target.value === "h264" });
});
canH264().then((can) => {
  $("coding").disabled = !can;
  $("coding-hint").hidden = can;
});

// After a tab was suspended, its camera may have ended.
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !running || driver !== "camera") return;
  if (stream?.getVideoTracks()[0]?.readyState === "ended") start();
});

addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
  if (ctrlKey || metaKey || altKey || target.closest("input, select, textarea")) return;
  const action = { m: "mirror", r: "record", c: "calibrate" }[key.toLowerCase()];
  if (action && !$(action).disabled) $(action).click();
});

card("Connecting…", "", { spinner: true });
connection.connect();

// The page: camera up, avatar down.

import { CameraTrouble, follow, listCameras, openCamera, tick } from "./camera.js";
import { canH264, H264Packer, JpegPacker, Unpacker } from "./codecs.js";
import { Connection } from "./connection.js";
import { Figures } from "./figures.js";
import { Panel } from "./panel.js";
import { packFrame } from "./protocol.js";
import { drawLandmarks, Painter } from "./stage.js";

const $ = (id) => document.getElementById(id);
const LOST_FOR = 700; // ms without the person, before the page says so
const STATUS_WORDS = { lost: "I do not see you; the avatar waits", calibrating: "Stand still for a moment", waiting: "Looking for you" };

const connection = new Connection("socket", (sessionStorage.page ??= crypto.getRandomValues(new Uint32Array(2)).join("-")));
const panel = new Panel();
const painter = new Painter($("picture"));
const unpacker = new Unpacker(() => connection.request("keyframe"));
const figures = new Figures();

let packer = new JpegPacker();
let avatar = "";
let driver = "camera";
let running = false; // frames go up
let stream = null;
let stopFrames = () => {};
let number = 0, drawn = 0;
let seenAt = 0;
let recordingSince = 0;
let drivingUrl = "";

// Coming and going ------------------------------------------------------------------------------------------

connection.addEventListener("open", () => link("open", "Connected"));
connection.addEventListener("lost", ({ detail: { pause, tries } }) => {
  link("lost", tries > 1 ? "No connection" : "Reconnecting");
  $("saved").hidden = true; // what is there to be saved is on the server
  if (tries < 3) return;
  const seconds = Math.max(1, Math.round(pause / 1000));
  card("The server does not answer", `Is ram-avatar live still running, and this device in its network? Trying again in ${seconds} s.`, {
    spinner: true,
    button: ["Try now", () => connection.connect()],
  });
});
connection.addEventListener("busy", ({ detail: { taken } }) => {
  stop();
  link("ended", "Not connected");
  card(taken ? "Another page took over" : "Another page drives this avatar", "Only one page at a time can. That one ends if you go on here.", {
    button: ["Drive from here", () => connection.connect(true)],
  });
});
connection.addEventListener("event", ({ detail: event }) => EVENTS[event.type]?.(event));

const EVENTS = {
  loading: () => card("Getting the avatar ready", "This takes some seconds.", { spinner: true }),
  welcome: welcomed,
  settings: ({ settings }) => panel.show(settings),
  driver: ({ driver: name, name: film }) => {
    driver = name;
    panel.showDriver(name, film);
    if (film) $("film-name").dataset.there = "yes";
    if (name === "film") start();
  },
  statistics: showServerStatistics,
  keyframe: () => packer.startOver(),
  trouble: ({ text }) => trouble(text),
  refused: ({ text }) => trouble(text),
  failed: ({ text }) => {
    stop();
    link("ended", "Stopped");
    card("The avatar cannot be shown", text, {});
  },
  recording: () => showRecording(true),
  recorded: ({ text, recording, seconds }) => {
    showRecording(false);
    if (text) trouble(text);
    else offerRecording(recording, `A recording of ${Math.round(seconds)} s is ready. `).click();
  },
};

function welcomed(event) {
  const back = running && event.avatar === avatar; // after a dropped network, or a server that was started again
  if (back && event.driver !== driver) connection.request("driver", { kind: driver });
  if (back) connection.request("settings", { changes: panel.settings });
  else driver = event.driver;
  avatar = event.avatar;
  panel.fill({ ...event, driver, settings: back ? panel.settings : event.settings });
  document.title = `${event.avatar}, live`;
  $("picture").setAttribute("aria-label", `The avatar ${event.avatar}`);
  showRecording(event.recording);
  if (event.recordings.length) offerRecording(event.recordings.at(-1), "Your last recording is still there. ");
  $("virtual").hidden = !event.virtual_camera;
  $("virtual").textContent = `Other programs find the avatar as the camera “${event.virtual_camera}”.`;
  if ($("coding").value === "h264") connection.request("coding", { h264: true });
  if (running) {
    state("running");
    return;
  }
  sendFrame(null, performance.now()); // one picture, to be behind the card
  ready();
}

function ready() {
  state("idle");
  $("start").disabled = false;
  const sliders = ["sliders", () => (chooseDriver("sliders"), start())];
  if (driver === "camera") {
    card("Step in front of the camera", "Your pictures go to the computer that runs RAM-Avatar and nowhere else. Nothing is recorded unless you ask.", {
      button: ["Start the camera", start],
      other: ["Use the sliders instead", sliders[1]],
    });
  } else {
    const text = { source: "It moves as the motion does that the server was started with.", sliders: "Move the face and the fingers by hand.", film: "It moves as the person in your video." };
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
    trouble("The camera is gone: unplugged, or taken back. Plug it in and press Start.");
    refreshCameras();
  });
  track.addEventListener("mute", () => trouble("The camera sends no pictures just now; is its cover closed, or is another program using it?"));
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
    if (running && connection.open) figures.drop();
    return;
  }
  const mine = (number = (number + 1) >>> 0);
  connection.reserve(mine);
  try {
    if (picture === null) {
      connection.sendFrame(packFrame(mine, captured));
    } else {
      const { coding, bytes } = await packer.pack(picture);
      connection.sendFrame(packFrame(mine, captured, coding, bytes));
    }
  } catch {
    connection.release(mine); // an encoder that was closed in between
  } finally {
    closed?.close();
  }
}

connection.addEventListener("answer", async ({ detail: answer }) => {
  if (answer.dropped) figures.drop();
  showStatus(answer.status);
  if (answer.coding === 0) return;
  const picture = await unpacker.unpack(answer).catch(() => null);
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
  const shown = (now) => figures.show(answer.captured, now);
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

// What the page shows ---------------------------------------------------------------------------------------

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
  const words = status === "lost" && now - seenAt < LOST_FOR ? null : STATUS_WORDS[status];
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
  const { fps, p50, p95, dropped } = figures.summary();
  const ms = (value) => (value === undefined ? "–" : `${Math.round(value)} ms`);
  const told = { fps: fps.toFixed(1), p50: ms(p50), p95: ms(p95), dropped: String(dropped) };
  for (const [name, text] of Object.entries(told)) document.querySelector(`[data-figure="${name}"]`).textContent = text;
  $("numbers").textContent = `${Math.round(fps)} fps · ${ms(p50)}`;
  $("numbers").hidden = !running || !fps;
}

function showRecording(on) {
  recordingSince = on ? recordingSince || performance.now() : 0;
  $("recording").hidden = !on;
  $("record").setAttribute("aria-pressed", on);
  $("record-label").textContent = on ? "End" : "Record";
}

// A few pixels of the picture, large and soft, on both sides of it.
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
  anchor.textContent = "Save it";
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
  if (name !== "film") delete $("film-name").dataset.there; // the server forgets it
  connection.request("driver", { kind: name });
  running ? start() : ready();
}

async function refreshCameras(current = $("cameras").value) {
  panel.showCameras(await listCameras(), current);
}
navigator.mediaDevices?.addEventListener?.("devicechange", () => refreshCameras());

function upload(kind, file, name, progress) {
  const request = new XMLHttpRequest();
  request.open("POST", `upload/${kind}`);
  request.setRequestHeader("X-Name", encodeURIComponent(file.name));
  if (progress) {
    progress.hidden = false;
    request.upload.onprogress = ({ loaded, total }) => (progress.value = loaded / total);
  }
  request.onloadend = () => {
    if (progress) progress.hidden = true;
    if (request.status === 200) {
      name.textContent = file.name;
      name.dataset.there = "yes";
      return;
    }
    let text = "The upload did not arrive; is the server still there?";
    try {
      text = JSON.parse(request.responseText).text;
    } catch {}
    trouble(text);
  };
  request.send(file);
}

$("film").addEventListener("change", ({ target }) => {
  if (target.files[0]) upload("film", target.files[0], $("film-name"), $("film-progress"));
  target.value = "";
});
$("backdrop").addEventListener("change", ({ target }) => {
  if (target.files[0]) upload("picture", target.files[0], $("backdrop-name"));
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
  packer.close();
  packer = target.value === "h264" ? new H264Packer() : new JpegPacker();
  connection.request("coding", { h264: target.value === "h264" });
});
canH264().then((can) => {
  $("coding").disabled = !can;
  $("coding-hint").hidden = can;
});

// A tab that slept: its camera may be gone, and frames that were under way are old.
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !running || driver !== "camera") return;
  if (stream?.getVideoTracks()[0]?.readyState === "ended") start();
});

addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
  if (ctrlKey || metaKey || altKey || target.closest("input, select, textarea")) return;
  const action = { m: "mirror", r: "record", c: "calibrate" }[key.toLowerCase()];
  if (action && !$(action).disabled) $(action).click();
});

card("Connecting", "", { spinner: true });
connection.connect();

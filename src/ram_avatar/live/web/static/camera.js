// Cameras: list, open, and deliver frame by frame, also while the tab is in the background.

const RATE = 30; // frames per second

export class CameraTrouble extends Error {}

const CAUSES = {
  NotAllowedError: "The camera is blocked. Allow it with the camera icon in the address bar, then press Start.",
  NotFoundError: "No camera found. Connect one and press Start, or drive the avatar with a video or the sliders.",
  NotReadableError: "Another program is using the camera. Close that program, then press Start.",
  AbortError: "The camera did not start. Reconnect it, then press Start.",
  OverconstrainedError: "This camera is not available. Choose another one, then press Start.",
};

export async function openCamera(id) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new CameraTrouble(
      "Browsers allow the camera only on secure pages. Open the page on the machine that runs RAM-Avatar, or use its HTTPS link.",
    );
  }
  // "none": a native resolution of the camera, not a crop of one.
  const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: RATE }, resizeMode: "none" };
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: id ? { ...wanted, deviceId: { exact: id } } : wanted,
    });
  } catch (error) {
    throw new CameraTrouble(CAUSES[error.name] ?? `The camera did not start (${error.name}: ${error.message}).`);
  }
}

export async function listCameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
}

// Calls `take(image, captured)` for every frame of a stream; returns a function that stops it. An image is a VideoFrame,
// which `take` must close, or the <video> itself.
export function follow(stream, video, take) {
  const [track] = stream.getVideoTracks();
  if ("MediaStreamTrackProcessor" in window) {
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 }).readable.getReader();
    (async () => {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        take(value, performance.now());
      }
    })().catch(() => {}); // the track ended; its `ended` event reports it
    return () => reader.cancel().catch(() => {});
  }
  let last = -1;
  return tick(() => {
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || video.currentTime === last) return;
    last = video.currentTime;
    take(video, performance.now());
  });
}

// Calls `step` at the rate of a camera; returns a function that stops it. Unlike timers of a page, those of a worker are
// not throttled in background tabs.
export function tick(step) {
  const worker = new Worker(new URL("ticker.js", import.meta.url));
  worker.onmessage = step;
  worker.postMessage(1000 / RATE);
  return () => worker.terminate();
}

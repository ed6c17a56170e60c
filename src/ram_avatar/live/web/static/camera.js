// Cameras: finding, opening, and giving their pictures one by one, also while the tab is in the background.

const RATE = 30; // pictures a second

export class CameraTrouble extends Error {}

const CAUSES = {
  NotAllowedError: "The camera is blocked. Allow it at the camera sign beside this page's address, then press Start.",
  NotFoundError: "No camera was found. Plug one in and press Start, or move the avatar by a video or the sliders.",
  NotReadableError: "Another program holds the camera. End the video call or the program that uses it, then press Start.",
  AbortError: "The camera did not start. Unplug it, plug it in again, then press Start.",
  OverconstrainedError: "This camera is gone. Choose another one, then press Start.",
};

export async function openCamera(id) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new CameraTrouble(
      "Browsers give the camera only to secure pages. Open this page on this machine itself, or start the server with --certificate.",
    );
  }
  // "none": what the camera itself has, never a part cut out of it.
  const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: RATE }, resizeMode: "none" };
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: id ? { ...wanted, deviceId: { exact: id } } : wanted,
    });
  } catch (error) {
    throw new CameraTrouble(CAUSES[error.name] ?? `The camera does not start (${error.name}: ${error.message}).`);
  }
}

export async function listCameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
}

// Calls `take(picture, captured)` for every picture of a stream until it is stopped. A picture is a VideoFrame, which
// `take` has to close, or the <video> itself.
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
    })().catch(() => {}); // the track ended, which its `onended` tells
    return () => reader.cancel().catch(() => {});
  }
  let last = -1;
  return tick(() => {
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || video.currentTime === last) return;
    last = video.currentTime;
    take(video, performance.now());
  });
}

// Calls `step` at the rate of a camera. Timers of a worker go on in a tab in the background, those of a page do not.
export function tick(step) {
  const worker = new Worker(new URL("ticker.js", import.meta.url));
  worker.onmessage = step;
  worker.postMessage(1000 / RATE);
  return () => worker.terminate();
}

// Image codecs, to and from the server: JPEG, and H.264 by WebCodecs.

import { CODING } from "./protocol.js";

const MAX_SIDE = 640, QUALITY = 0.8; // of uploaded frames; trackers use fewer pixels
const H264 = "avc1.42E01F"; // constrained baseline 3.1, which every decoder supports
const BITRATE = 1_200_000;
const KEY_INTERVAL = 90; // frames

export async function canH264() {
  if (!("VideoEncoder" in window && "VideoDecoder" in window)) return false;
  try {
    const up = await VideoEncoder.isConfigSupported(encoderConfig(640, 480));
    const down = await VideoDecoder.isConfigSupported({ codec: H264 });
    return Boolean(up.supported && down.supported);
  } catch {
    return false;
  }
}

function encoderConfig(width, height) {
  return {
    codec: H264, width, height, bitrate: BITRATE, framerate: 30, latencyMode: "realtime", avc: { format: "annexb" },
  };
}

function fitted(image) {
  const width = image.displayWidth ?? image.videoWidth, height = image.displayHeight ?? image.videoHeight;
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  return [Math.max(2, 2 * Math.round((width * scale) / 2)), Math.max(2, 2 * Math.round((height * scale) / 2))];
}

class Canvas {
  constructor() {
    this.canvas = new OffscreenCanvas(2, 2);
    this.context = this.canvas.getContext("2d", { alpha: false });
  }

  draw(image) {
    const [width, height] = fitted(image);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.context.drawImage(image, 0, 0, width, height);
  }
}

// encode(image) resolves to { coding, bytes }.
export class JpegEncoder {
  #canvas = new Canvas();

  async encode(image) {
    this.#canvas.draw(image);
    const blob = await this.#canvas.canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    return { coding: CODING.jpeg, bytes: await blob.arrayBuffer() };
  }

  restart() {}
  close() {}
}

export class H264Encoder {
  #canvas = new Canvas();
  #encoder = null;
  #size = "";
  #count = 0;
  #waiting = [];

  async encode(image) {
    this.#canvas.draw(image);
    const { width, height } = this.#canvas.canvas;
    if (this.#encoder?.state !== "configured" || this.#size !== `${width}x${height}`) this.#open(width, height);
    const frame = new VideoFrame(this.#canvas.canvas, { timestamp: Math.round(performance.now() * 1000) });
    const keyFrame = this.#count++ % KEY_INTERVAL === 0;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#encoder.encode(frame, { keyFrame });
      frame.close();
    });
  }

  #open(width, height) {
    this.close();
    this.#size = `${width}x${height}`;
    this.#count = 0;
    this.#encoder = new VideoEncoder({
      output: (chunk) => {
        const bytes = new ArrayBuffer(chunk.byteLength);
        chunk.copyTo(bytes);
        this.#waiting.shift()?.resolve({ coding: chunk.type === "key" ? CODING.h264Key : CODING.h264Delta, bytes });
      },
      error: (error) => this.#fail(error),
    });
    this.#encoder.configure(encoderConfig(width, height));
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#encoder = null;
  }

  restart() {
    this.#count = 0;
  }

  close() {
    if (this.#encoder && this.#encoder.state !== "closed") this.#encoder.close();
    this.#fail(new Error("closed"));
  }
}

// decode(answer) resolves to a drawable image that must be closed, or to null if it cannot be decoded.
export class ImageDecoder {
  #decoder = null;
  #waiting = [];

  constructor(requestKeyFrame) {
    this.requestKeyFrame = requestKeyFrame;
  }

  async decode({ coding, picture }) {
    if (coding === CODING.jpeg) return createImageBitmap(new Blob([picture], { type: "image/jpeg" }));
    if (coding === CODING.h264Key) this.#open();
    if (!this.#decoder || this.#decoder.state !== "configured") {
      this.requestKeyFrame();
      return null;
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#decoder.decode(
        new EncodedVideoChunk({
          type: coding === CODING.h264Key ? "key" : "delta", timestamp: performance.now() * 1000, data: picture,
        }),
      );
    });
  }

  #open() {
    if (this.#decoder?.state === "configured") return;
    this.#decoder = new VideoDecoder({
      output: (frame) => {
        const resolve = this.#waiting.shift();
        resolve ? resolve(frame) : frame.close();
      },
      error: () => {
        for (const resolve of this.#waiting.splice(0)) resolve(null);
        this.#decoder = null;
        this.requestKeyFrame();
      },
    });
    this.#decoder.configure({ codec: H264, optimizeForLatency: true });
  }
}

// The websocket to the server. It reconnects by itself, and paces frames to what the server can process.

import { unpackAnswer } from "./protocol.js";

const BUSY = 4409, TAKEN = 4410; // close codes
const MAX_IN_FLIGHT = 4; // frames
const TARGET_WAIT = 8; // ms that a frame may wait at the server, so that the server never waits
const WAIT_GAIN = 0.3; // share of the excess wait by which the interval grows
const SPEED_UP = 0.95, SLOW_DOWN = 1.1; // factors of the interval if a frame did not wait, or was dropped
const MAX_INTERVAL = 1000; // ms
const ANSWER_TIMEOUT = 4000; // ms until an unanswered frame is given up
const FIRST_PAUSE = 500, MAX_PAUSE = 10000; // ms between attempts to connect

export class Connection extends EventTarget {
  #socket = null;
  #inFlight = new Map();
  #lastSent = 0;
  #interval = Infinity; // minimum ms between frames
  #attempts = 0;
  #timer = 0;

  constructor(path, tab) {
    super();
    this.path = path;
    this.tab = tab;
    // Retry at once when the network is back or the tab becomes visible.
    addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.#retryNow());
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect(takeOver = false) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const url = new URL(this.path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ page: this.tab, ...(takeOver ? { take: "1" } : {}) }).toString();
    const socket = (this.#socket = new WebSocket(url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#inFlight.clear();
      this.#interval = Infinity; // one at a time, until the server's processing time is known
      this.#emit("open");
    };
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#closed(code, reason);
  }

  // Whether to send another frame now. Sent too soon, it would only wait at the server.
  get ready() {
    if (!this.open) return false;
    const now = performance.now();
    for (const [number, sent] of this.#inFlight) if (now - sent > ANSWER_TIMEOUT) this.#inFlight.delete(number);
    const { size } = this.#inFlight;
    return size === 0 || (size < MAX_IN_FLIGHT && now - this.#lastSent > this.#interval);
  }

  reserve(number) {
    this.#lastSent = performance.now();
    this.#inFlight.set(number, this.#lastSent);
  }

  release(number) {
    this.#inFlight.delete(number);
  }

  sendFrame(message) {
    if (this.open) this.#socket.send(message);
  }

  request(type, values = {}) {
    if (this.open) this.#socket.send(JSON.stringify({ type, ...values }));
  }

  #received(data) {
    if (typeof data === "string") {
      const event = JSON.parse(data);
      if (event.type === "statistics") this.#attempts = 0; // it came after a second, so the connection works
      this.#emit("event", event);
      return;
    }
    const answer = unpackAnswer(data);
    this.release(answer.number);
    this.#adapt(answer);
    this.#emit("answer", answer);
  }

  #adapt({ dropped, timings }) {
    const [waited, ...worked] = timings;
    if (!dropped && this.#interval === Infinity) this.#interval = worked.reduce((sum, spent) => sum + spent, 0);
    else if (dropped) this.#interval *= SLOW_DOWN;
    else if (waited < TARGET_WAIT) this.#interval *= SPEED_UP;
    else this.#interval += WAIT_GAIN * (waited - TARGET_WAIT);
    if (this.#interval > MAX_INTERVAL && this.#interval < Infinity) this.#interval = MAX_INTERVAL;
  }

  #closed(code, reason) {
    this.#inFlight.clear();
    if (code === BUSY || (code === TAKEN && reason === "taken")) {
      this.#emit("busy", { taken: code === TAKEN });
      return;
    }
    if (code === TAKEN) return; // this tab reconnected
    const pause = Math.min(MAX_PAUSE, FIRST_PAUSE * 2 ** this.#attempts) * (0.75 + 0.5 * Math.random());
    this.#attempts += 1;
    this.#emit("lost", { pause, attempts: this.#attempts });
    this.#timer = setTimeout(() => this.connect(), pause);
  }

  #retryNow() {
    if (this.#timer) this.connect();
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

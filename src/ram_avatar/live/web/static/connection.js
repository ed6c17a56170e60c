// The websocket to the server: comes back by itself, and sends frames no sooner than the server has use for them.

import { unpackAnswer } from "./protocol.js";

export const BUSY = 4409, TAKEN = 4410, REFUSED = 4403;
const MOST_UNDER_WAY = 4; // frames
const SPARE = 8; // ms that a frame may wait at the server: then it is not the server that waits
const LATER = 0.3; // of what a frame waited too long, that the next ones are farther apart
const CLOSER = 0.95, APART = 1.1; // how much, where no frame has to wait, or one had to give way to the next
const WIDEST = 1000; // ms
const PATIENCE = 4000; // ms without an answer, then frames are given up
const FIRST_PAUSE = 500, LONGEST_PAUSE = 10000; // ms between two tries

export class Connection extends EventTarget {
  #socket = null;
  #underWay = new Map();
  #lastSent = 0;
  #interval = Infinity; // ms from one frame to the next, at least
  #tries = 0;
  #timer = 0;

  constructor(path, ident) {
    super();
    this.path = path;
    this.ident = ident;
    // A network that is back, or a tab that wakes, is a reason not to wait any longer.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  get tries() {
    return this.#tries;
  }

  connect(takeOver = false) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const url = new URL(this.path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ page: this.ident, ...(takeOver ? { take: "1" } : {}) }).toString();
    const socket = (this.#socket = new WebSocket(url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#underWay.clear();
      this.#interval = Infinity; // one at a time, until it is known how long the server takes
      this.#emit("open");
    };
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#closed(code, reason);
  }

  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  // Whether one more frame may go up now. Those that are sent too soon only grow old at the server.
  get ready() {
    if (!this.open) return false;
    const now = performance.now();
    for (const [number, sent] of this.#underWay) if (now - sent > PATIENCE) this.#underWay.delete(number);
    const { size } = this.#underWay;
    return size === 0 || (size < MOST_UNDER_WAY && now - this.#lastSent > this.#interval);
  }

  reserve(number) {
    this.#lastSent = performance.now();
    this.#underWay.set(number, this.#lastSent);
  }

  release(number) {
    this.#underWay.delete(number);
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
      if (event.type === "statistics") this.#tries = 0; // it came after a second, so the connection works
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
    else if (dropped) this.#interval *= APART;
    else if (waited < SPARE) this.#interval *= CLOSER;
    else this.#interval += LATER * (waited - SPARE);
    if (this.#interval > WIDEST && this.#interval < Infinity) this.#interval = WIDEST;
  }

  #closed(code, reason) {
    this.#underWay.clear();
    if (code === BUSY || (code === TAKEN && reason === "taken")) {
      this.#emit("busy", { taken: code === TAKEN });
      return;
    }
    if (code === TAKEN) return; // this tab is back on another connection
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#tries) * (0.75 + 0.5 * Math.random());
    this.#tries += 1;
    this.#emit("lost", { pause, tries: this.#tries });
    this.#timer = setTimeout(() => this.connect(), pause);
  }

  #hurry() {
    if (this.#timer) this.connect();
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

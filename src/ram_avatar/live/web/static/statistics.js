// Frame rate and latency from camera to screen, as this page measures them.

const MAX_KEPT = 300, WINDOW = 5000; // frames; ms

export class Statistics {
  #shown = []; // [when, latency], ms
  dropped = 0;

  drop() {
    this.dropped += 1;
  }

  show(captured, now) {
    this.#shown.push([now, now - captured]);
    if (this.#shown.length > MAX_KEPT) this.#shown.shift();
  }

  summary(now = performance.now()) {
    const recent = this.#shown.filter(([when]) => now - when < WINDOW);
    const span = recent.length > 1 ? recent.at(-1)[0] - recent[0][0] : 0;
    const latencies = recent.map(([, latency]) => latency).sort((a, b) => a - b);
    const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(share * latencies.length))];
    return { fps: span ? ((recent.length - 1) / span) * 1000 : 0, p50: at(0.5), p95: at(0.95), dropped: this.dropped };
  }
}

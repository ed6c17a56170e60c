// A timer in a worker, which browsers do not throttle in background tabs.
onmessage = ({ data: interval }) => setInterval(() => postMessage(0), interval);

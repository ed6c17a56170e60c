// A clock that a tab in the background does not slow down.
onmessage = ({ data: pause }) => setInterval(() => postMessage(0), pause);

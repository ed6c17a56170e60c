"""Records what a page and the server exchange, within the page."""

from base64 import b64decode

from ram_avatar.live.protocol import Answer, CameraFrame, Coding

# Keeps the messages of both directions, by frame number.
LISTEN = """
  window.sent = {}; window.got = {};
  const number = (message) => new DataView(message.buffer).getUint32(4, true);
  const packed = (message) => btoa(Array.from(message, (byte) => String.fromCharCode(byte)).join(""));
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (message) {
    if (typeof message !== "string") sent[number(message)] = packed(message);
    return send.call(this, message);
  };
  const Plain = WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...all) {
      super(...all);
      this.addEventListener("message", ({ data }) => {
        if (typeof data !== "string") got[number(new Uint8Array(data))] = packed(new Uint8Array(data));
      });
    }
  };
"""


# How many answers hold an image; those without are a few hundred bytes.
PICTURES = "Object.values(got).filter((message) => message.length > 1500).length"


def exchanged(tab) -> list[tuple[CameraFrame, Answer]]:
    """Return the camera frames that were sent, each with the answer that holds its image."""
    sent, got = (tab.evaluate(f"({{...{name}}})") for name in ("sent", "got"))
    pairs = [(CameraFrame.unpack(b64decode(sent[n])), Answer.unpack(b64decode(got[n]))) for n in sent if n in got]
    return [(up, down) for up, down in pairs if Coding.NONE not in (up.coding, down.coding)]

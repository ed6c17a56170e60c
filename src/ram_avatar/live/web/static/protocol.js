// Messages of the websocket; ram_avatar/live/protocol.py documents every byte.

export const CODING = { none: 0, jpeg: 1, h264Key: 2, h264Delta: 3 };
export const STATUS = ["waiting", "seen", "lost", "calibrating", "playing"];
const FRAME = 1, ANSWER = 2, FRAME_HEAD = 16, ANSWER_HEAD = 24;
const DROPPED = 1, OPACITY_BELOW = 2, UNSEEN = 65535, UNIT = 65534;

export function packFrame(number, captured, coding = CODING.none, picture = null) {
  const message = new Uint8Array(FRAME_HEAD + (picture ? picture.byteLength : 0));
  const view = new DataView(message.buffer);
  view.setUint8(0, FRAME);
  view.setUint8(1, coding);
  view.setUint32(4, number, true);
  view.setFloat64(8, captured, true);
  if (picture) message.set(new Uint8Array(picture), FRAME_HEAD);
  return message;
}

export function unpackAnswer(buffer) {
  const view = new DataView(buffer);
  if (view.getUint8(0) !== ANSWER) throw new Error("not an answer");
  const flags = view.getUint8(3);
  const stages = view.getUint16(16, true), landmarks = view.getUint16(18, true), driving = view.getUint32(20, true);
  let at = ANSWER_HEAD;
  const timings = Array.from({ length: stages }, (_, i) => view.getFloat32(at + 4 * i, true));
  at += 4 * stages;
  const points = Array.from({ length: landmarks }, (_, i) => {
    const x = view.getUint16(at + 4 * i, true), y = view.getUint16(at + 4 * i + 2, true);
    return x === UNSEEN ? null : [x / UNIT, y / UNIT];
  });
  at += 4 * landmarks;
  return {
    coding: view.getUint8(1),
    status: STATUS[view.getUint8(2)] ?? "waiting",
    dropped: Boolean(flags & DROPPED),
    opacityBelow: Boolean(flags & OPACITY_BELOW),
    number: view.getUint32(4, true),
    captured: view.getFloat64(8, true),
    timings,
    points,
    driving: driving ? new Uint8Array(buffer, at, driving) : null,
    picture: new Uint8Array(buffer, at + driving),
  };
}

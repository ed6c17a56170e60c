// Drawing: the avatar, and the tracked body over the camera image.

const BONES = [
  [11, 12], [11, 13], [13, 15], [12, 14], [14, 16], [11, 23], [12, 24], [23, 24], [23, 25], [25, 27], [24, 26],
  [26, 28], [27, 31], [28, 32],
];
const POSE = 33, HAND = 21;
const FINGERS = [
  [0, 1, 2, 3, 4], [0, 5, 6, 7, 8], [5, 9, 10, 11, 12], [9, 13, 14, 15, 16], [13, 17, 18, 19, 20], [0, 17],
];
const COLOURS = { body: "#7de3cb", left: "#ffd166", right: "#ff9e7a", face: "rgb(255 255 255 / 75%)" };

export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.scratch = new OffscreenCanvas(2, 2);
    this.scratchContext = this.scratch.getContext("2d", { willReadFrequently: true });
  }

  draw(image, opacityBelow) {
    const width = image.displayWidth ?? image.width, tall = image.displayHeight ?? image.height;
    const height = opacityBelow ? tall / 2 : tall;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    if (!opacityBelow) {
      this.context.drawImage(image, 0, 0);
      return;
    }
    if (this.scratch.width !== width || this.scratch.height !== tall) Object.assign(this.scratch, { width, height: tall });
    this.scratchContext.drawImage(image, 0, 0);
    const pixels = this.scratchContext.getImageData(0, 0, width, tall), size = 4 * width * height;
    const shown = new ImageData(pixels.data.slice(0, size), width, height);
    for (let i = 0; i < size; i += 4) shown.data[i + 3] = pixels.data[size + i];
    this.context.putImageData(shown, 0, 0);
  }
}

export function drawLandmarks(canvas, points) {
  const width = (canvas.width = canvas.clientWidth * devicePixelRatio);
  const height = (canvas.height = canvas.clientHeight * devicePixelRatio);
  const context = canvas.getContext("2d");
  if (!points.length) return;
  context.lineCap = context.lineJoin = "round";
  const line = (indices, colour, thickness) => {
    context.strokeStyle = colour;
    context.lineWidth = thickness * devicePixelRatio;
    context.beginPath();
    indices.forEach((index, i) => {
      const point = points[index], before = i > 0 && points[indices[i - 1]];
      if (!point) return;
      context[before ? "lineTo" : "moveTo"](point[0] * width, point[1] * height);
    });
    context.stroke();
  };
  for (const bone of BONES) line(bone, COLOURS.body, 2.2);
  [COLOURS.left, COLOURS.right].forEach((colour, hand) => {
    for (const finger of FINGERS) line(finger.map((i) => POSE + hand * HAND + i), colour, 1.4);
  });
  context.fillStyle = COLOURS.face;
  for (const point of points.slice(POSE + 2 * HAND)) {
    if (point) context.fillRect(point[0] * width - 0.7, point[1] * height - 0.7, 1.4 * devicePixelRatio, 1.4 * devicePixelRatio);
  }
}

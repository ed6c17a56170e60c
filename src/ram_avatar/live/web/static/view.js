// The avatar-only view, for OBS. It shows whatever the driving page does.

import { ImageDecoder } from "./codecs.js";
import { Connection } from "./connection.js";
import { Painter } from "./stage.js";

const background = new URLSearchParams(location.search).get("background") === "scene" ? "scene" : "clear";
const connection = new Connection(`socket/view/${background}`, "view");
const painter = new Painter(document.querySelector("#picture"));
const decoder = new ImageDecoder(() => {});

connection.addEventListener("answer", async ({ detail: answer }) => {
  const image = await decoder.decode(answer).catch(() => null);
  if (!image) return;
  painter.draw(image, answer.opacityBelow);
  image.close();
});
connection.connect();

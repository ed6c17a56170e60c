// The avatar alone, for OBS: whatever the page that drives it does.

import { Unpacker } from "./codecs.js";
import { Connection } from "./connection.js";
import { Painter } from "./stage.js";

const background = new URLSearchParams(location.search).get("background") === "scene" ? "scene" : "clear";
const connection = new Connection(`socket/view/${background}`, "view");
const painter = new Painter(document.querySelector("#picture"));
const unpacker = new Unpacker(() => {});

connection.addEventListener("answer", async ({ detail: answer }) => {
  const picture = await unpacker.unpack(answer).catch(() => null);
  if (!picture) return;
  painter.draw(picture, answer.opacityBelow);
  picture.close();
});
connection.connect();

// The settings panel: shows the settings, and requests changes from the server.

const COMMON_ACTIONS = {
  mouthSmileLeft: "Smile left", mouthSmileRight: "Smile right", jawOpen: "Open mouth", mouthPucker: "Pucker",
  eyeBlinkLeft: "Close left eye", eyeBlinkRight: "Close right eye", browInnerUp: "Raise brows",
};
const FINGERS = ["thumb", "index", "middle", "ring", "little"];
const DRIVERS = {
  camera: ["Camera", "i-camera"], film: ["Video", "i-film"], source: ["Motion", "i-motion"], sliders: ["Sliders", "i-hand"],
};
const SEND_INTERVAL = 50; // ms, while a slider is dragged

const $ = (id) => document.getElementById(id);

export class Panel extends EventTarget {
  #held = { face: {}, fingers: {} };
  #changes = {};
  #timer = 0;

  constructor() {
    super();
    for (const name of ["smoothing", "alignment"]) {
      this.#bind($(name), (value) => this.#change({ [name]: value }));
    }
    $("backgrounds").addEventListener("change", ({ target }) => this.#chooseBackground(target.value));
    $("colour").addEventListener("input", () => this.#chooseBackground("colour"));
    $("remember").addEventListener("change", ({ target }) => this.#change({ remember: target.checked }));
    $("release").addEventListener("click", () => this.#release());
    this.#sheet();
  }

  // Fill in what depends on the avatar and the server.
  fill({ avatar, avatars, facts, drivers, driver, settings }) {
    $("avatar").replaceChildren(...avatars.map((name) => new Option(name, name, false, name === avatar)));
    $("avatar").disabled = avatars.length < 2;
    this.#drivers(drivers, driver);
    $("for-alignment").hidden = !facts.alignment;
    document.querySelector('[name="background"][value="transparent"]').closest("label").hidden = !facts.transparent;
    this.#sliders($("face-first"), "face", Object.keys(COMMON_ACTIONS).filter((name) => facts.actions.includes(name)), (name) => COMMON_ACTIONS[name]);
    this.#sliders($("face-all"), "face", facts.actions, inWords);
    const fingers = FINGERS.flatMap((finger) => [`left ${finger}`, `right ${finger}`]);
    this.#sliders($("fingers"), "fingers", fingers, (name) => name[0].toUpperCase() + name.slice(1));
    this.show(settings);
  }

  show(settings) {
    this.settings = settings;
    $("mirror").setAttribute("aria-pressed", settings.mirror);
    $("remember").checked = settings.remember;
    for (const name of ["smoothing", "alignment"]) set($(name), settings[name]);
    const colour = settings.background.startsWith("#");
    if (colour) $("colour").value = settings.background;
    const kind = colour ? "colour" : settings.background;
    for (const radio of document.getElementsByName("background")) radio.checked = radio.value === kind;
    this.#reveal(kind);
    this.#held = { face: { ...settings.face }, fingers: { ...settings.fingers } };
    for (const input of document.querySelectorAll("[data-group]")) {
      const value = this.#held[input.dataset.group][input.dataset.name];
      input.closest(".slider").classList.toggle("held", value !== undefined);
      if (input !== document.activeElement) set(input, value ?? 0);
    }
  }

  showDriver(driver, name) {
    for (const radio of document.getElementsByName("driver")) radio.checked = radio.value === driver;
    for (const each of ["camera", "film", "sliders", "source"]) $(`for-${each}`).hidden = each !== driver;
    if (driver === "sliders") $("by-hand").open = true;
    if (name) $("film-name").textContent = name;
  }

  showCameras(cameras, current) {
    const options = cameras.map(({ deviceId, label }, i) => new Option(label || `Camera ${i + 1}`, deviceId, false, deviceId === current));
    $("cameras").replaceChildren(...(options.length ? options : [new Option("Default", "")]));
  }

  close() {
    this.#toggle(false);
  }

  #drivers(drivers, driver) {
    $("drivers").replaceChildren(
      ...drivers.map((name) => {
        const [text, icon] = DRIVERS[name];
        const label = document.createElement("label");
        label.innerHTML = `<input type="radio" name="driver" value="${name}"><span><svg aria-hidden="true"><use href="#${icon}"></use></svg>${text}</span>`;
        label.firstChild.addEventListener("change", () => {
          this.showDriver(name);
          this.#emit("driver", name);
        });
        return label;
      }),
    );
    this.showDriver(driver);
  }

  #sliders(place, group, names, label) {
    place.replaceChildren(
      ...names.map((name) => {
        const id = `${place.id}-${name.replace(" ", "-")}`;
        const slider = document.createElement("div");
        slider.className = "slider";
        slider.innerHTML = `<label for="${id}"></label><output for="${id}"></output><input type="range" id="${id}" min="0" max="1" step="0.02" value="0">`;
        slider.firstChild.textContent = slider.firstChild.title = label(name);
        const input = slider.lastChild;
        Object.assign(input.dataset, { group, name });
        this.#bind(input, (value) => {
          this.#held[group][name] = value;
          this.#change({ [group]: { ...this.#held[group] } });
        });
        return slider;
      }),
    );
  }

  #release() {
    this.#held = { face: {}, fingers: {} };
    this.#change({ face: {}, fingers: {} });
  }

  #bind(input, changed) {
    input.addEventListener("input", () => {
      set(input, input.valueAsNumber);
      changed(input.valueAsNumber);
    });
  }

  // Changes while dragging are sent together at intervals.
  #change(changes) {
    Object.assign(this.#changes, changes);
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#emit("settings", this.#changes);
      this.#changes = {};
    }, SEND_INTERVAL);
  }

  #chooseBackground(kind) {
    this.#reveal(kind);
    if (kind === "colour") this.#change({ background: $("colour").value });
    else if (kind !== "picture") this.#change({ background: kind });
    else if (!$("backdrop-name").dataset.there) $("backdrop").click();
    else this.#change({ background: "picture" });
  }

  #reveal(kind) {
    $("for-colour").hidden = kind !== "colour";
    $("for-picture").hidden = kind !== "picture";
    document.querySelector(".swatch.colour").style.setProperty("--chosen", $("colour").value);
    const frame = document.querySelector(".frame");
    frame.classList.toggle("clear", kind === "transparent");
    frame.classList.toggle("plain", kind === "colour");
    frame.style.backgroundColor = kind === "colour" ? $("colour").value : "";
  }

  // On small screens the panel is a sheet that opens over the avatar.
  #sheet() {
    const small = matchMedia("(max-width: 960px)");
    const settle = () => {
      $("panel").inert = small.matches && !$("panel").classList.contains("open");
    };
    small.addEventListener("change", settle);
    settle();
    $("open-panel").addEventListener("click", () => this.#toggle(!$("panel").classList.contains("open")));
    $("close-panel").addEventListener("click", () => this.#toggle(false));
    $("panel").addEventListener("keydown", ({ key }) => key === "Escape" && this.#toggle(false));
    document.querySelector(".stage").addEventListener("pointerdown", ({ target }) => {
      if (!target.closest("#open-panel")) this.#toggle(false);
    });
  }

  #toggle(open) {
    const panel = $("panel");
    if (panel.classList.contains("open") === open) return;
    panel.classList.toggle("open", open);
    panel.inert = !open && matchMedia("(max-width: 960px)").matches;
    $("open-panel").setAttribute("aria-expanded", open);
    (open ? $("close-panel") : $("open-panel")).focus();
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function set(input, value) {
  input.value = value;
  const output = input.parentElement.querySelector("output");
  output.textContent = `${Math.round(value * 100)} %`;
}

// Turns "mouthSmileLeft" into "Mouth smile left".
function inWords(name) {
  const text = name.replace(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
  return text[0].toUpperCase() + text.slice(1);
}

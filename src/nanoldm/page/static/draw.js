// Your image: draw, encode, noise, denoise, and let the model fill in what you hide.

import { newest } from "./client.js";
import { announce, copies, get, moved, place, press, showCommand, showImages, showNumbers } from "./dom.js";

const COUNT = 8, COLUMNS = 4;
const EXAMPLES = 100; // the seed of the first example

export class Draw {
  /** @param {any} page @param {import("./client.js").Ask} ask */
  constructor(page, ask) {
    this.page = page;
    this.ask = ask;
    const { channels, size, light } = page.image;
    this.paper = light ? 1 : 0; // the tone of an empty image
    this.area = size * size;
    this.image = new Float32Array(channels * this.area).fill(this.paper); // multiples of 1/255, as in a PNG file
    this.masked = new Uint8Array(this.area); // 1 where the model fills in
    this.cursor = [Math.floor(size / 2), Math.floor(size / 2)];
    this.tool = "pen"; // or eraser, or hide: what it hides, the model fills in
    this.shown = false; // whether the image is an example, which the first stroke replaces
    this.keyboard = false;
    this.seed = 0;
    this.examples = EXAMPLES;
    this.drawings = 0; // counts changes
    this.look = newest(() => this.encode());
    get("noise").max = String(page.starts.length - 1);
    get("noise").value = String(Math.round(0.5 * (page.starts.length - 1)));
    get("color-label").hidden = channels === 1;
    for (let c = 0; c < page.latent.channels; c++) {
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Latent channel ${c}`);
      get("latents").append(canvas);
    }
    this.controls();
    copies("draw");
    this.show();
  }

  controls() {
    const canvas = get("canvas");
    const tools = ["pen", "eraser", "hide"];
    for (const id of tools) {
      get(id).addEventListener("click", () => {
        this.tool = id;
        press(tools.map(get), get(id));
      });
    }
    get("clear").addEventListener("click", () => this.replace(this.image.slice().fill(this.paper)));
    get("example").addEventListener("click", () => this.example());
    get("again").addEventListener("click", () => { this.seed += COUNT; this.update(); });
    get("noise").addEventListener("input", () => this.update());
    get("save-image").addEventListener("click", () => this.save("drawing.png", this.image));
    get("save-mask").addEventListener("click", () => this.save("mask.png", this.masked));
    canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      if (!event.isPrimary || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.keyboard = false;
      this.last = place(event, this.page.image.size);
      this.stroke([this.last]);
    });
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
      if (!this.last || !event.isPrimary) return;
      const parts = event.getCoalescedEvents?.() ?? [];
      this.stroke((parts.length ? parts : [event]).map((one) => place(one, this.page.image.size)));
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => { this.last = null; });
    }
    canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.key(event));
    canvas.addEventListener("blur", () => { this.keyboard = false; this.show(); });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const to = moved(event.key, this.cursor, this.page.image.size);
    if (!to && event.key !== " ") return;
    event.preventDefault();
    this.keyboard = true;
    if (to) {
      this.cursor = to;
      this.show();
    } else {
      this.last = null;
      this.stroke([[this.cursor[0] + 0.5, this.cursor[1] + 0.5]]);
    }
  }

  /** Draw, erase or hide along a path from the last place. @param {[number, number][]} path */
  stroke(path) {
    const radius = (this.tool === "pen" ? 1.1 : 2.2) * (this.page.image.size / 28);
    if (this.shown && this.tool === "pen") this.image.fill(this.paper);
    this.shown = false;
    for (const to of path) {
      const from = this.last || to, length = Math.hypot(to[0] - from[0], to[1] - from[1]);
      const count = Math.ceil(2 * length) + 1;
      for (let k = 1; k <= count; k++) {
        const share = k / count;
        this.dab(from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1]), radius);
      }
      if (this.last) this.last = to;
    }
    this.drawings++;
    this.update();
  }

  /** A round spot with a soft edge. @param {number} x @param {number} y @param {number} radius */
  dab(x, y, radius) {
    const { size } = this.page.image, reach = radius + 0.5;
    const range = (/** @type {number} */ at) => [Math.max(0, Math.floor(at - reach)),
      Math.min(size, Math.ceil(at + reach))];
    const [[left, right], [top, bottom]] = [range(x), range(y)];
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
        this.cover(row * size + column, Math.min(Math.max(reach - distance, 0), 1));
      }
    }
  }

  /** @param {number} at  a pixel @param {number} share  of it under the pen */
  cover(at, share) {
    if (!share) return;
    if (this.tool === "hide") {
      if (share > 0.5) this.masked[at] = 1;
      return;
    }
    const { channels } = this.page.image, erasing = this.tool === "eraser";
    const ink = 1 - this.paper;
    const color = channels > 1 && !erasing ? this.color() : Array(channels).fill(erasing ? this.paper : ink);
    this.masked[at] = 0;
    for (let c = 0; c < channels; c++) {
      const k = c * this.area + at, old = this.image[k];
      let value = old + share * (color[c] - old);
      if (channels === 1 && !erasing) value = ink ? Math.max(old, share) : Math.min(old, 1 - share);
      this.image[k] = Math.round(255 * value) / 255;
    }
  }

  color() {
    const text = get("color").value;
    return [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16) / 255);
  }

  /** @param {Float32Array} image */
  replace(image) {
    this.image = image;
    this.masked.fill(0);
    this.shown = false;
    this.drawings++;
    this.update();
  }

  /** An image of the model's own, unless something is drawn meanwhile. */
  async example() {
    const { own, samplers } = this.page, { rows } = samplers[own.sampler][own.steps];
    const ask = { seeds: [this.examples++], label: null, guidance: 1, rows }, before = this.drawings;
    let image;
    const done = await this.ask("example", "generate", ask, (part) => { image = part.x; });
    if (!done || before !== this.drawings) return;
    this.replace(Float32Array.from(image, (value) => value / 255));
    this.shown = true;
  }

  get start() {
    return this.page.starts[Number(get("noise").value)];
  }

  get hides() {
    return this.masked.includes(1);
  }

  /** Show the drawing at once, the rest when the worker has it. */
  update() {
    this.show();
    get("noise-value").textContent = String(this.start.t) + (this.hides ? ", not used to fill in" : "");
    get("noise").disabled = this.hides;
    get("save-mask").hidden = !this.hides;
    this.command();
    this.look();
    this.results();
  }

  show() {
    const { channels } = this.page.image;
    const shown = this.image.map((value, k) => (this.masked[k % this.area] ? 128 : 255 * value));
    showImages(get("canvas"), shown, this.page.image);
    if (!this.keyboard) return;
    const context = get("canvas").getContext("2d");
    context.fillStyle = channels === 1 ? "rgb(255, 140, 60)" : "rgb(128, 128, 128)";
    context.fillRect(this.cursor[0], this.cursor[1], 1, 1);
  }

  /** Encoded, decoded, noised. */
  async encode() {
    await this.ask("look", "look", { image: this.image, t: this.start.t, seed: this.seed }, (part) => {
      showImages(get("decoded"), part.decoded, this.page.image);
      showImages(get("noised"), part.noised, this.page.image);
      const { tokens, channels } = this.page.latent;
      [...get("latents").children].forEach((canvas, c) => showNumbers(canvas,
        Array.from({ length: tokens }, (_, k) => part.latents[k * channels + c]), 3));
    });
  }

  /** Several images from the noised drawing, or with its hidden part filled in. */
  async results() {
    const { hides, image, masked, start } = this, canvas = get("results");
    const seeds = Array.from({ length: COUNT }, (_, k) => this.seed + k);
    const rows = hides ? this.page.inpainting.rows : start.rows;
    const what = hides ? `The hidden part, filled in ${COUNT} times`
      : `Denoised from t = ${start.t}, ${COUNT} times`;
    get("results-caption").textContent = what;
    canvas.setAttribute("aria-label", what);
    canvas.setAttribute("aria-busy", "true");
    const done = await this.ask("results", hides ? "inpaint" : "denoise",
      { image, masked, t: start.t, seeds, rows },
      (part) => showImages(canvas, part.images, this.page.image, COLUMNS));
    if (!done) return;
    canvas.setAttribute("aria-busy", "false");
    announce(what);
  }

  command() {
    const { model, inpainting } = this.page;
    const options = `--no-fit --rng portable --n ${COUNT} --seed ${this.seed}`;
    showCommand("draw", this.masked.every(Boolean) ? "" : this.hides
      ? `nanoldm inpaint ${model} drawing.png --mask mask.png ${inpainting.options} ${options}`
      : `nanoldm img2img ${model} drawing.png --t ${this.start.t} ${this.start.options} ${options}`);
  }

  /** @param {string} name @param {ArrayLike<number>} values  of an image or a mask, 0 ... 1 */
  save(name, values) {
    const canvas = document.createElement("canvas"), link = document.createElement("a");
    const image = Float32Array.from(this.image, (_, k) => 255 * values[k % values.length]);
    showImages(canvas, image, this.page.image);
    link.download = name;
    link.href = canvas.toDataURL("image/png");
    link.click();
  }
}

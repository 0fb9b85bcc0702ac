// Your image: draw, encode, noise, denoise, and let the model fill in what you erase.

import { copies, get, press, showImages, showNumbers } from "./dom.js";

const COUNT = 8, COLUMNS = 4;

export class Draw {
  /** @param {any} page @param {import("./client.js").Ask} ask */
  constructor(page, ask) {
    this.page = page;
    this.ask = ask;
    const { channels, size } = page.image;
    this.area = size * size;
    this.image = new Float32Array(channels * this.area);
    /** @type {boolean[]} */
    this.unknown = new Array(this.area).fill(false);
    this.cursor = [Math.floor(size / 2), Math.floor(size / 2)];
    this.erasing = false;
    this.busy = { look: false, results: false };
    this.examples = 0;
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
  }

  controls() {
    const canvas = get("canvas");
    const tool = (/** @type {string} */ id) => {
      this.erasing = id === "eraser";
      press([get("pen"), get("eraser")], get(id));
    };
    for (const id of ["pen", "eraser"]) get(id).addEventListener("click", () => tool(id));
    get("clear").addEventListener("click", () => this.replace(new Float32Array(this.image.length)));
    get("example").addEventListener("click", () => this.example());
    get("fill").addEventListener("click", () => this.results());
    get("noise").addEventListener("input", () => this.changed());
    get("save-drawing").addEventListener("click", () => this.save());
    canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      canvas.setPointerCapture(event.pointerId);
      this.last = this.place(event);
      this.stroke(this.last);
    });
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
      if (!this.last) return;
      for (const one of event.getCoalescedEvents?.() || [event]) this.stroke(this.place(one));
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => { this.last = null; });
    }
    canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.key(event));
    canvas.addEventListener("focus", () => this.show());
    canvas.addEventListener("blur", () => this.show());
  }

  /** @param {PointerEvent} event @returns {[number, number]} in pixels of the image */
  place(event) {
    const box = get("canvas").getBoundingClientRect(), { size } = this.page.image;
    return [((event.clientX - box.left) / box.width) * size, ((event.clientY - box.top) / box.height) * size];
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[/** @type {keyof moves} */ (event.key)];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    if (move) {
      const { size } = this.page.image;
      this.cursor = this.cursor.map((at, k) => Math.min(Math.max(at + move[k], 0), size - 1));
      this.show();
    } else {
      this.last = null;
      this.stroke([this.cursor[0] + 0.5, this.cursor[1] + 0.5]);
    }
  }

  /** Draw or erase from the last place to this one. @param {[number, number]} to */
  stroke(to) {
    const from = this.last || to, { size } = this.page.image;
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]), count = Math.ceil(2 * length) + 1;
    const radius = (this.erasing ? 2.2 : 1.1) * (size / 28);
    for (let k = 1; k <= count; k++) {
      const share = k / count;
      this.dab(from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1]), radius);
    }
    if (this.last) this.last = to;
    this.changed();
  }

  /** @param {number} x @param {number} y @param {number} radius */
  dab(x, y, radius) {
    const { size, channels } = this.page.image, color = this.color();
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < size; column++) {
        const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y), at = row * size + column;
        const cover = Math.min(Math.max(radius + 0.5 - distance, 0), 1);
        if (!cover) continue;
        if (this.erasing) {
          this.unknown[at] ||= cover > 0.5;
          continue;
        }
        this.unknown[at] = false;
        for (let c = 0; c < channels; c++) {
          const k = c * this.area + at, old = this.image[k];
          this.image[k] = channels === 1 ? Math.max(old, cover) : old + cover * (color[c] - old);
        }
      }
    }
  }

  color() {
    const text = get("color").value;
    return [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16) / 255);
  }

  /** @param {Float32Array} image */
  replace(image) {
    this.image = image;
    this.unknown.fill(false);
    this.changed();
  }

  /** An image of the model's own, to begin with. */
  async example() {
    const { own, samplers } = this.page, { rows } = samplers[own.sampler][own.steps];
    const ask = { seeds: [100 + this.examples++], label: null, guidance: 1, rows };
    let image = this.image;
    const done = await this.ask("example", "generate", ask, (part) => { image = part.x; });
    if (done) this.replace(image.map((value) => Math.min(Math.max(value, 0), 1)));
  }

  get t() {
    return this.page.starts[Number(get("noise").value)];
  }

  /** Show the drawing at once, the rest when the worker has it. */
  changed() {
    this.show();
    get("noise-value").textContent = String(this.t.t);
    this.command();
    this.look();
    this.results();
  }

  show() {
    const { channels, size } = this.page.image, shown = this.image.slice();
    this.unknown.forEach((gone, k) => {
      if (gone) for (let c = 0; c < channels; c++) shown[c * this.area + k] = 0.5;
    });
    showImages(get("canvas"), shown, this.page.image);
    if (get("canvas").matches(":focus-visible")) { // by keyboard
      const context = get("canvas").getContext("2d");
      context.fillStyle = "rgba(255, 140, 60, 0.8)";
      context.fillRect(this.cursor[0], this.cursor[1], 1, 1);
    }
    get("fill").disabled = !this.unknown.includes(true);
    get("fill").hidden = get("fill").disabled && size > 0;
  }

  /** Encoded, decoded, noised. While the worker is busy the latest drawing waits. */
  async look() {
    if (this.busy.look) return void (this.waiting = true);
    this.busy.look = true;
    this.waiting = false;
    await this.ask("look", "look", { image: this.image, t: this.t.t, seed: 0 }, (part) => {
      showImages(get("decoded"), part.decoded, this.page.image);
      showImages(get("noised"), part.noised, this.page.image);
      const { tokens, channels } = this.page.latent;
      [...get("latents").children].forEach((canvas, c) => showNumbers(canvas,
        Array.from({ length: tokens }, (_, k) => part.latents[k * channels + c]), 3));
    });
    this.busy.look = false;
    if (this.waiting) this.look();
  }

  /** Several images from the noised drawing, or with its erased part filled in. */
  async results() {
    const erased = this.unknown.includes(true);
    const seeds = Array.from({ length: COUNT }, (_, k) => k);
    const kind = erased ? "inpaint" : "denoise";
    const rows = erased ? this.page.inpainting.rows : this.t.rows;
    const ask = { image: this.image, unknown: this.unknown, t: this.t.t, seeds, label: -1, guidance: 1, rows };
    get("results-caption").textContent = erased
      ? `The erased part, filled in ${COUNT} times` : `Denoised from t = ${this.t.t}, ${COUNT} times`;
    get("results").setAttribute("aria-label", get("results-caption").textContent);
    if (this.unknown.every(Boolean)) return;
    get("results").setAttribute("aria-busy", "true");
    const done = await this.ask("results", kind, ask, (part) => (
      showImages(get("results"), part.images, this.page.image, COLUMNS)));
    if (done) get("results").setAttribute("aria-busy", "false");
  }

  command() {
    const { model, inpainting } = this.page, options = `--no-fit --rng portable --n ${COUNT}`;
    get("draw-command").textContent = this.unknown.includes(true)
      ? `nanoldm inpaint ${model} drawing.png --mask mask.png ${inpainting.options} ${options}`
      : `nanoldm img2img ${model} drawing.png --t ${this.t.t} ${this.t.options} ${options}`;
  }

  /** drawing.png, and mask.png if a part is erased. */
  save() {
    const erased = this.unknown.includes(true), { channels } = this.page.image;
    const mask = Float32Array.from({ length: channels * this.area },
      (_, k) => Number(this.unknown[k % this.area]));
    for (const [name, values] of [["drawing.png", this.image], ...(erased ? [["mask.png", mask]] : [])]) {
      const canvas = document.createElement("canvas"), link = document.createElement("a");
      showImages(canvas, /** @type {Float32Array} */ (values), this.page.image);
      link.download = String(name);
      link.href = canvas.toDataURL("image/png");
      link.click();
    }
  }
}

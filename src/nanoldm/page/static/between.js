// Between two: a path on the sphere between two noises.

import { newest } from "./client.js";
import { copies, get, showCommand, showImages, whole } from "./dom.js";

const NAMES = ["a", "b"];

export class Between {
  /** @param {any} page @param {import("./client.js").Ask} ask @param {() => Float32Array} drawing */
  constructor(page, ask, drawing) {
    this.page = page;
    this.ask = ask;
    /** @type {(Float32Array | null)[]} the noise of each end */
    this.ends = [null, null];
    /** @type {(Float32Array | null)[]} the images that were taken instead of a seed */
    this.taken = [null, null];
    this.show = newest(() => this.middle());
    NAMES.forEach((name, k) => {
      get(`seed-${name}`).addEventListener("change", () => { this.taken[k] = null; this.end(k); });
      get(`take-${name}`).hidden = !page.inversion;
      get(`take-${name}`).addEventListener("click", () => {
        this.taken[k] = drawing().slice();
        get(`seed-${name}`).value = ""; // a seed that is typed takes its place again
        this.end(k);
      });
    });
    get("share").addEventListener("input", () => this.show());
    copies("between");
  }

  run() {
    return Promise.all([this.end(0), this.end(1)]);
  }

  /** Find the noise of an end, and show its image. @param {number} k */
  async end(k) {
    const channel = `end-${NAMES[k]}`, image = this.taken[k];
    const seed = image ? 0 : whole(get(`seed-${NAMES[k]}`));
    const { inversion, path } = this.page;
    this.ends[k] = null;
    let x;
    if (!await this.ask(channel, "noiseOf", { seed, image, rows: inversion?.rows },
      (part) => { x = part.x; })) return;
    this.ends[k] = x;
    if (await this.ask(channel, "between", { ends: [x, x], share: 0, rows: path.rows },
      (part) => showImages(get(channel), part.image, this.page.image))) this.show();
  }

  async middle() {
    const share = Number(get("share").value) / 100;
    get("share-value").textContent = `${Math.round(100 * share)} %`;
    this.command();
    if (!this.ends[0] || !this.ends[1]) return;
    await this.ask("between", "between", { ends: this.ends, share, rows: this.page.path.rows },
      (part) => showImages(get("between"), part.image, this.page.image));
  }

  command() {
    const seeds = NAMES.map((name) => get(`seed-${name}`).value), { model, path } = this.page;
    showCommand("between", this.taken.some(Boolean) ? ""
      : `nanoldm interpolate ${model} --seeds ${seeds.join(",")} --rng portable ${path.options}`);
  }
}

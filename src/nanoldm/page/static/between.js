// Between two: a path on the sphere between two noises.

import { copies, get, showImages, whole } from "./dom.js";

export class Between {
  /** @param {any} page @param {import("./client.js").Ask} ask @param {() => Float32Array} drawing */
  constructor(page, ask, drawing) {
    this.page = page;
    this.ask = ask;
    /** @type {(Float32Array | null)[]} the noise of each end */
    this.ends = [null, null];
    /** @type {(Float32Array | null)[]} the images that were taken instead of a seed */
    this.taken = [null, null];
    ["a", "b"].forEach((name, k) => {
      get(`seed-${name}`).addEventListener("change", () => { this.taken[k] = null; this.end(k); });
      get(`take-${name}`).addEventListener("click", () => { this.taken[k] = drawing().slice(); this.end(k); });
    });
    get("share").addEventListener("input", () => this.show());
    copies("between");
  }

  run() {
    return Promise.all([this.end(0), this.end(1)]);
  }

  /** Find the noise of an end, and show its image. @param {number} k */
  async end(k) {
    const name = "ab"[k], seed = whole(get(`seed-${name}`)), image = this.taken[k];
    this.ends[k] = null;
    const rows = this.page.inversion.rows;
    await this.ask(`end-${name}`, "noiseOf", { seed, image, rows }, (part) => { this.ends[k] = part.x; });
    const x = this.ends[k];
    if (!x) return;
    const ask = { ends: [x, x], share: 0, label: -1, rows: this.page.path.rows };
    await this.ask(`end-${name}`, "between", ask, (part) => (
      showImages(get(`end-${name}`), part.image, this.page.image)));
    this.show();
  }

  show() {
    const share = Number(get("share").value) / 100;
    get("share-value").textContent = `${Math.round(100 * share)} %`;
    this.command();
    if (!this.ends[0] || !this.ends[1]) return;
    const ask = { ends: this.ends, share, label: -1, rows: this.page.path.rows };
    this.ask("between", "between", ask, (part) => (
      showImages(get("between"), part.image, this.page.image)));
  }

  command() {
    const [a, b] = ["a", "b"].map((name) => whole(get(`seed-${name}`)));
    const { model, path } = this.page;
    get("between-command").textContent = this.taken.some(Boolean)
      ? `nanoldm interpolate ${model} --images a.png b.png --no-fit ${path.options}`
      : `nanoldm interpolate ${model} --seeds ${a},${b} --rng portable ${path.options}`;
  }
}

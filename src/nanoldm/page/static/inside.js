// Look inside: attention, gates, and the noise schedule.

import { newest } from "./client.js";
import { fillSelect, get, moved, place, showCurves, showImages, showNumbers } from "./dom.js";

const COLORS = ["#c2541b", "#2f74c0", "#2f8a4c", "#a8489a", "#96701a", "#6d747c"];

export class Inside {
  /** @param {any} page @param {import("./client.js").Ask} ask @param {import("./generate.js").Generate}
   * generate */
  constructor(page, ask, generate) {
    this.page = page;
    this.ask = ask;
    this.generate = generate;
    const { taps } = page.tapes.network;
    this.blocks = Object.keys(taps).filter((name) => name.startsWith("attention"));
    /** @type {Record<string, number[]>} */
    this.gates = {};
    /** @type {number | undefined} that the gates belong to */
    this.label = undefined;
    this.changed = newest(() => this.compute());
    /** @type {Record<string, Float32Array>} */
    this.taps = {};
    fillSelect(get("block"), this.blocks.map((_, k) => k + 1), 1);
    if (this.blocks.length) {
      const [, heads, tokens] = taps[this.blocks[0]][2];
      fillSelect(get("head"), Array.from({ length: heads }, (_, k) => k + 1), 1);
      this.side = Math.round(Math.sqrt(tokens));
      this.token = Math.floor(tokens / 2);
    }
    get("tokens").closest(".row").hidden = !this.blocks.length || this.side ** 2 !== taps[this.blocks[0]][2][2];
    for (const id of ["block", "head"]) get(id).addEventListener("change", () => this.show());
    get("inside").addEventListener("toggle", () => this.changed());
    get("tokens").addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      this.choose(place(event, this.side).map(Math.floor));
    });
    get("tokens").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const at = [this.token % this.side, Math.floor(this.token / this.side)];
      const to = moved(event.key, at, this.side);
      if (!to) return;
      event.preventDefault();
      this.choose(to);
    });
  }

  /** @param {number[]} place  column and row of a token */
  choose([column, row]) {
    this.token = Math.min(row, this.side - 1) * this.side + Math.min(column, this.side - 1);
    this.show();
  }

  /** What the network computes for the first image at the shown time. */
  async compute() {
    const { first } = this.generate;
    if (!get("inside").open || !first) return;
    await this.ask("inside", "inside", first, (part) => { this.taps = part.taps; });
    this.show();
    if (this.label === first.label) return;
    if (await this.ask("gates", "gates", { label: first.label },
      (part) => { this.gates = part.gates; })) this.label = first.label;
    this.show();
  }

  show() {
    const { first } = this.generate;
    if (!first) return;
    this.showAttention();
    const names = Object.keys(this.gates);
    get("gates").closest("figure").hidden = !names.length;
    if (names.length) {
      showCurves(get("gates"), names.map((name, k) => ({ values: this.gates[name],
        name: String(Math.floor(k / 2) + 1), color: COLORS[Math.floor(k / 2) % COLORS.length],
        dash: k % 2 === 1 })), first.t);
      get("gates-caption").textContent = `Mean size of the gates of the ${names.length / 2
      } blocks over t: attention, and dashed feed-forward. Line: t = ${first.t}`;
      get("gates").setAttribute("aria-label", get("gates-caption").textContent);
    }
    const levels = this.page.levels;
    showCurves(get("schedule"), [
      { values: levels.map((/** @type {number[]} */ [alpha]) => alpha), color: COLORS[0], name: "α" },
      { values: levels.map((/** @type {number[]} */ [, sigma]) => sigma), color: COLORS[1], dash: true,
        name: "σ" },
    ], first.t);
    get("schedule-caption").textContent = `x_t = alpha x0 + sigma eps: alpha, and dashed sigma, over t. At t = ${
      first.t}: alpha ${levels[first.t][0].toFixed(3)}, sigma ${levels[first.t][1].toFixed(3)}`;
    get("schedule").setAttribute("aria-label", get("schedule-caption").textContent);
  }

  showAttention() {
    const values = this.taps[this.blocks[Number(get("block").value) - 1]];
    if (!values) return;
    const tokens = this.side ** 2, start = ((Number(get("head").value) - 1) * tokens + this.token) * tokens;
    const row = values.slice(start, start + tokens), most = Math.max(...row);
    showNumbers(get("attention"), row, most);
    const [x, y] = [this.token % this.side, Math.floor(this.token / this.side)];
    get("attention-caption").textContent = `What token (${x + 1}, ${y + 1}) reads; brightest: ${
      Math.round(100 * most)} %`;
    const { image } = this.page, frame = this.generate.frames[this.generate.at];
    const count = image.channels * image.size ** 2;
    showImages(get("tokens"), (frame.x0 ?? frame.x).slice(0, count), image);
    const context = get("tokens").getContext("2d"), cell = image.size / this.side;
    context.strokeStyle = "rgb(255, 120, 60)";
    context.strokeRect(x * cell + 0.5, y * cell + 0.5, cell - 1, cell - 1);
  }
}

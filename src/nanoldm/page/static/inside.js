// Look inside: attention, gates, and the noise schedule.

import { fillSelect, get, showCurves, showImages, showNumbers } from "./dom.js";

const COLORS = ["#e07b39", "#3b82c4", "#4ca66b", "#b3559b", "#c9a227", "#7a7f87"];

export class Inside {
  /** @param {any} page @param {import("./client.js").Ask} ask @param {import("./generate.js").Generate}
   * generate */
  constructor(page, ask, generate) {
    this.page = page;
    this.ask = ask;
    this.generate = generate;
    const { taps } = page.tapes.network;
    this.blocks = Object.keys(taps).filter((name) => name.startsWith("attention"));
    /** @type {Record<string, number[]> | null} */
    this.gates = null;
    /** @type {Record<string, Float32Array>} */
    this.taps = {};
    this.busy = false;
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
      const box = get("tokens").getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      this.choose(Math.floor(x * this.side), Math.floor(y * this.side));
    });
    get("tokens").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const move = moves[/** @type {keyof moves} */ (event.key)];
      if (!move) return;
      event.preventDefault();
      this.choose((this.token % this.side) + move[0], Math.floor(this.token / this.side) + move[1]);
    });
  }

  /** @param {number} column @param {number} row */
  choose(column, row) {
    const inside = (/** @type {number} */ k) => Math.min(Math.max(k, 0), this.side - 1);
    this.token = inside(row) * this.side + inside(column);
    this.show();
  }

  /** The first image or the time has changed. */
  async changed() {
    if (!get("inside").open || !this.generate.first) return;
    if (this.busy) return void (this.waiting = true);
    this.busy = true;
    this.waiting = false;
    const { label } = this.generate.first;
    await this.ask("inside", "inside", this.generate.first, (part) => { this.taps = part.taps; });
    if (!this.gates) {
      await this.ask("gates", "gates", { label }, (part) => { this.gates = part.gates; });
    }
    this.show();
    this.busy = false;
    if (this.waiting) this.changed();
  }

  show() {
    const { first } = this.generate;
    if (!first) return;
    this.showAttention();
    const names = Object.keys(this.gates || {});
    get("gates").closest("figure").hidden = !names.length;
    if (names.length) {
      showCurves(get("gates"), names.map((name, k) => ({ values: this.gates[name],
        color: COLORS[Math.floor(k / 2) % COLORS.length], dash: k % 2 === 1 })), first.t);
      get("gates-caption").textContent = `Mean size of the gates over t, a colour for each of ${
        names.length / 2} blocks: attention, and dashed feed-forward. Line: t = ${first.t}`;
      get("gates").setAttribute("aria-label", get("gates-caption").textContent);
    }
    const levels = this.page.levels;
    showCurves(get("schedule"), [
      { values: levels.map((/** @type {number[]} */ level) => level[0]), color: COLORS[0] },
      { values: levels.map((/** @type {number[]} */ level) => level[1]), color: COLORS[1], dash: true }], first.t);
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

// Images from noise: a grid that denoises, and a slider through time.

import {
  addChoice, announce, copies, fillSelect, get, press, showCommand, showImages, whole,
} from "./dom.js";

const COUNT = 16, COLUMNS = 4;
const PACE = 70, SLOW_PACE = 700; // milliseconds between steps

/** @typedef {{t?: number, x: Uint8ClampedArray, x0?: Uint8ClampedArray, latents: Float32Array,
 *   label?: number}} Frame  of all images; latents of the first */

export class Generate {
  /** @param {any} page @param {import("./client.js").Ask} ask @param {() => void} changed */
  constructor(page, ask, changed) {
    this.page = page;
    this.ask = ask;
    this.changed = changed; // is called when the first image or the time has changed
    /** @type {Frame[]} */
    this.frames = [];
    this.label = null; // null: any
    this.playing = false;
    this.running = false;
    this.steps = 0; // in all, of the run that `frames` belong to
    this.due = 0;
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.controls();
    copies("generate");
  }

  controls() {
    const { page } = this, group = get("classes");
    const choose = (/** @type {number | null} */ label) => (/** @type {HTMLElement} */ button) => {
      this.label = label;
      press(group.children, button);
      this.run();
    };
    if (page.classes.length) {
      const any = addChoice(group, "any", choose(null));
      for (const { number, name } of page.classes) addChoice(group, name, choose(number));
      addChoice(group, "none", choose(-1));
      press(group.children, any);
    }
    get("guidance").closest("label").hidden = !page.classes.length;
    fillSelect(get("sampler"), Object.keys(page.samplers), page.own.sampler);
    this.fillSteps(page.own.steps);
    get("sampler").addEventListener("change", () => { this.fillSteps(get("steps").value); this.run(); });
    for (const id of ["steps", "seed", "guidance"]) get(id).addEventListener("change", () => this.run());
    get("guidance").addEventListener("input", () => this.showGuidance());
    get("next-seed").addEventListener("click", () => {
      get("seed").value = String(whole(get("seed")) + COUNT);
      this.run();
    });
    get("timeline").addEventListener("input", () => this.pause(Number(get("timeline").value)));
    get("play").addEventListener("click", () => (this.playing ? this.pause(this.at) : this.play()));
    get("step").addEventListener("click", () => this.pause(this.at >= this.steps ? 0 : this.at + 1));
    get("slow").addEventListener("click", () => {
      get("slow").setAttribute("aria-pressed", String(!this.slow));
      if (this.slow && !this.playing) this.play();
    });
    for (const id of ["show-x0", "show-x"]) {
      get(id).addEventListener("click", () => {
        press([get("show-x0"), get("show-x")], get(id));
        this.show(this.at);
      });
    }
  }

  /** @param {string | number} wanted */
  fillSteps(wanted) {
    const steps = Object.keys(this.page.samplers[get("sampler").value]);
    fillSelect(get("steps"), steps, steps.includes(String(wanted)) ? wanted : steps[Math.min(2, steps.length - 1)]);
  }

  get slow() {
    return get("slow").getAttribute("aria-pressed") === "true";
  }

  get at() {
    return Number(get("timeline").value);
  }

  get guidance() {
    return this.page.classes.length && this.label !== -1 ? Number(get("guidance").value) : 1;
  }

  showGuidance() {
    get("guidance").disabled = this.label === -1;
    get("guidance-value").textContent = this.label === -1 ? "off: no class"
      : this.guidance === 1 ? "off" : String(this.guidance);
  }

  /** Generate anew with the chosen settings. */
  async run() {
    const { page } = this, seed = whole(get("seed"));
    const table = page.samplers[get("sampler").value][get("steps").value];
    this.showGuidance();
    this.command(seed, table);
    const seeds = Array.from({ length: COUNT }, (_, k) => seed + k);
    const ask = { seeds, label: this.label, guidance: this.guidance, rows: table.rows };
    /** @type {Frame[]} */
    const frames = [];
    const steps = table.rows.filter((/** @type {any[]} */ row) => row[1]).length;
    get("steps-note").textContent = steps < Number(get("steps").value)
      ? `${get("steps").value} steps visit ${steps} timesteps: some fall together.` : "";
    // Paused images stay at their share of the time, so that settings can be compared.
    const paused = !this.playing && this.frames.length > 1 && this.at < this.steps;
    const share = paused ? this.at / this.steps : null;
    this.running = true;
    get("grid").setAttribute("aria-busy", "true");
    const done = await this.ask("generate", "generate", ask, (frame) => {
      frames.push(frame);
      if (share !== null && frames.length === Math.round(share * steps) + 1) {
        this.begin(frames, steps, frames.length - 1);
      } else if (share === null && frames.length === 1) {
        this.begin(frames, steps, 0);
        if (!this.still) this.play(0);
      }
    });
    if (!done) return;
    this.running = false;
    if (this.playing) return;
    this.show(this.still && share === null ? steps : this.at);
  }

  /** @param {Frame[]} frames @param {number} steps @param {number} at */
  begin(frames, steps, at) {
    this.frames = frames;
    this.steps = steps;
    get("timeline").max = String(steps);
    this.show(at);
  }

  /** @param {number} at */
  pause(at) {
    this.playing = false;
    this.show(at);
  }

  play(from = this.at >= this.steps ? 0 : this.at) {
    const idle = !this.playing;
    this.playing = true;
    this.show(from);
    this.due = 0;
    if (idle) requestAnimationFrame((now) => this.tick(now));
  }

  /** @param {number} now */
  tick(now) {
    if (!this.playing) return;
    this.due ||= now + (this.slow ? SLOW_PACE : PACE);
    if (now >= this.due && this.at + 1 < this.frames.length) {
      this.due = 0;
      this.playing = this.at + 1 < this.steps;
      this.show(this.at + 1);
      if (!this.playing) announce("The images are finished");
    }
    if (this.playing) requestAnimationFrame((later) => this.tick(later));
  }

  /** Show the images after step `at`. @param {number} at */
  show(at) {
    const known = Math.max(0, Math.min(at, this.frames.length - 1)), frame = this.frames[known];
    if (!frame) return;
    get("timeline").value = String(known);
    get("play").textContent = this.playing ? "Pause" : "Play";
    const estimate = get("show-x0").getAttribute("aria-pressed") === "true";
    const clean = known >= this.steps; // the last x; the estimate of x0 is a little older
    showImages(get("grid"), estimate && frame.x0 && !clean ? frame.x0 : frame.x, this.page.image, COLUMNS);
    const what = known === 0 ? "x_T: noise" : clean ? "finished"
      : `step ${known} of ${this.steps}, from t = ${frame.t}`;
    const decoded = clean || (estimate && frame.x0) ? ""
      : ". Decoded noise: the decoder knows only latents without noise, so these pictures mean nothing";
    get("grid-caption").textContent = what + decoded;
    get("grid").setAttribute("aria-label", `${COUNT} generated images: ${what}`);
    get("grid").setAttribute("aria-busy", String(this.running || this.playing));
    get("timeline").setAttribute("aria-valuetext", what);
    this.changed();
  }

  /** The command that draws the same images. @param {number} seed @param {any} table */
  command(seed, table) {
    const chosen = this.page.classes.find((/** @type {any} */ own) => own.number === this.label);
    const label = chosen ? chosen.option : this.label === -1 ? "--label none" : "";
    const guidance = this.guidance === 1 ? "" : `--guidance ${this.guidance}`;
    showCommand("generate", label === null ? "" : [`nanoldm sample ${this.page.model} --rng portable`,
      `--n ${COUNT} --seed ${seed}`, table.options, label, guidance].filter(Boolean).join(" "));
  }

  /** The first image: its latents before the shown step, its label, and the step's timestep. */
  get first() {
    if (this.frames.length < 2) return null;
    const before = Math.min(this.at, this.frames.length - 2);
    return { latents: this.frames[before].latents, t: this.frames[before + 1].t,
      label: this.frames[0].label };
  }
}

// Images from noise: a grid that denoises, and a slider through time.

import { addChoice, copies, fillSelect, get, press, showImages, whole } from "./dom.js";

const COUNT = 16, COLUMNS = 4;
const PACE = 70, SLOW_PACE = 700; // milliseconds between steps

/** @typedef {{t?: number, x: Float32Array, x0?: Float32Array, latents: Float32Array,
 *   labels?: number[]}} Frame */

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
    this.wanted = 0; // steps in all
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
      press(group.children, addChoice(group, "any", choose(null)));
      group.firstChild.setAttribute("aria-pressed", "true");
      for (const { number, name } of page.classes) addChoice(group, name, choose(number));
      addChoice(group, "none", choose(-1));
    }
    get("guidance").closest("label").hidden = !page.classes.length;
    fillSelect(get("sampler"), Object.keys(page.samplers), page.own.sampler);
    this.fillSteps(page.own.steps);
    get("sampler").addEventListener("change", () => { this.fillSteps(get("steps").value); this.run(); });
    for (const id of ["steps", "seed"]) get(id).addEventListener("change", () => this.run());
    get("guidance").addEventListener("input", () => this.run());
    get("next-seed").addEventListener("click", () => {
      get("seed").value = String(whole(get("seed")) + COUNT);
      this.run();
    });
    get("timeline").addEventListener("input", () => { this.playing = false; this.show(Number(get("timeline").value)); });
    get("play").addEventListener("click", () => this.play());
    get("step").addEventListener("click", () => {
      this.playing = false;
      this.show((this.at + 1) % this.frames.length);
    });
    get("slow").addEventListener("click", () => {
      get("slow").setAttribute("aria-pressed", String(!this.slow));
      if (!this.playing) this.play();
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

  /** Generate anew with the chosen settings. */
  run() {
    const { page } = this, seed = whole(get("seed"));
    get("seed").value = String(seed);
    const table = page.samplers[get("sampler").value][get("steps").value];
    get("guidance-value").textContent = this.guidance === 1 ? "off" : String(this.guidance);
    this.command(seed, table);
    const seeds = Array.from({ length: COUNT }, (_, k) => seed + k);
    const ask = { seeds, label: this.label, guidance: this.guidance, rows: table.rows };
    /** @type {Frame[]} */
    const frames = [];
    this.wanted = table.rows.filter((/** @type {any[]} */ row) => row[1]).length;
    this.running = true;
    get("grid").setAttribute("aria-busy", "true");
    return this.ask("generate", "generate", ask, (frame) => {
      frames.push(frame);
      this.running = frames.length <= this.wanted;
      if (frames.length === 1) this.begin(frames);
      if (this.still || !this.playing) this.show(this.at);
      if (this.still && frames.length > this.wanted) this.show(this.wanted);
    });
  }

  /** @param {Frame[]} frames */
  begin(frames) {
    this.frames = frames;
    get("timeline").max = String(this.wanted);
    this.show(0);
    if (!this.still) this.play(0);
  }

  play(from = this.at >= this.wanted ? 0 : this.at) {
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
      this.show(this.at + 1);
    }
    if (this.at >= this.wanted) this.playing = false;
    else requestAnimationFrame((later) => this.tick(later));
  }

  /** Show the images after step `at`. @param {number} at */
  show(at) {
    const known = Math.max(0, Math.min(at, this.frames.length - 1)), frame = this.frames[known];
    if (!frame) return;
    get("timeline").value = String(known);
    const estimate = get("show-x0").getAttribute("aria-pressed") === "true";
    const clean = known >= this.wanted; // the last x; the estimate of x0 is a little older
    showImages(get("grid"), estimate && frame.x0 && !clean ? frame.x0 : frame.x, this.page.image, COLUMNS);
    const what = known === 0 ? "noise" : known >= this.wanted ? "finished"
      : `step ${known} of ${this.wanted}, t = ${frame.t}`;
    get("grid-caption").textContent = what;
    get("grid").setAttribute("aria-label", `${COUNT} generated images: ${what}`);
    get("grid").setAttribute("aria-busy", String(this.running || !clean));
    get("timeline").setAttribute("aria-valuetext", what);
    this.changed();
  }

  /** The command that draws the same images. @param {number} seed @param {any} table */
  command(seed, table) {
    const chosen = this.page.classes.find((/** @type {any} */ own) => own.number === this.label);
    const label = chosen ? chosen.option : this.label === -1 ? "--label none" : "";
    const guidance = this.guidance === 1 ? "" : `--guidance ${this.guidance}`;
    get("generate-command").textContent = [`nanoldm sample ${this.page.model} --rng portable`,
      `--n ${COUNT} --seed ${seed}`, table.options, label, guidance].filter(Boolean).join(" ");
  }

  /** The first image: its latents before the shown step, its label, and the step's timestep. */
  get first() {
    const { latents } = this.frames[0] ?? {};
    if (!latents) return null;
    const next = this.frames[Math.min(this.at + 1, this.frames.length - 1)];
    const frame = this.frames[Math.max(0, Math.min(this.at, this.frames.length - 2))];
    const count = latents.length / COUNT;
    return { latents: frame.latents.slice(0, count), t: next.t ?? this.page.levels.length - 1,
      label: this.frames[0].labels?.[0] ?? -1 };
  }
}

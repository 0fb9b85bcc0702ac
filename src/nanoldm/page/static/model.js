// A model: the networks of the page, and sampling by rows of numbers (nanoldm/page/rows.py).

import { Network } from "./engine.js";
import { normals, randomLabel } from "./noise.js";

/** @typedef {[number, number, number[], number[], number[], number[]]} Row
 *  t, shown, factors of the latest points, of their x0, of their eps, and of new noise
 * @typedef {{rows: Row[], x: Float32Array, seeds: number[], labels: number[], guidance: number,
 *   known?: Known}} Job  default: no labels (-1), guidance 1
 * @typedef {{image: Float32Array, masked: boolean[], covered: boolean[]}} Known */

export class Model {
  /** @param {any} page @param {ArrayBuffer} weights @param {import("./kernels.js").Kernels} kernels */
  constructor(page, weights, kernels) {
    this.page = page;
    this.latent = page.latent.tokens * page.latent.channels; // numbers of one image
    let at = 0;
    const [network, encoder, decoder] = ["network", "encoder", "decoder"].map((name) => {
      const tape = page.tapes[name];
      const parts = tape.precisions.map((/** @type {string} */ precision, /** @type {number} */ k) => {
        const count = tape.slots[tape.weights[k]];
        const part = precision === "f16" ? halves(new Uint16Array(weights, at, count))
          : new Float32Array(weights, at, count);
        at += Math.ceil(count * (precision === "f16" ? 2 : 4) / 4) * 4;
        return part;
      });
      return new Network(tape, kernels, parts);
    });
    this.network = network;
    this.encoder = encoder;
    this.decoder = decoder;
  }

  /** Images (N, C, S, S) in [0, 1] -> latents. @param {Float32Array} images */
  encode(images) {
    return this.encoder.run(images.length / this.pixels, { images });
  }

  /** Latents -> images (N, C, S, S) in [0, 1]. @param {Float32Array} latents */
  decode(latents) {
    return this.decoder.run(latents.length / this.latent, { latents });
  }

  /** Numbers of one image. */
  get pixels() {
    return this.page.image.channels * this.page.image.size ** 2;
  }

  /** One draw of noise for each seed. @param {number[]} seeds @param {number} draw */
  noise(seeds, draw) {
    const found = new Float32Array(seeds.length * this.latent);
    seeds.forEach((seed, k) => found.set(normals(seed, draw, this.latent), k * this.latent));
    return found;
  }

  /** A label for each seed: the given one, or a random one for null.
   * @param {number[]} seeds @param {number | null} label */
  labels(seeds, label) {
    return seeds.map((seed) => (label === null && this.page.choices.length
      ? randomLabel(seed, this.page.choices) : label ?? -1));
  }

  /** The network's output. @param {Float32Array} x @param {number} t @param {number[]} labels
   * @param {Record<string, Float32Array>} [taps] */
  output(x, t, labels, taps) {
    return this.network.run(labels.length, { x, t: [t], label: labels }, taps);
  }

  /** The estimate of x0, with guidance and clamp.
   * @param {Float32Array} x @param {number} t @param {Job} job */
  estimate(x, t, { labels, guidance, known }) {
    const [, , p, q] = this.page.levels[t], limit = this.page.clamp ?? Infinity;
    let output = this.output(x, t, labels);
    if (guidance !== 1) {
      const without = this.output(x, t, labels.map(() => -1));
      output = output.map((value, k) => without[k] + guidance * (value - without[k]));
    }
    const x0 = output.map((value, k) => Math.min(Math.max(p * x[k] + q * value, -limit), limit));
    return known ? this.replace(x0, known) : x0;
  }

  /** The x0 whose known pixels are those of an image, as in nanoldm/editing/inpainting.py.
   * @param {Float32Array} x0 @param {Known} known */
  replace(x0, { image, masked, covered }) {
    const area = masked.length, channels = this.page.latent.channels;
    const pixels = this.decode(x0).map((value, k) => (
      masked[k % area] ? value : image[k % image.length]));
    const latents = this.encode(pixels);
    return x0.map((value, k) => (
      covered[Math.floor((k % this.latent) / channels)] ? latents[k] : value));
  }

  /** Which tokens depend on a known pixel. @param {boolean[]} masked */
  covered(masked) {
    const size = this.page.image.size;
    return this.page.boxes.map((/** @type {number[]} */ [top, bottom, left, right]) => {
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) if (!masked[y * size + x]) return true;
      }
      return false;
    });
  }

  /** After each evaluation: null, or x and the estimate of x0 (made at timestep t) of a step.
   * @param {Omit<Job, "labels" | "guidance"> & Partial<Job>} given */
  * sample(given) {
    const job = { labels: given.seeds.map(() => -1), guidance: 1, ...given };
    const count = job.seeds.length;
    let { x } = job, draw = 1; // draw 0 is x_T
    /** @type {Float32Array[][]} */
    const history = [[], [], []]; // points, x0, eps; the latest first
    /** @type {number[]} */
    const times = [];
    for (const [t, shown, ...factors] of job.rows) {
      const x0 = t < 0 ? new Float32Array(x.length) : this.estimate(x, t, job);
      const [alpha, sigma] = t < 0 ? [0, Infinity] : this.page.levels[t];
      const eps = x0.map((value, k) => (x[k] - alpha * value) / sigma);
      [x, x0, eps].forEach((values, kind) => history[kind].unshift(values));
      times.unshift(t);
      const terms = factors.slice(0, 3).flatMap((own, kind) => (
        own.map((factor, back) => /** @type {const} */ ([factor, history[kind][back]]))));
      for (const factor of factors[3]) terms.push([factor, this.noise(job.seeds, draw++)]);
      x = combine(terms, count * this.latent);
      for (const kind of history) kind.splice(4);
      yield shown ? { t: times[shown - 1], x, x0: history[1][shown - 1] } : null;
    }
  }
}

/** The sum of arrays times factors. @param {(readonly [number, Float32Array])[]} terms
 * @param {number} count @returns {Float32Array} */
export function combine(terms, count) {
  const used = terms.filter(([factor]) => factor !== 0);
  const found = new Float32Array(count);
  for (let k = 0; k < count; k++) {
    let sum = 0; // in float64
    for (const [factor, values] of used) sum += factor * values[k];
    found[k] = sum;
  }
  return found;
}

/** Spherical interpolation (nanoldm/editing/interpolation.py).
 * @param {Float32Array} a @param {Float32Array} b @param {number} share */
export function slerp(a, b, share) {
  let product = 0, aa = 0, bb = 0;
  a.forEach((value, k) => { product += value * b[k]; aa += value ** 2; bb += b[k] ** 2; });
  const angle = Math.acos(Math.min(Math.max(product / Math.sqrt(aa * bb), -1), 1));
  const weights = [1 - share, share].map((part) => (
    Math.sin(angle) < 1e-6 ? part : Math.sin(part * angle) / Math.sin(angle)));
  return combine([[weights[0], a], [weights[1], b]], a.length);
}

/** float16 -> float32. @param {Uint16Array} bits @returns {Float32Array} */
export function halves(bits) {
  const found = new Float32Array(bits.length), powers = Array.from({ length: 32 },
    (_, exponent) => 2 ** (Math.max(exponent, 1) - 25));
  for (let k = 0; k < bits.length; k++) {
    const exponent = (bits[k] >> 10) & 31, fraction = (bits[k] & 1023) + (exponent ? 1024 : 0);
    found[k] = (bits[k] & 0x8000 ? -fraction : fraction) * powers[exponent];
  }
  return found;
}

// The worker: computes what the page asks for, so that the page never waits.

import { compiledKernels, plainKernels } from "./kernels.js";
import { Model, combine, slerp } from "./model.js";

/** @type {Model} */
let model;
/** @type {Map<string, number>} channel -> its latest request; older ones stop */
const latest = new Map();

/** Let the worker read its messages. */
const breathe = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = resolve;
  port2.postMessage(null);
});

/** The answers to a request, one after the other; null lets the worker read its messages.
 * @type {Record<string, (ask: any) => Generator<any, void>>} */
const answers = {
  /** New images by seeds: x, the estimate of x0, and the latents of the first, after each step. */
  * generate({ seeds, label, guidance, rows }) {
    const labels = model.labels(seeds, label), x = model.noise(seeds, 0);
    const frame = (/** @type {any} */ step) => ({ t: step.t, x: pixels(step.x),
      x0: step.x0 && pixels(step.x0), latents: step.x.slice(0, model.latent) });
    yield { ...frame({ x }), label: labels[0] };
    for (const step of model.sample({ rows, x, seeds, labels, guidance })) {
      yield step && frame(step);
    }
  },

  /** The latents of an image, their decoded image, and the image noised to t. */
  * look({ image, t, seed }) {
    const latents = model.encode(image);
    yield { latents, decoded: pixels(latents), noised: pixels(noised(latents, t, [seed])) };
  },

  /** An image noised to t and denoised, once for each seed. */
  * denoise({ image, t, seeds, rows }) {
    const x = noised(repeated(model.encode(image), seeds.length), t, seeds);
    yield* estimates({ rows, x, seeds }, pixels);
  },

  /** The masked pixels of an image, once for each seed. */
  * inpaint({ image, masked, seeds, rows }) {
    const known = { image, masked, covered: model.covered(masked) };
    yield* estimates({ rows, x: model.noise(seeds, 0), seeds, known }, (latents) => pixels(latents).map((value, k) => (
      masked[k % masked.length] ? value : Math.round(255 * image[k % image.length]))));
  },

  /** x_T of a seed, or of an image by inversion. */
  * noiseOf({ seed, image, rows }) {
    yield { x: image ? yield* last(path(model.encode(image), rows)) : model.noise([seed], 0) };
  },

  /** The image between two x_T. */
  * between({ ends, share, rows }) {
    yield { image: pixels(yield* last(path(slerp(ends[0], ends[1], share), rows))) };
  },

  /** What the network computes inside, for one image at timestep t. */
  * inside({ latents, t, label }) {
    /** @type {Record<string, Float32Array>} */
    const taps = {};
    model.output(latents, t, [label], taps);
    yield { taps };
  },

  /** Mean |gate| of each block at every timestep. */
  * gates({ label }) {
    const names = Object.keys(model.page.tapes.network.taps).filter((name) => name.startsWith("gate"));
    /** @type {Record<string, number[]>} */
    const found = Object.fromEntries(names.map((name) => [name, []]));
    for (let t = 0; names.length && t < model.page.levels.length; t++) {
      /** @type {Record<string, Float32Array>} */
      const taps = {};
      model.output(new Float32Array(model.latent), t, [label], taps);
      for (const name of names) {
        found[name].push(taps[name].reduce((sum, value) => sum + Math.abs(value), 0) / taps[name].length);
      }
      yield null;
    }
    yield { gates: found };
  },
};

/** Decoded images in 0 ... 255. @param {Float32Array} latents */
const pixels = (latents) => Uint8ClampedArray.from(model.decode(latents), (value) => Math.round(255 * value));

/** One image without label and guidance, from x on. @param {Float32Array} x @param {any} rows */
const path = (x, rows) => model.sample({ rows, x, seeds: [0] });

/** The last x of a run; nothing is shown before. @param {Generator<any>} run */
function* last(run) {
  let x;
  for (const step of run) {
    if (step) x = step.x;
    yield null;
  }
  return x;
}

/** The images of the estimates of x0 after each step, then the images.
 * @param {Parameters<Model["sample"]>[0]} job @param {(latents: Float32Array) => any} shown */
function* estimates(job, shown) {
  let { x } = job;
  for (const step of model.sample(job)) {
    if (step) x = step.x;
    yield step && { images: shown(step.x0) };
  }
  yield { images: shown(x) };
}

/** x_t = alpha x0 + sigma eps. @param {Float32Array} x0 @param {number} t @param {number[]} seeds */
function noised(x0, t, seeds) {
  const [alpha, sigma] = model.page.levels[t];
  return combine([[alpha, x0], [sigma, model.noise(seeds, 0)]], x0.length);
}

/** @param {Float32Array} values @param {number} count */
function repeated(values, count) {
  return Float32Array.from({ length: count * values.length }, (_, k) => values[k % values.length]);
}

/** @param {{id: number, channel: string, kind: string, ask: any}} request */
async function answer({ id, channel, kind, ask }) {
  latest.set(channel, id);
  await breathe();
  for (const part of answers[kind](ask)) {
    if (latest.get(channel) !== id) return;
    if (part) postMessage({ id, part });
    await breathe();
  }
  if (latest.get(channel) === id) postMessage({ id, done: true });
}

/** @param {{page: any, weights: ArrayBuffer, code: Uint8Array | null}} start */
function begin({ page, weights, code }) {
  let kernels = plainKernels(), reason = "this page was opened without WebAssembly";
  if (code) {
    try {
      kernels = compiledKernels(code);
    } catch (error) {
      reason = String(error);
    }
  }
  model = new Model(page, weights, kernels);
  postMessage({ ready: true, simd: kernels.simd, reason });
}

onmessage = ({ data }) => {
  if (data.page) begin(data);
  else answer(data).catch((error) => postMessage({ id: data.id, error: String(error.stack || error) }));
};

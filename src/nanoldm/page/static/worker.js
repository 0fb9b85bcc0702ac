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

/** The answers to a request, one after the other. @type {Record<string, (ask: any) => any>} */
const answers = {
  /** New images by seeds, or of given latents x: the images of x and x0 after each step. */
  * generate({ seeds, label, guidance, rows, x }) {
    const labels = model.labels(seeds, label);
    x ??= model.noise(seeds, 0);
    yield { x: model.decode(x), latents: x, labels };
    for (const step of model.sample({ rows, x, seeds, labels, guidance, draw: 1 })) {
      yield { t: step.t, x: model.decode(step.x), x0: model.decode(step.x0), latents: step.x };
    }
  },

  /** The latents of an image, their decoded image, and the image noised to t. */
  * look({ image, t, seed }) {
    const latents = model.encode(image);
    yield { latents, decoded: model.decode(latents), noised: model.decode(noised(latents, t, [seed])) };
  },

  /** An image noised to t and denoised, once for each seed. */
  * denoise({ image, t, seeds, label, guidance, rows }) {
    const labels = model.labels(seeds, label ?? -1), latents = model.encode(image);
    const x = noised(repeated(latents, seeds.length), t, seeds);
    let last = x;
    for (const step of model.sample({ rows, x, seeds, labels, guidance, draw: 1 })) {
      yield { images: model.decode(step.x0) };
      last = step.x;
    }
    yield { images: model.decode(last) };
  },

  /** The unknown pixels of an image, once for each seed. */
  * inpaint({ image, unknown, seeds, label, guidance, rows }) {
    const labels = model.labels(seeds, label ?? -1);
    const known = { image, unknown, covered: model.covered(unknown) };
    const job = { rows, x: model.noise(seeds, 0), seeds, labels, guidance, draw: 1, known };
    const pasted = (/** @type {Float32Array} */ latents) => model.decode(latents).map((value, k) => (
      unknown[k % unknown.length] ? value : image[k % image.length]));
    let last = job.x;
    for (const step of model.sample(job)) {
      yield { images: pasted(step.x0) };
      last = step.x;
    }
    yield { images: pasted(last) };
  },

  /** x_T of a seed, or of an image by inversion. */
  * noiseOf({ seed, image, rows }) {
    let x = image ? model.encode(image) : model.noise([seed], 0);
    if (image) {
      const job = { rows, x, seeds: [0], labels: [-1], guidance: 1, draw: 1 };
      for (const step of model.sample(job)) {
        x = step.x;
        yield null;
      }
    }
    yield { x };
  },

  /** The image between two x_T. */
  * between({ ends, share, label, rows }) {
    const x = share === 0 ? ends[0] : share === 1 ? ends[1] : slerp(ends[0], ends[1], share);
    const job = { rows, x, seeds: [0], labels: [label ?? -1], guidance: 1, draw: 1 };
    let last = x;
    for (const step of model.sample(job)) {
      last = step.x;
      yield null;
    }
    yield { image: model.decode(last) };
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

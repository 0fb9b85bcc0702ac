// The interpreter of a tape (nanoldm/page/tape.py lists the operations and the form of operands).

import { loop, operations, volume } from "./operations.js";

/** @typedef {import("./kernels.js").Kernels} Kernels */
/** @typedef {[number, number, number[], number[]]} Operand  slot, offset, shape, strides */
/** @typedef {{at: number, shape: number[], strides: number[]}} View  at: a pointer */

const ALIGNED = 4; // floats: 16 bytes

/** A network on a memory: its weights stay there, its other arrays share the rest. */
export class Network {
  /** @param {any} tape @param {Kernels} kernels @param {Float32Array[]} weights */
  constructor(tape, kernels, weights) {
    this.tape = tape;
    this.kernels = kernels;
    /** @type {Map<string, {base: number, places: number[], steps: (() => void)[]}>} */
    this.plans = new Map();
    /** @type {Map<number, number>} slot -> pointer */
    this.weights = new Map();
    tape.weights.forEach((/** @type {number} */ slot, /** @type {number} */ k) => {
      this.weights.set(slot, kernels.start);
      kernels.reserve(kernels.start + weights[k].length);
      kernels.floats.set(weights[k], kernels.start);
      kernels.start += aligned(weights[k].length);
    });
  }

  /** The output for a batch.
   * @param {number} batch @param {Record<string, ArrayLike<number>>} inputs
   * @param {Record<string, Float32Array>} [taps]  receives copies of the named arrays of the tape
   * @returns {Float32Array} */
  run(batch, inputs, taps) {
    const { places, steps } = this.plan(batch, !!taps);
    const { tape, kernels } = this;
    const view = (/** @type {Operand} */ operand) => resolve(operand, batch, places);
    for (const [name, operand] of Object.entries(tape.inputs)) {
      kernels.floats.set(inputs[name], view(/** @type {Operand} */ (operand)).at);
    }
    for (const step of steps) step();
    if (taps) for (const name of Object.keys(tape.taps)) taps[name] = this.copy(view(tape.taps[name]));
    return this.copy(view(tape.output));
  }

  /** @param {View} view @returns {Float32Array} */
  copy(view) {
    const found = new Float32Array(volume(view.shape));
    let k = 0;
    const flat = loop(view.shape, [view]);
    flat.each(([at]) => {
      for (let i = 0; i < flat.count; i++) found[k++] = this.kernels.floats[at + i * flat.inner[0]];
    });
    return found;
  }

  /** The operations for a batch, with their arrays in places.
   * @param {number} batch @param {boolean} tapped  whether the taps are kept to the end */
  plan(batch, tapped) {
    const key = `${batch} ${tapped}`, known = this.plans.get(key);
    if (known && known.base === this.kernels.start) return known;
    const { tape, kernels } = this;
    const kept = [tape.output, ...(tapped ? Object.values(tape.taps) : [])];
    const [places, end] = arrange(tape, batch, this.weights, kernels.start, lastUses(tape, kept));
    kernels.reserve(end);
    const steps = tape.operations.map((/** @type {any[]} */ [name, ...parts]) => operations[name](
      kernels, ...parts.map((part) => (Array.isArray(part) ? resolve(part, batch, places) : part))));
    const plan = { base: kernels.start, places, steps };
    this.plans.set(key, plan);
    return plan;
  }
}

/** @param {number} count */
const aligned = (count) => Math.ceil(count / ALIGNED) * ALIGNED;

/** A number of the tape for a batch: negative ones are multiples of it.
 * @param {number} number @param {number} batch */
const scaled = (number, batch) => (number < 0 ? -number * batch : number);

/** @param {any} operand @param {number} batch @param {number[]} places @returns {View} */
function resolve([slot, offset, shape, strides], batch, places) {
  const sized = (/** @type {number[]} */ numbers) => numbers.map((number) => scaled(number, batch));
  return { at: places[slot] + scaled(offset, batch), shape: sized(shape), strides: sized(strides) };
}

/** A place for every slot, and the end of all. A slot keeps its place from its first operation to
 * its last; then another slot may have it.
 * @param {any} tape @param {number} batch @param {Map<number, number>} weights @param {number} base
 * @param {Map<number, number>} last  of `lastUses`
 * @returns {[number[], number]} */
function arrange(tape, batch, weights, base, last) {
  /** @type {number[]} */
  const places = [];
  /** @type {[number, number][]} the free gaps: [start, end] */
  let gaps = [[base, Infinity]];
  let end = base;
  const take = (/** @type {number} */ slot) => {
    if (places[slot] !== undefined) return;
    if (weights.has(slot)) return void (places[slot] = weights.get(slot));
    const count = aligned(scaled(tape.slots[slot], batch));
    const gap = gaps.find(([from, to]) => to - from >= count);
    places[slot] = gap[0];
    gap[0] += count;
    end = Math.max(end, gap[0]);
  };
  for (const [slot] of Object.values(tape.inputs)) take(slot);
  tape.operations.forEach((/** @type {any[]} */ parts, /** @type {number} */ k) => {
    const slots = new Set(parts.filter(Array.isArray).map(([slot]) => slot));
    slots.forEach(take);
    for (const slot of slots) {
      if (weights.has(slot) || last.get(slot) !== k) continue;
      gaps.push([places[slot], places[slot] + aligned(scaled(tape.slots[slot], batch))]);
    }
    gaps = merged(gaps);
  });
  return [places, end];
}

/** @param {[number, number][]} gaps @returns {[number, number][]} */
function merged(gaps) {
  /** @type {[number, number][]} */
  const found = [];
  for (const [from, to] of gaps.sort((a, b) => a[0] - b[0])) {
    const before = found[found.length - 1];
    if (before && before[1] === from) before[1] = to;
    else if (to > from) found.push([from, to]);
  }
  return found;
}

/** The last operation that needs each slot; those of the operands `kept` are needed after all.
 * @param {any} tape @param {Operand[]} kept @returns {Map<number, number>} */
function lastUses(tape, kept) {
  const last = new Map();
  tape.operations.forEach((/** @type {any[]} */ parts, /** @type {number} */ k) => {
    for (const part of parts) if (Array.isArray(part)) last.set(part[0], k);
  });
  for (const [slot] of kept) last.set(slot, Infinity);
  return last;
}

// Loads a page's model as its worker does.

import fs from "node:fs";

import { compiledKernels, plainKernels } from "../../src/nanoldm/page/static/kernels.js";
import { Model } from "../../src/nanoldm/page/static/model.js";

export const vectors = JSON.parse(fs.readFileSync(process.env.VECTORS, "utf8"));

const code = fs.readFileSync(new URL("../../src/nanoldm/page/static/kernels.wasm", import.meta.url));

export const kernels = { compiled: () => compiledKernels(code), plain: plainKernels };

/** @param {string} file @param {"compiled" | "plain"} kind */
export function loadModel(file, kind) {
  const text = fs.readFileSync(file, "utf8");
  const part = (id) => text.split(`id="${id}">`)[1].split("</script>")[0];
  const bytes = Buffer.from(part("weights"), "base64");
  const weights = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  return new Model(JSON.parse(part("page")), weights, kernels[kind]());
}

/** The largest difference. */
export function difference(found, expected) {
  if (found.length !== expected.length) return Infinity;
  return found.reduce((most, value, k) => Math.max(most, Math.abs(value - expected[k])), 0);
}

export const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

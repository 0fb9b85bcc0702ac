// Starts the page.

import { Between } from "./between.js";
import { startWorker } from "./client.js";
import { get } from "./dom.js";
import { Draw } from "./draw.js";
import { Generate } from "./generate.js";
import { Inside } from "./inside.js";

/** @param {string} id @returns {Uint8Array} the bytes of an element's base64 */
function bytes(id) {
  const text = atob(get(id).textContent.trim()), found = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) found[k] = text.charCodeAt(k);
  return found;
}

async function start() {
  const page = JSON.parse(get("page").textContent);
  for (const [name, value] of page.facts) {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    get("facts").append(term, text);
  }
  const weights = bytes("weights").buffer;
  const plain = new URLSearchParams(location.hash.slice(1)).has("plain"); // to try the fallback
  const { ask, simd, reason } = await startWorker(get("worker").textContent, page, weights,
    plain ? null : bytes("kernels"));
  get("status").textContent = simd ? `Ready: ${page.summary}.`
    : `Ready: ${page.summary}. Slower here, in plain JavaScript: ${reason}.`;
  /** @type {Inside} */
  let inside;
  const generate = new Generate(page, ask, () => inside?.changed());
  inside = new Inside(page, ask, generate);
  const draw = new Draw(page, ask);
  const between = new Between(page, ask, () => draw.image);
  document.body.dataset.ready = "true";
  draw.update();
  await generate.run();
  await draw.example();
  await between.run();
}

addEventListener("unhandledrejection", ({ reason }) => {
  get("status").textContent = `Something failed: ${reason.message}`;
});
start();

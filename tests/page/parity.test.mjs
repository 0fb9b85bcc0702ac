// The page's arithmetic against vectors that Python has computed (test_engine.py writes them).

import assert from "node:assert/strict";
import { test } from "node:test";

import { Network } from "../../src/nanoldm/page/static/engine.js";
import { halves, slerp } from "../../src/nanoldm/page/static/model.js";
import { normals, philox, randomLabel } from "../../src/nanoldm/page/static/noise.js";
import { difference, kernels, largest, loadModel, vectors } from "./harness.mjs";

const array = (values) => Float32Array.from(values);

test("the generator gives the words of its authors and the numbers of Python", () => {
  for (const [counter, key, words] of vectors.philox) assert.deepEqual(philox(counter, key), words);
  for (const [seed, draw, values] of vectors.normals) {
    assert.ok(difference(normals(seed, draw, values.length), values) <= 1e-7 * largest(values));
  }
  for (const [seed, choices, label] of vectors.labels) assert.equal(randomLabel(seed, choices), label);
});

test("float16 is widened exactly", () => {
  const [bits, values] = vectors.halves;
  assert.deepEqual([...halves(Uint16Array.from(bits))], values);
});

test("spherical interpolation is Python's", () => {
  const { a, b, between } = vectors.slerp;
  for (const [share, values] of between) {
    assert.ok(difference(slerp(array(a), array(b), share), values) < 1e-6);
  }
});

for (const kind of ["compiled", "plain"]) {
  test(`every operation is torch's, ${kind}`, () => {
    for (const { name, tape, weights, cases } of vectors.operations) {
      const network = new Network(tape, kernels[kind](), weights.map(array));
      for (const { batch, inputs, output } of [...cases, ...cases]) { // twice: the memory is used again
        const found = network.run(batch, inputs);
        const error = difference(found, output) / Math.max(largest(output), 1e-9);
        assert.ok(error < 2e-6, `${name}, batch ${batch}: ${error}`);
      }
    }
  });

  for (const { name, file, bounds, passes, images, trajectories } of vectors.models) {
    const model = loadModel(file, kind);

    test(`one pass, encoder and decoder of ${name}, ${kind}`, () => {
      for (const { x, t, labels, output } of passes) {
        const error = difference(model.output(array(x), t, labels), output);
        assert.ok(error < bounds.pass, `t = ${t}: ${error}`);
      }
      const latents = model.encode(array(images.pixels));
      assert.ok(difference(latents, images.latents) < 1e-4);
      assert.ok(difference(model.decode(array(images.latents)), images.decoded) < 1e-4);
    });

    for (const { what, job, steps, last } of trajectories) {
      test(`${what} of ${name}, ${kind}`, () => {
        const rows = job.table.reduce((found, key) => found[key], model.page).rows;
        const labels = job.labels ?? model.labels(job.seeds, null);
        const x = job.x ? array(job.x) : model.noise(job.seeds, 0);
        const known = job.masked && { image: array(images.pixels.slice(0, model.pixels)),
          masked: job.masked, covered: model.covered(job.masked) };
        const found = [...model.sample({ rows, x, seeds: job.seeds, labels, known,
          guidance: job.guidance ?? 1 })].filter(Boolean);
        assert.equal(found.length, steps.length);
        found.forEach((step, k) => {
          for (const part of ["x", "x0"]) {
            if (!steps[k][part]) continue;
            const error = difference(step[part], steps[k][part]);
            assert.ok(error < bounds.trajectory, `step ${k}, ${part}: ${error}`);
          }
        });
        if (!last) return;
        const images8 = model.decode(found[found.length - 1].x).map((value) => Math.round(255 * value));
        const wrong = images8.filter((value, k) => Math.abs(value - last[k]) > 1).length;
        assert.ok(wrong <= 0.001 * last.length, `${wrong} of ${last.length} pixels`);
      });
    }
  }
}

// The operations of a tape. Each takes the arrays once and returns a function that computes.

/** @typedef {import("./kernels.js").Kernels} Kernels */
/** @typedef {import("./engine.js").View} View */

/** The number of elements. @param {number[]} shape */
export const volume = (shape) => shape.reduce((a, b) => a * b, 1);

/** A loop over arrays of one shape; the axes that can be are merged into one.
 * each(f) calls f with the pointers of each innermost run of `count` elements, which have the
 * strides `inner`.
 * @param {number[]} shape @param {View[]} views */
export function loop(shape, views) {
  /** @type {number[]} */
  const sizes = [];
  /** @type {number[][]} */
  const steps = [];
  shape.forEach((size, axis) => {
    if (size === 1) return;
    const stride = views.map((view) => {
      const own = axis - (shape.length - view.shape.length); // shapes are aligned at their ends
      return own < 0 || view.shape[own] === 1 ? 0 : view.strides[own];
    });
    const before = steps[steps.length - 1];
    if (before && before.every((step, k) => step === stride[k] * size)) {
      sizes[sizes.length - 1] *= size;
      steps[steps.length - 1] = stride;
    } else {
      sizes.push(size);
      steps.push(stride);
    }
  });
  const count = sizes.pop() ?? 1, inner = steps.pop() ?? views.map(() => 0);
  const total = volume(sizes);
  /** @param {(at: number[]) => void} f */
  function each(f) {
    const at = views.map((view) => view.at), index = sizes.map(() => 0);
    for (let n = 0; n < total; n++) {
      f(at);
      for (let axis = sizes.length - 1; axis >= 0; axis--) {
        index[axis]++;
        for (let k = 0; k < at.length; k++) at[k] += steps[axis][k];
        if (index[axis] < sizes[axis]) break;
        for (let k = 0; k < at.length; k++) at[k] -= steps[axis][k] * sizes[axis];
        index[axis] = 0;
      }
    }
  }
  return { count, inner, each };
}

const sigmoid = (/** @type {number} */ x) => 1 / (1 + Math.exp(-x));

/** @type {Record<string, (x: number) => number>} */
const UNARY = {
  sin: Math.sin, cos: Math.cos, exp: Math.exp, log: Math.log, neg: (x) => -x,
  sigmoid, tanh: Math.tanh, relu: (x) => Math.max(x, 0), silu: (x) => x * sigmoid(x),
  sqrt: Math.sqrt, rsqrt: (x) => 1 / Math.sqrt(x), abs: Math.abs, reciprocal: (x) => 1 / x,
};

/** The innermost loops of two arrays, written out: one with a call for each element is slower.
 * @type {Record<string, (f: Float32Array, n: number, at: number[], by: number[]) => void>} */
const BINARY = {
  add(f, n, [o, a, b], [so, sa, sb]) {
    for (let i = 0; i < n; i++) f[o + i * so] = f[a + i * sa] + f[b + i * sb];
  },
  sub(f, n, [o, a, b], [so, sa, sb]) {
    for (let i = 0; i < n; i++) f[o + i * so] = f[a + i * sa] - f[b + i * sb];
  },
  mul(f, n, [o, a, b], [so, sa, sb]) {
    for (let i = 0; i < n; i++) f[o + i * so] = f[a + i * sa] * f[b + i * sb];
  },
  div(f, n, [o, a, b], [so, sa, sb]) {
    for (let i = 0; i < n; i++) f[o + i * so] = f[a + i * sa] / f[b + i * sb];
  },
  pow(f, n, [o, a, b], [so, sa, sb]) {
    for (let i = 0; i < n; i++) f[o + i * so] = f[a + i * sa] ** f[b + i * sb];
  },
};

/** @type {Record<string, (kernels: Kernels, ...parts: any[]) => () => void>} */
export const operations = {
  /** out = f(a) or f(a, b), element by element.
   * @param {Kernels} kernels @param {View} out @param {string} name @param {View} a
   * @param {View} [b] */
  map(kernels, out, name, a, b) {
    const run = loop(out.shape, b === undefined ? [out, a] : [out, a, b]);
    if (b !== undefined) {
      return () => run.each((at) => BINARY[name](kernels.floats, run.count, at, run.inner));
    }
    if (name === "gelu") { // the tape has contiguous arrays here
      return () => kernels.gelu(out.at, a.at, run.count);
    }
    const f = UNARY[name], [so, sa] = run.inner;
    if (name === "copy") {
      return () => run.each(([o, from]) => {
        const floats = kernels.floats;
        for (let i = 0; i < run.count; i++) floats[o + i * so] = floats[from + i * sa];
      });
    }
    return () => run.each(([o, from]) => {
      const floats = kernels.floats;
      for (let i = 0; i < run.count; i++) floats[o + i * so] = f(floats[from + i * sa]);
    });
  },

  /** out (..., M, N) = a (..., M, K) b (..., K, N) + bias.
   * @param {Kernels} kernels @param {View} out @param {View} a @param {View} b
   * @param {View | null} bias */
  matmul(kernels, out, a, b, bias) {
    const [M, K] = a.shape.slice(-2), N = b.shape[b.shape.length - 1];
    const batch = a.shape.length === 3 ? a.shape[0] : 1;
    return () => {
      for (let k = 0; k < batch; k++) {
        kernels.matmul(out.at + k * M * N, a.at + k * M * K, b.at + k * K * N, bias ? bias.at : 0,
          M, K, N);
      }
    };
  },

  /** @param {Kernels} kernels @param {View} out @param {View} a */
  softmax(kernels, out, a) {
    const n = a.shape[a.shape.length - 1], rows = volume(a.shape) / n;
    return () => kernels.softmax(out.at, a.at, rows, n);
  },

  /** (a - mean) / sqrt(variance + eps) weight + bias, of the last axis.
   * @param {Kernels} kernels @param {View} out @param {View} a @param {View | null} weight
   * @param {View | null} bias @param {number} eps */
  norm(kernels, out, a, weight, bias, eps) {
    const n = a.shape[a.shape.length - 1], rows = volume(a.shape) / n;
    return () => {
      const f = kernels.floats;
      for (let row = 0, x = a.at, y = out.at; row < rows; row++, x += n, y += n) {
        let sum = 0, squares = 0;
        for (let k = 0; k < n; k++) sum += f[x + k];
        const mean = sum / n;
        for (let k = 0; k < n; k++) squares += (f[x + k] - mean) ** 2;
        const scale = 1 / Math.sqrt(squares / n + eps);
        for (let k = 0; k < n; k++) {
          const value = (f[x + k] - mean) * scale;
          f[y + k] = value * (weight ? f[weight.at + k] : 1) + (bias ? f[bias.at + k] : 0);
        }
      }
    };
  },

  /** Rows of a matrix by their numbers.
   * @param {Kernels} kernels @param {View} out @param {View} matrix @param {View} numbers */
  rows(kernels, out, matrix, numbers) {
    const width = matrix.shape[1], count = volume(numbers.shape);
    return () => {
      for (let k = 0; k < count; k++) {
        const from = matrix.at + kernels.floats[numbers.at + k] * width;
        kernels.floats.copyWithin(out.at + k * width, from, from + width);
      }
    };
  },

  /** A convolution as a product: the columns hold the pixels under the kernel at each place.
   * @param {Kernels} kernels @param {View} out @param {View} x @param {View} weight
   * @param {View | null} bias @param {View} columns @param {number} kernel @param {number} stride
   * @param {number} padding */
  conv(kernels, out, x, weight, bias, columns, kernel, stride, padding) {
    const [batch, outputs, height, width] = out.shape, [, channels, rows, across] = x.shape;
    const places = height * width, taps = channels * kernel * kernel;
    const pairs = pixels(channels, rows, across, height, width, kernel, stride, padding);
    return () => {
      for (let k = 0; k < batch; k++) {
        const image = x.at + k * channels * rows * across, to = out.at + k * outputs * places;
        kernels.floats.fill(0, columns.at, columns.at + taps * places);
        const floats = kernels.floats, at = columns.at;
        for (let n = 0; n < pairs.length; n += 2) {
          floats[at + pairs[n + 1]] = floats[image + pairs[n]];
        }
        kernels.matmul(to, weight.at, columns.at, 0, outputs, taps, places);
        if (bias) addBias(kernels.floats, to, bias.at, outputs, places);
      }
    };
  },

  /** The transposed convolution: the product gives the columns, which are added up.
   * @param {Kernels} kernels @param {View} out @param {View} x @param {View} weight
   * @param {View | null} bias @param {View} columns @param {number} kernel @param {number} stride
   * @param {number} padding */
  conv_transpose(kernels, out, x, weight, bias, columns, kernel, stride, padding) {
    const [batch, outputs, rows, across] = out.shape, [, channels, height, width] = x.shape;
    const places = height * width, taps = outputs * kernel * kernel;
    const pairs = pixels(outputs, rows, across, height, width, kernel, stride, padding);
    return () => {
      for (let k = 0; k < batch; k++) {
        const image = out.at + k * outputs * rows * across;
        kernels.matmul(columns.at, weight.at, x.at + k * channels * places, 0, taps, channels, places);
        kernels.floats.fill(0, image, image + outputs * rows * across);
        const floats = kernels.floats, at = columns.at;
        for (let n = 0; n < pairs.length; n += 2) {
          floats[image + pairs[n]] += floats[at + pairs[n + 1]];
        }
        if (bias) addBias(kernels.floats, image, bias.at, outputs, rows * across);
      }
    };
  },
};

/** @param {Float32Array} f @param {number} image @param {number} bias @param {number} channels
 * @param {number} count */
function addBias(f, image, bias, channels, count) {
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < count; i++) f[image + c * count + i] += f[bias + c];
  }
}

/** All pairs of a pixel of an image (channels, rows, across) and an element of its columns
 * (channels kernel^2, height width), one after the other.
 * @returns {Int32Array} */
function pixels(/** @type {number} */ channels, /** @type {number} */ rows,
  /** @type {number} */ across, /** @type {number} */ height, /** @type {number} */ width,
  /** @type {number} */ kernel, /** @type {number} */ stride, /** @type {number} */ padding) {
  const found = [];
  let column = 0;
  for (let c = 0; c < channels; c++) {
    for (let u = 0; u < kernel; u++) {
      for (let v = 0; v < kernel; v++) {
        for (let i = 0; i < height; i++) {
          for (let j = 0; j < width; j++, column++) {
            const y = i * stride + u - padding, x = j * stride + v - padding;
            if (y >= 0 && y < rows && x >= 0 && x < across) {
              found.push((c * rows + y) * across + x, column);
            }
          }
        }
      }
    }
  }
  return Int32Array.from(found);
}

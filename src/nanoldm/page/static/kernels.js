// The operations that take most of the time, on one memory of float32. A pointer counts floats.

/** @typedef {{floats: Float32Array, start: number, simd: boolean,
 *   reserve: (count: number) => void,
 *   matmul: (c: number, a: number, b: number, bias: number, M: number, K: number, N: number) => void,
 *   softmax: (y: number, x: number, rows: number, n: number) => void,
 *   gelu: (y: number, x: number, count: number) => void}} Kernels
 * `start` is the first free float. A bias of 0 means none. `reserve` makes the memory larger. */

const PAGE = 65536; // bytes of a page of WebAssembly memory; floats without it

/** The kernels of kernels.wasm. Throws an error where the browser has no WebAssembly SIMD.
 * @param {Uint8Array} code @returns {Kernels} */
export function compiledKernels(code) {
  const made = new WebAssembly.Instance(new WebAssembly.Module(code));
  const { memory, matmul, softmax, gelu, __heap_base: heap } = /** @type {any} */ (made.exports);
  const kernels = {
    floats: new Float32Array(memory.buffer), start: Math.ceil(heap.value / 16) * 4, simd: true,
    reserve(count) {
      const missing = Math.ceil((4 * count - memory.buffer.byteLength) / PAGE);
      if (missing <= 0) return;
      memory.grow(missing);
      kernels.floats = new Float32Array(memory.buffer);
    },
    matmul: (c, a, b, bias, M, K, N) => matmul(4 * c, 4 * a, 4 * b, 4 * bias, M, K, N),
    softmax: (y, x, rows, n) => softmax(4 * y, 4 * x, rows, n),
    gelu: (y, x, count) => gelu(4 * y, 4 * x, count),
  };
  return kernels;
}

/** The same in plain JavaScript. @returns {Kernels} */
export function plainKernels() {
  const kernels = {
    floats: new Float32Array(PAGE), start: 4, simd: false,
    reserve(count) {
      if (count <= kernels.floats.length) return;
      const larger = new Float32Array(count);
      larger.set(kernels.floats);
      kernels.floats = larger;
    },
    matmul: (c, a, b, bias, M, K, N) => matmul(kernels.floats, c, a, b, bias, M, K, N),
    softmax: (y, x, rows, n) => softmax(kernels.floats, y, x, rows, n),
    gelu(y, x, count) {
      for (let k = 0; k < count; k++) {
        const value = kernels.floats[x + k];
        kernels.floats[y + k] = value * (1 + erf(value / Math.SQRT2)) / 2;
      }
    },
  };
  return kernels;
}

/** c (M, N) = a (M, K) b (K, N) + bias. Four rows of b at a time: c is read and written less.
 * @param {Float32Array} f */
function matmul(f, c, a, b, bias, M, K, N) {
  for (let i = 0; i < M; i++) {
    const row = c + i * N;
    if (bias) f.copyWithin(row, bias, bias + N);
    else f.fill(0, row, row + N);
    let k = 0;
    for (; k + 4 <= K; k += 4) {
      const p = a + i * K + k, q = b + k * N;
      const a0 = f[p], a1 = f[p + 1], a2 = f[p + 2], a3 = f[p + 3];
      for (let j = 0; j < N; j++) {
        f[row + j] += a0 * f[q + j] + a1 * f[q + N + j] + a2 * f[q + 2 * N + j]
          + a3 * f[q + 3 * N + j];
      }
    }
    for (; k < K; k++) {
      const value = f[a + i * K + k], q = b + k * N;
      for (let j = 0; j < N; j++) f[row + j] += value * f[q + j];
    }
  }
}

/** @param {Float32Array} f */
function softmax(f, y, x, rows, n) {
  for (let i = 0; i < rows; i++, y += n, x += n) {
    let most = -Infinity, sum = 0;
    for (let k = 0; k < n; k++) most = Math.max(most, f[x + k]);
    for (let k = 0; k < n; k++) sum += f[y + k] = Math.exp(f[x + k] - most);
    for (let k = 0; k < n; k++) f[y + k] /= sum;
  }
}

/** Formula 7.1.26 of Abramowitz and Stegun (1964), with an error of at most 1.5e-7.
 * @param {number} x @returns {number} */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t
    + 0.254829592) * t;
  return Math.sign(x) * (1 - p * Math.exp(-x * x));
}

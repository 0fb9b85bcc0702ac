// Random numbers that Python and the browser draw alike (nanoldm/utils/noise.py).

/** Philox4x32-10 (Salmon et al. 2011): a counter and a key, four and two uint32 -> four uint32.
 * @param {number[]} counter @param {number[]} key @returns {number[]} */
export function philox(counter, key) {
  let [a, b, c, d] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xD2511F53, a);
    const [high1, low1] = multiply(0xCD9E8D57, c);
    [a, b, c, d] = [(high1 ^ b ^ k0) >>> 0, low1, (high0 ^ d ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9E3779B9) >>> 0;
    k1 = (k1 + 0xBB67AE85) >>> 0;
  }
  return [a, b, c, d];
}

/** The upper and lower 32 bits of a product of two uint32.
 * @param {number} a @param {number} b @returns {[number, number]} */
function multiply(a, b) {
  const aLow = a & 0xffff, aHigh = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  const high = aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(other / 65536);
  return [high >>> 0, Math.imul(a, b) >>> 0];
}

/** The two words of a seed up to 2^53. @param {number} seed @returns {number[]} */
const words = (seed) => [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];

/** Draw number `draw` of an image: `count` numbers from N(0, 1), by Box and Muller.
 * @param {number} seed @param {number} draw @param {number} count @returns {Float32Array} */
export function normals(seed, draw, count) {
  const found = new Float32Array(count);
  for (let k = 0; k < count; k += 4) {
    const bits = philox([k / 4, draw, 0, 0], words(seed));
    for (let pair = 0; pair < 4 && k + pair < count; pair += 2) {
      const radius = Math.sqrt(-2 * Math.log((bits[pair] + 1) / 2 ** 32));
      const angle = 2 * Math.PI * (bits[pair + 1] / 2 ** 32);
      found[k + pair] = radius * Math.cos(angle);
      if (k + pair + 1 < count) found[k + pair + 1] = radius * Math.sin(angle);
    }
  }
  return found;
}

/** The label of an image of a model that chooses it at random: one of `choices`.
 * @param {number} seed @param {number[]} choices @returns {number} */
export function randomLabel(seed, choices) {
  const [bits] = philox([0, 0, 1, 0], words(seed)); // 1: Stream.LABEL
  return choices[Math.floor((bits / 2 ** 32) * choices.length)];
}

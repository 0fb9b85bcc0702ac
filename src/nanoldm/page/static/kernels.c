/* The three operations that take most of the time, in WebAssembly SIMD. Build (clang and lld):
 *
 *   clang --target=wasm32 -O3 -msimd128 -fno-builtin -nostdlib -Wl,--no-entry \
 *     -Wl,-z,stack-size=8192 -Wl,--export=__heap_base -o kernels.wasm kernels.c
 *
 * kernels.js has the same operations in plain JavaScript; tests/page compares the two.
 */
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name))) void name
#define LOAD(p) wasm_v128_load(p)
#define ADD(x, y) wasm_f32x4_add(x, y)
#define MUL(x, y) wasm_f32x4_mul(x, y)
#define SPLAT(x) wasm_f32x4_splat(x)

/* A tile of 4 rows and 8 columns of c = a b + bias: its sums stay in registers. The rows of b lie
 * `step` floats apart. */
static void tile(float *c, const float *a, const float *b, const float *bias, int K, int N, int step) {
  v128_t sum[4][2];
  for (int j = 0; j < 2; j++) {
    v128_t start = bias ? LOAD(bias + 4 * j) : SPLAT(0);
    for (int i = 0; i < 4; i++) sum[i][j] = start;
  }
  for (int k = 0; k < K; k++) {
    v128_t b0 = LOAD(b + k * step), b1 = LOAD(b + k * step + 4);
    for (int i = 0; i < 4; i++) {
      v128_t x = wasm_v128_load32_splat(a + i * K + k);
      sum[i][0] = ADD(sum[i][0], MUL(x, b0));
      sum[i][1] = ADD(sum[i][1], MUL(x, b1));
    }
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++) wasm_v128_store(c + i * N + 4 * j, sum[i][j]);
}

/* 1 row and 4 columns. */
static void strip(float *c, const float *a, const float *b, const float *bias, int K, int N) {
  v128_t sum = bias ? LOAD(bias) : SPLAT(0);
  for (int k = 0; k < K; k++)
    sum = ADD(sum, MUL(wasm_v128_load32_splat(a + k), LOAD(b + k * N)));
  wasm_v128_store(c, sum);
}

/* 8 columns of b in a row: columns of a wide matrix are far apart and crowd each other out of the
 * cache. */
#define DEEPEST 4096
static float panel[8 * DEEPEST];

/* c (M, N) = a (M, K) b (K, N) + bias (N), or without bias if it is 0. */
EXPORT(matmul)(float *c, const float *a, const float *b, const float *bias, int M, int K, int N) {
  int rows = M & ~3, wide = N & ~7, whole = N & ~3, packed = rows >= 16 && K <= DEEPEST;
  for (int j = 0; j < wide; j += 8) {
    for (int k = 0; packed && k < K; k++) {
      wasm_v128_store(panel + 8 * k, LOAD(b + k * N + j));
      wasm_v128_store(panel + 8 * k + 4, LOAD(b + k * N + j + 4));
    }
    for (int i = 0; i < rows; i += 4)
      tile(c + i * N + j, a + i * K, packed ? panel : b + j, bias ? bias + j : 0, K, N,
           packed ? 8 : N);
  }
  for (int i = 0; i < M; i++) {
    for (int j = i < rows ? wide : 0; j < whole; j += 4)
      strip(c + i * N + j, a + i * K, b + j, bias ? bias + j : 0, K, N);
    for (int j = whole; j < N; j++) {
      float sum = bias ? bias[j] : 0;
      for (int k = 0; k < K; k++) sum += a[i * K + k] * b[k * N + j];
      c[i * N + j] = sum;
    }
  }
}

/* e^x = 2^n e^r with n = round(x / ln 2) and |r| < 0.35: a polynomial of degree 7 for e^r. */
static v128_t exp4(v128_t x) {
  x = wasm_f32x4_max(wasm_f32x4_min(x, SPLAT(88)), SPLAT(-87));
  v128_t n = wasm_f32x4_nearest(MUL(x, SPLAT(1.44269504f)));
  /* ln 2 in two parts, so that n ln 2 is exact. */
  v128_t r = ADD(ADD(x, MUL(n, SPLAT(-0.693359375f))), MUL(n, SPLAT(2.12194440e-4f)));
  v128_t p = SPLAT(1.f / 5040);
  const float factors[] = {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f};
  for (int k = 0; k < 7; k++) p = ADD(MUL(p, r), SPLAT(factors[k]));
  v128_t power = wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127)), 23);
  return MUL(p, power);
}

static float exp1(float x) { return wasm_f32x4_extract_lane(exp4(SPLAT(x)), 0); }

/* y = softmax(x) of each of `rows` rows of n. */
EXPORT(softmax)(float *y, const float *x, int rows, int n) {
  for (int i = 0; i < rows; i++, x += n, y += n) {
    float most = x[0], sum = 0;
    for (int k = 1; k < n; k++) most = x[k] > most ? x[k] : most;
    int k = 0;
    for (; k + 4 <= n; k += 4)
      wasm_v128_store(y + k, exp4(ADD(LOAD(x + k), SPLAT(-most))));
    for (; k < n; k++) y[k] = exp1(x[k] - most);
    for (k = 0; k < n; k++) sum += y[k];
    float factor = 1 / sum;
    for (k = 0; k < n; k++) y[k] *= factor;
  }
}

/* y = x (1 + erf(x / sqrt 2)) / 2; erf by formula 7.1.26 of Abramowitz and Stegun (1964), whose
 * error is at most 1.5e-7. */
static v128_t gelu4(v128_t x) {
  v128_t u = MUL(wasm_f32x4_abs(x), SPLAT(0.70710678f));
  v128_t t = wasm_f32x4_div(SPLAT(1), ADD(SPLAT(1), MUL(SPLAT(0.3275911f), u)));
  v128_t p = SPLAT(1.061405429f);
  const float factors[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
  for (int k = 0; k < 4; k++) p = ADD(MUL(p, t), SPLAT(factors[k]));
  v128_t tail = MUL(MUL(p, t), exp4(wasm_f32x4_neg(MUL(u, u)))); /* 1 - erf(u) */
  v128_t half = MUL(x, MUL(tail, SPLAT(0.5f)));
  /* x >= 0: x - x tail / 2. x < 0: x tail / 2. */
  return wasm_v128_bitselect(half, wasm_f32x4_sub(x, half), wasm_f32x4_lt(x, SPLAT(0)));
}

EXPORT(gelu)(float *y, const float *x, int count) {
  int k = 0;
  for (; k + 4 <= count; k += 4) wasm_v128_store(y + k, gelu4(LOAD(x + k)));
  for (; k < count; k++) y[k] = wasm_f32x4_extract_lane(gelu4(SPLAT(x[k])), 0);
}

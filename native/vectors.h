// Sixteen floats as one value, and the functions on them. Each compiles to one register of AVX-512 or two of AVX2, and both
// compute the same bits: every sum has one order, and FMA is used where it is written and nowhere else.
#ifndef LORIKEET_VECTORS_H
#define LORIKEET_VECTORS_H
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
/** Bytes. */
#define CACHE_LINE 64
#define INLINE static inline __attribute__((always_inline))

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef int8_t Bytes __attribute__((vector_size(16)));

INLINE Floats all(float x) {
  return (Floats){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

INLINE Floats load(const float *from) {
  Floats x;
  memcpy(&x, from, sizeof x);
  return x;
}

INLINE void store(float *to, Floats x) {
  memcpy(to, &x, sizeof x);
}

INLINE Floats load_bytes(const int8_t *from) {
  Bytes x;
  memcpy(&x, from, sizeof x);
  return __builtin_convertvector(x, Floats);
}

INLINE Floats load_halves(const uint16_t *from) {
#ifdef __AVX512F__
  return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#else
  union {
    __m256 half[2];
    Floats whole;
  } x = {{_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from + 1))}};
  return x.whole;
#endif
}

/** Stores eight floats as the nearest halves. */
INLINE void store_eight_halves(uint16_t *to, const float *from) {
  _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(_mm256_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT));
}

/** a * b + c, rounded once. */
INLINE Floats fused(Floats a, Floats b, Floats c) {
  return __builtin_elementwise_fma(a, b, c);
}

/** Where the mask is set `a`, elsewhere `b`. */
INLINE Floats choose(Ints mask, Floats a, Floats b) {
  return (Floats)((mask & (Ints)a) | (~mask & (Ints)b));
}

INLINE Floats larger(Floats a, Floats b) {
  return choose(a > b, a, b);
}

/** e^x within two units in the last place. 0 below -87, infinity above 88; NaN stays NaN. */
INLINE Floats exponential(Floats x) {
  const Floats shift = all(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer
  // No integer is larger than 128 or smaller than -127 then. Comparisons are false for NaN, which stays.
  Floats bounded = choose(x > all(89), all(89), choose(x < all(-88), all(-88), x));
  Floats n = fused(bounded, all(1.44269504f), shift) - shift;
  Floats r = fused(n, all(-0.693359375f), bounded);
  r = fused(n, all(2.12194440e-4f), r);
  Floats p = all(1.9875691500e-4f);
  p = fused(p, r, all(1.3981999507e-3f));
  p = fused(p, r, all(8.3334519073e-3f));
  p = fused(p, r, all(4.1665795894e-2f));
  p = fused(p, r, all(1.6666665459e-1f));
  p = fused(p, r, all(5.0000001201e-1f));
  p = fused(p * r, r, r) + all(1);
  // 2^n as two factors, because n is 128 at the upper end.
  Ints half = __builtin_convertvector(choose(n == n, n, all(0)), Ints) >> 1;
  Ints rest = __builtin_convertvector(choose(n == n, n, all(0)), Ints) - half;
  Floats scaled = p * (Floats)((half + 127) << 23) * (Floats)((rest + 127) << 23);
  return choose(x < all(-87), all(0), scaled);
}

/** 1 / (1 + e^-x) */
INLINE Floats sigmoid(Floats x) {
  return all(1) / (all(1) + exponential(-x));
}

/** Adds neighbors within each half of eight lanes, and so on: the sum of all lanes. */
INLINE float sum_lanes(Floats x) {
  x += __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return x[0] + x[1];
}

INLINE float largest_lane(Floats x) {
  float largest = x[0];
  for (int i = 1; i < LANES; i++) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

/** Interleaves pairs of lanes of a and b within each quarter, and adds them: a0+a2, b0+b2, a1+a3, b1+b3 of each quarter. */
INLINE Floats add_pairs(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
         __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}

/** The second half of `add_pairs`: each quarter then has one lane for each of the four values that went in. */
INLINE Floats add_halves(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
         __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}

/** Adds quarters 0 and 1, and quarters 2 and 3, of a and of b. */
INLINE Floats add_quarters(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
#endif

// Rounds weights to 4 bits: for each output and span of inputs, sixteen levels scale * code + lowest, both halves. Sixteen outputs
// are computed at once, one in each lane, and both instruction sets compute the same bits. The plain twin is
// test/quant/plain-records.ts.
// Compile with -ffp-contract=off: a compiler that fuses some sums and not others would round them differently.
#include "kernels.h"
#include "vectors.h"

#define LARGEST_CODE 15
/**
 * The steps between the smallest and the largest value of a span to try. Fewer than fifteen: values that were rounded before lie on
 * a grid of which they need not use every level. More: cutting off the ends makes the steps between them smaller.
 */
static const float STEPS[] = {15, 14, 13, 12, 11, 10, 9, 8, 16, 17, 18};
/** How often the levels are fitted to the codes, and the codes chosen again. */
#define FITS 2

/** Sixteen levels for each lane. */
typedef struct {
  Floats scale, lowest;
} Levels;

/** Rounds each lane to the nearest half. */
INLINE Floats nearest_half(Floats x, uint16_t *halves) {
  float values[LANES];
  store(values, x);
  store_eight_halves(halves, values);
  store_eight_halves(halves + 8, values + 8);
  return load_halves(halves);
}

/** Returns the codes of values. A scale of zero has the code 0. */
INLINE Floats codes_of(Floats values, const Levels *levels, Floats inverse) {
  const Floats shift = all(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer
  Floats scaled = (values - levels->lowest) * inverse;
  Floats bounded = choose(scaled > all(0), choose(scaled < all(LARGEST_CODE), scaled, all(LARGEST_CODE)), all(0));
  return bounded + shift - shift;
}

INLINE Floats inverse_of(Floats scale) {
  return choose(scale > all(0), all(1) / scale, all(0));
}

/** Returns the levels with the smallest squared error for the codes that the old ones give. */
INLINE Levels fitted(const Floats *values, Floats sum, Levels levels) {
  const Floats inverse = inverse_of(levels.scale), count = all(SPAN);
  Floats codes = all(0), squares = all(0), products = all(0);
  for (int i = 0; i < SPAN; i++) {
    Floats code = codes_of(values[i], &levels, inverse);
    codes += code;
    squares = fused(code, code, squares);
    products = fused(code, values[i], products);
  }
  Floats spread = count * squares - codes * codes;
  Floats scale = (count * products - codes * sum) / spread;
  Ints isFit = spread > all(0) & scale > all(0);
  return (Levels){
      .scale = choose(isFit, scale, levels.scale),
      .lowest = choose(isFit, (sum - scale * codes) / count, levels.lowest),
  };
}

INLINE Floats squared_error(const Floats *values, const Levels *levels) {
  const Floats inverse = inverse_of(levels->scale);
  Floats error = all(0);
  for (int i = 0; i < SPAN; i++) {
    Floats difference = values[i] - fused(codes_of(values[i], levels, inverse), levels->scale, levels->lowest);
    error = fused(difference, difference, error);
  }
  return error;
}

/** Writes the record of a span [32], one output in each lane. */
static void write_record(const Floats *values, uint8_t *record) {
  uint16_t halves[LANES];
  Floats low = values[0], high = values[0], sum = all(0), smallest = all(0);
  for (int i = 0; i < SPAN; i++) {
    low = choose(values[i] < low, values[i], low);
    high = larger(values[i], high);
    sum += values[i];
  }
  Levels best = {all(0), all(0)};
  for (size_t k = 0; k < sizeof STEPS / sizeof *STEPS; k++) {
    Levels levels = {(high - low) / all(STEPS[k]), low};
    for (int fit = 0; fit < FITS; fit++) levels = fitted(values, sum, levels);
    levels.scale = nearest_half(levels.scale, halves);
    levels.lowest = nearest_half(levels.lowest, halves);
    Floats error = squared_error(values, &levels);
    Ints isBetter = k == 0 ? all(0) == all(0) : error < smallest;
    best.scale = choose(isBetter, levels.scale, best.scale);
    best.lowest = choose(isBetter, levels.lowest, best.lowest);
    smallest = choose(isBetter, error, smallest);
  }
  // Products with a value that is not finite are not finite.
  best.lowest = choose(sum - sum == all(0), best.lowest, sum - sum);
  nearest_half(best.scale, (uint16_t *)record);
  nearest_half(best.lowest, (uint16_t *)record + LANES);
  uint8_t *codes = record + RECORD_CODES;
  memset(codes, 0, RECORD_BYTES - RECORD_CODES);
  const Floats inverse = inverse_of(best.scale);
  for (int i = 0; i < SPAN; i++) {
    const int pair = i / (2 * QUAD), second = i / QUAD % 2;
    Ints code = __builtin_convertvector(codes_of(values[i], &best, inverse), Ints);
    for (int o = 0; o < BLOCK; o++) codes[(pair * BLOCK + o) * QUAD + i % QUAD] |= (uint8_t)(code[o] << 4 * second);
  }
}

void KERNEL(round_block)(const float *values, int64_t inputs, uint8_t *records) {
  for (int64_t first = 0; first < inputs; first += SPAN, records += RECORD_BYTES) {
    float columns[SPAN][LANES];
    Floats span[SPAN];
    for (int o = 0; o < LANES; o++)
      for (int i = 0; i < SPAN; i++) columns[i][o] = values[o * inputs + first + i];
    for (int i = 0; i < SPAN; i++) span[i] = load(columns[i]);
    write_record(span, records);
  }
}

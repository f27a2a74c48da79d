// A linear in per-token form: rounds activations to 8 bits, multiplies them by packed 8-bit or 4-bit weights, and adds the update of
// each row's adapter. Sums of integers are exact, and sums of floats have one order, so a row's outputs depend neither on the other
// rows nor on the instruction set.
// Compile with -ffp-contract=off: a compiler that fuses some sums and not others would round them differently.
#include "products.h"
#include <math.h>

#define ZERO_POINT 128
#define LARGEST_LEVEL 127.0f
#define INFINITY_BITS 0x7f800000
/** Rows with one adapter that share what is loaded of it. */
#define SHARING_ROWS 4
/** How far ahead an adapter's A is fetched, in bytes. Slots of adjacent rows follow each other. */
#define FETCHED_AHEAD 8192

static int32_t bits_of(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/** Returns the largest magnitude of x * factors as bits, which have the order of floats, with NaN as the largest. `factors` may be null. */
INLINE int32_t largest_bits_of(const float *x, const float *factors, int64_t count) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; i++) {
    int32_t bits = bits_of(factors ? x[i] * factors[i] : x[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

static float float_of(int32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void round_group(const float *x, const float *factors, int64_t width, Code *codes, int32_t *sum, float *scale) {
  const int32_t largest_bits = largest_bits_of(x, factors, width);
  const float largest = float_of(largest_bits);
  if (largest_bits >= INFINITY_BITS) {
    memset(codes, 0, width * sizeof *codes);
    *sum = 0;
    *scale = NAN;
    return;
  }
  float inverse = largest > 0 ? LARGEST_LEVEL / largest : 0;
  // The inverse of a subnormal number is infinite, and zero times infinity is not a number.
  if (inverse > 3e38f) inverse = 0;
  int32_t total = 0;
  for (int64_t i = 0; i < width; i++) {
    int32_t code = (int32_t)rintf(x[i] * factors[i] * inverse);
    codes[i] = (Code)code;
    total += code;
  }
  *sum = ZERO_POINT * total;
  *scale = largest / LARGEST_LEVEL;
}

/** Rounds a span of inputs for 4-bit weights. */
static void round_span(const float *x, int8_t *codes, float *scaled_sum, float *scale) {
  const int32_t largest_bits = largest_bits_of(x, NULL, SPAN);
  const float largest = float_of(largest_bits);
  int32_t total = 0;
  float inverse = largest > 0 ? LARGEST_LEVEL / largest : 0;
  if (largest_bits >= INFINITY_BITS || inverse > 3e38f) inverse = 0;
  for (int i = 0; i < SPAN; i++) {
    int32_t code = inverse == 0 ? 0 : (int32_t)rintf(x[i] * inverse);
    codes[i] = (int8_t)code;
    total += code;
  }
  *scale = largest_bits >= INFINITY_BITS ? NAN : largest / LARGEST_LEVEL;
  *scaled_sum = *scale * (float)total;
}

/** Rounds a rank row, to blocks of codes `stride` bytes apart if there is room for them. Returns the scale. */
static float round_rank_row(const float *from, int64_t count, int8_t *to, int64_t stride) {
  const float largest = float_of(largest_bits_of(from, NULL, count));
  const float scale = largest / LARGEST_LEVEL, inverse = scale > 1e-38f ? 1 / scale : 0;
  for (int64_t at = 0; to && at < count; at += BLOCK, to += stride)
    for (int i = 0; i < BLOCK; i++) to[i] = (int8_t)(int32_t)rintf(from[at + i] * inverse);
  return scale;
}

static int round_update(const Update *u) {
  float *column = scratch((size_t)u->inputs * sizeof *column);
  if (!column) return 0;
  for (int64_t r = 0; r < u->rank; r++) {
    float a = 0, b = 0;
    if (u->codes_a || u->scales) {
      for (int64_t i = 0; i < u->inputs; i++) column[i] = u->a[i * u->rank + r];
      a = round_rank_row(column, u->inputs, u->codes_a ? u->codes_a + r * u->inputs : NULL, BLOCK);
    }
    if (u->codes_b || u->scales)
      b = round_rank_row(u->b + r * u->outputs, u->outputs, u->codes_b ? u->codes_b + r * BLOCK : NULL, u->ranks * BLOCK);
    if (u->scales) u->scales[r] = a * b;
  }
  return 1;
}

/** Returns row t of the linear's input, after its activation. */
static const float *activated_row(const Linear *l, int64_t t) {
  if (l->activation == NONE) return l->x + t * l->inputs;
  const float *gate = l->x + t * 2 * l->inputs, *up = gate + l->inputs;
  float *to = l->activated + t * l->inputs;
  for (int64_t i = 0; i < l->inputs; i += LANES) {
    Floats x = load(gate + i), z = x;
    // tanh form: x * (1 + tanh(u)) / 2 = x * sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    if (l->activation == GELU_TANH) z = x * all(1.5957691216f) * fused(x * x, all(0.044715f), all(1));
    store(to + i, x * sigmoid(z) * load(up + i));
  }
  return to;
}

/** Returns how many rows from a place on use one adapter, at most `last` - place and `most`. */
static int same_slot(const Linear *l, int64_t place, int64_t last, int most) {
  const int64_t *slots = l->adapters.row_slots;
  int count = 1;
  while (count < most && place + count < last && slots[row_at(l, place + count)] == slots[row_at(l, place)]) count++;
  return count;
}

/** Multiplies `rows` rows of one adapter by `count` rank rows of A, both constants. */
INLINE void narrow_tile(const Linear *l, int64_t place, int rows, int64_t rank_row, int count, const int8_t *a, const float *scales) {
  const float *x[SHARING_ROWS];
  Floats sums[SHARING_ROWS][4];
  for (int r = 0; r < rows; r++) {
    x[r] = (l->activation == NONE ? l->x : l->activated) + row_at(l, place + r) * l->inputs;
    for (int j = 0; j < count; j++) sums[r][j] = all(0);
  }
  for (int64_t i = 0; i < l->inputs; i += LANES)
    for (int j = 0; j < count; j++) {
      // The processor does not look ahead from one rank row to the next, and they are short.
      if (i % CACHE_LINE == 0) __builtin_prefetch(a + j * l->inputs + i + FETCHED_AHEAD, 0, 2);
      Floats factors = load_bytes(a + j * l->inputs + i);
      for (int r = 0; r < rows; r++) sums[r][j] = fused(factors, load(x[r] + i), sums[r][j]);
    }
  for (int r = 0; r < rows; r++) {
    float *to = l->adapters.narrow + row_at(l, place + r) * l->adapters.rank_rows + rank_row;
    for (int j = 0; j < count; j++) to[j] = sum_lanes(sums[r][j]) * scales[j];
  }
}

/** Multiplies `rows` rows of one adapter, a constant, by its A. */
INLINE void narrow(const Linear *l, int64_t place, int rows) {
  const Adapters *ad = &l->adapters;
  const int64_t slot = ad->row_slots[row_at(l, place)], count = ad->rank_rows;
  const float *scales = ad->scales + slot * count;
  const int8_t *a = ad->a + slot * count * l->inputs;
  for (int64_t j = 0; j < count;) {
    const int8_t *from = a + j * l->inputs;
    if (scales[j] == 0) j++;
    else if (j + 4 <= count) narrow_tile(l, place, rows, j, 4, from, scales + j), j += 4;
    else narrow_tile(l, place, rows, j, 1, from, scales + j), j++;
  }
}

static void prepare_rows(const Linear *l, int64_t first, int64_t last) {
  int64_t width = l->inputs / l->groups;
  for (int64_t place = first; place < last; place++) {
    const int64_t t = row_at(l, place);
    const float *x = activated_row(l, t);
    for (int64_t g = 0; g < l->groups; g++) {
      int64_t at = g * width, group = t * l->groups + g;
      if (l->records) {
        round_span(x + at, (int8_t *)l->codes + t * l->inputs + at, l->scaled_sums + group, l->row_scales + group);
        continue;
      }
      Code *codes = (Code *)l->codes + t * l->inputs + at;
      round_group(x + at, l->factors + at, width, codes, l->sums + group, l->row_scales + group);
    }
    for (int64_t f = 0; f < l->floats; f++) l->taken[t * l->floats + f] = x[l->float_inputs[f]];
  }
  if (!l->adapters.rank_rows) return;
  for (int64_t place = first; place < last;) {
    int rows = same_slot(l, place, last, SHARING_ROWS);
    if (rows != SHARING_ROWS) rows = 1;
    if (l->adapters.row_slots[row_at(l, place)] != 0) {
      if (rows == 1) narrow(l, place, 1);
      else narrow(l, place, SHARING_ROWS);
    }
    place += rows;
  }
}

/** Scales the sums of a row and adds its float inputs and the bias. Compilers keep the sums in registers if `width` is a constant. */
INLINE void finish_row(const Linear *l, int64_t row, int64_t first, int width, const float *sums) {
  const float *taken = l->taken + row * l->floats;
  float y[TASK_OUTPUTS];
  for (int i = 0; i < width; i++) y[i] = l->scales ? sums[i] * l->scales[first + i] : sums[i];
  for (int64_t f = 0; f < l->floats; f++) {
    const float *values = l->float_values + f * l->outputs + first;
    for (int i = 0; i < width; i++) y[i] += taken[f] * values[i];
  }
  if (l->bias)
    for (int i = 0; i < width; i++) y[i] += l->bias[first + i];
  memcpy(l->y + row * l->outputs + first, y, width * sizeof *y);
}

/** Changes `blocks` blocks of the outputs of `rows` rows, both constants, as their adapter does. */
INLINE void adapt_blocks(const Linear *l, int64_t place, int rows, int64_t first, int blocks, int64_t part) {
  const Adapters *ad = &l->adapters;
  const int64_t slot = ad->row_slots[row_at(l, place)], n = l->outputs, at = slot * n + first;
  const float *scales = ad->scales + slot * ad->rank_rows + part * ad->ranks;
  const int8_t *b = ad->b + at * ad->ranks;
  const float *narrow[SHARING_ROWS];
  Floats updates[SHARING_ROWS][2];
  for (int i = 0; i < rows; i++) {
    narrow[i] = ad->narrow + row_at(l, place + i) * ad->rank_rows + part * ad->ranks;
    for (int j = 0; j < blocks; j++) updates[i][j] = all(0);
  }
  for (int64_t r = 0; r < ad->ranks; r++) {
    if (scales[r] == 0) continue;
    for (int j = 0; j < blocks; j++) {
      Floats factors = load_bytes(b + (j * ad->ranks + r) * BLOCK);
      for (int i = 0; i < rows; i++) updates[i][j] = fused(factors, all(narrow[i][r]), updates[i][j]);
    }
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < blocks; j++) {
      float *to = l->y + row_at(l, place + i) * n + first + j * BLOCK;
      const int64_t vector = at + j * BLOCK;
      Floats y = load(to);
      if (ad->out_scale) y = y + y * load(ad->out_scale + vector) + load(ad->out_bias + vector);
      store(to, y + updates[i][j]);
    }
}

/** Changes one or two blocks of all rows' outputs. */
static void adapt_rows(const Linear *l, int64_t first, int blocks, int64_t part) {
  for (int64_t place = 0; place < l->rows;) {
    int rows = same_slot(l, place, l->rows, SHARING_ROWS);
    if (rows != SHARING_ROWS) rows = 1;
    if (l->adapters.row_slots[row_at(l, place)] != 0) {
      if (rows == 1 && blocks == 2) adapt_blocks(l, place, 1, first, 2, part);
      else if (rows == 1) adapt_blocks(l, place, 1, first, 1, part);
      else
        for (int j = 0; j < blocks; j++) adapt_blocks(l, place, SHARING_ROWS, first + j * BLOCK, 1, part);
    }
    place += rows;
  }
}

/** Multiplies `rows` rows, a constant, with the outputs of a task, of which the last one may have fewer. */
INLINE void multiply_tile(const Linear *l, int64_t row, int64_t first, int rows) {
  int64_t left = l->outputs - first, block = first / BLOCK;
  RowSums sums[MAX_TILE_ROWS];
  Ahead ahead = ahead_of(l, row, rows, first);
  if (l->records) {
    for (int b = 0; b * BLOCK < left && b < 2; b++) add_spans(l, row, block + b, rows, &ahead, sums, b * BLOCK);
  } else {
    memset(sums, 0, rows * sizeof *sums);
    for (int64_t g = 0; g < l->groups; g++) {
      if (left > BLOCK) add_products(l, row, block, g, rows, 2, &ahead, sums);
      else add_products(l, row, block, g, rows, 1, &ahead, sums);
    }
  }
  for (int r = 0; r < rows; r++) {
    if (left >= TASK_OUTPUTS) finish_row(l, row + r, first, TASK_OUTPUTS, sums[r]);
    else finish_row(l, row + r, first, (int)left, sums[r]);
  }
}

/** Multiplies all rows with the outputs of a task. */
static void multiply(const Linear *l, int64_t task) {
  int64_t first = task * TASK_OUTPUTS, row = 0;
  for (; row + TILE_ROWS <= l->rows; row += TILE_ROWS) multiply_tile(l, row, first, TILE_ROWS);
#if TILE_ROWS > 4
  for (; row + 4 <= l->rows; row += 4) multiply_tile(l, row, first, 4);
  for (; row + 2 <= l->rows; row += 2) multiply_tile(l, row, first, 2);
#endif
  for (; row < l->rows; row++) multiply_tile(l, row, first, 1);
  if (!l->adapters.row_slots) return;
  int64_t end = first + TASK_OUTPUTS < l->outputs ? first + TASK_OUTPUTS : l->outputs, part = 0;
  for (int64_t block = first; block < end;) {
    while (l->adapters.rank_rows && l->adapters.part_ends[part] <= block) part++;
    int blocks = block + BLOCK < end && (!l->adapters.rank_rows || block + BLOCK < l->adapters.part_ends[part]) ? 2 : 1;
    adapt_rows(l, block, blocks, part);
    block += blocks * BLOCK;
  }
}

const Kernels KERNEL(kernels) = {sizeof(Code), round_update, KERNEL(round_block), prepare_rows, multiply, KERNEL(append), KERNEL(attend), KERNEL(top_logits)};

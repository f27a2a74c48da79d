// Causal attention over the cache in place. Scores of sixteen positions are computed together, from whole rows of keys, for all
// query heads that share them. Positions are taken in order, sixteen at a time from position 0, so a row's bits depend neither on
// other rows nor on how many tokens of its sequence are new.
#include "kernels.h"
#include "vectors.h"
#include <math.h>
#include <stddef.h>

#ifdef __AVX512F__
/** Rows of weights that share each value that is loaded; as many as there are registers for. */
#define WEIGHT_ROWS 4
#else
#define WEIGHT_ROWS 1
#endif
#define LARGEST_HALF 65504.0f
#define FETCHED_BYTES 512
/** Vectors of a value that are summed at the same time. */
#define VALUE_VECTORS 4

static int64_t position_of(const Attention *a, int64_t sequence, int64_t token) {
  return 1 - a->tokens + token + a->lengths[sequence];
}

static void *slot_of(const Attention *a, void *cache, int64_t sequence, int64_t kv_head) {
  return (char *)cache + (sequence * a->kv_heads + kv_head) * a->positions * a->head_size * a->elements;
}

/** Rotates the first channels of a head by its position, in pairs of channels half their number apart. */
static void rotate(const Attention *a, int64_t position, const float *from, float *to) {
  const int64_t half = a->rotated / 2;
  const float *cos = a->cos + position * half, *sin = a->sin + position * half;
  for (int64_t i = 0; i < half; i++) {
    float x = from[i], y = from[half + i];
    to[i] = x * cos[i] - y * sin[i];
    to[half + i] = y * cos[i] + x * sin[i];
  }
  memcpy(to + a->rotated, from + a->rotated, (a->head_size - a->rotated) * sizeof *to);
}

/** Stores a row of keys or values in a slot. Codes and halves are clipped to their range. */
static void store_row(const Attention *a, const float *row, const float *scales, int64_t position, void *slot) {
  const int64_t size = a->head_size;
  if (a->elements == FLOATS) memcpy((float *)slot + position * size, row, size * sizeof *row);
  if (a->elements == HALVES)
    for (int64_t i = 0; i < size; i += LANES) {
      float clipped[LANES];
      store(clipped, larger(all(-LARGEST_HALF), -larger(all(-LARGEST_HALF), -load(row + i))));
      for (int half = 0; half < LANES; half += 8) store_eight_halves((uint16_t *)slot + position * size + i + half, clipped + half);
    }
  if (a->elements == CODES)
    for (int64_t i = 0; i < size; i++) {
      float level = rintf(row[i] / scales[i]);
      ((int8_t *)slot)[position * size + i] = (int8_t)(level >= 127 ? 127 : level >= -128 ? level : -128);
    }
}

/** Whether all numbers of a row are finite. */
static int is_finite(const float *row, int64_t size) {
  Floats zeros = all(0);
  for (int64_t i = 0; i < size; i += LANES) zeros += load(row + i) * all(0);
  return sum_lanes(zeros) == 0;
}

int KERNEL(append)(const Attention *a, int64_t sequence, int64_t kv_head) {
  const int64_t size = a->head_size, channel = kv_head * size;
  void *keys = slot_of(a, a->keys, sequence, kv_head), *values = slot_of(a, a->values, sequence, kv_head);
  int finite = 1;
  for (int64_t s = 0; s < a->tokens; s++) {
    int64_t row = sequence * a->tokens + s, position = position_of(a, sequence, s);
    float key[MAX_HEAD_SIZE];
    const float *value = a->value + row * a->value_stride + channel;
    rotate(a, position, a->key + row * a->key_stride + channel, key);
    finite &= is_finite(key, size) & is_finite(value, size);
    store_row(a, key, a->key_scales ? a->key_scales + channel : NULL, position, keys);
    store_row(a, value, a->value_scales ? a->value_scales + channel : NULL, position, values);
  }
  return finite;
}

/** Returns up to sixteen rows of the cache as floats, copied to `tile` unless they can be read in place. */
INLINE const float *rows_of(const Attention *a, const void *slot, int64_t position, int64_t end, float *tile) {
  const int64_t size = a->head_size, count = end - position < LANES ? end - position : LANES;
  const void *from = (const char *)slot + position * size * a->elements;
  if (a->elements == FLOATS && position + LANES <= a->positions) return from;
  if (a->elements == FLOATS) memcpy(tile, from, count * size * sizeof *tile);
  if (a->elements == HALVES)
    for (int64_t i = 0; i < count * size; i += LANES) store(tile + i, load_halves((const uint16_t *)from + i));
  if (a->elements == CODES)
    for (int64_t i = 0; i < count * size; i += LANES) store(tile + i, load_bytes((const int8_t *)from + i));
  return tile;
}

/**
 * Fetches the beginning of sixteen rows of the next head's slot. It is on other pages, where the processor does not look ahead by
 * itself.
 */
INLINE void fetch_next(const Attention *a, const void *slot, int64_t position) {
  const char *from = (const char *)slot + (a->positions + position) * a->head_size * a->elements;
  for (int i = 0; i < FETCHED_BYTES; i += CACHE_LINE) __builtin_prefetch(from + i, 0, 2);
}

/** Multiplies a query by sixteen keys. */
INLINE Floats multiply_keys(const float *query, const float *keys, int64_t size) {
  Floats quads[4];
  for (int q = 0; q < 4; q++) {
    Floats sums[4] = {all(0), all(0), all(0), all(0)};
    for (int64_t i = 0; i < size; i += LANES)
      for (int k = 0; k < 4; k++)
        sums[k] = fused(load(keys + (q * 4 + k) * size + i), load(query + i), sums[k]);
    quads[q] = add_halves(add_pairs(sums[0], sums[1]), add_pairs(sums[2], sums[3]));
  }
  return add_quarters(add_quarters(quads[0], quads[1]), add_quarters(quads[2], quads[3]));
}

/** A row of queries: its positions, and its memory. */
typedef struct {
  int64_t start, end;
  /** [D], [positions] from the first tile on, and [D] */
  float *query, *weights, *sum;
  float total;
} Row;

static void score(const Attention *a, const Row *row, int64_t position, const float *keys, float *to) {
  const Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  Floats scores = a->head_size == 64 ? multiply_keys(row->query, keys, 64) : multiply_keys(row->query, keys, a->head_size);
  scores *= all(a->scale);
  // tanh(x) = 2 sigmoid(2 x) - 1
  if (a->softcap != 0) scores = all(a->softcap) * (all(2) * sigmoid(scores * all(2 / a->softcap)) - all(1));
  int32_t first = (int32_t)(row->start - position), last = (int32_t)(row->end - position);
  if (first > 0 || last < LANES) scores = choose((lanes >= first) & (lanes < last), scores, all(-INFINITY));
  store(to, scores);
}

/** Turns scores into weights, whose sum is `total`. */
static void soften(Row *row, float *weights, int64_t count) {
  Floats largest = all(-INFINITY), sums = all(0);
  for (int64_t i = 0; i < count; i += LANES) largest = larger(load(weights + i), largest);
  const Floats most = all(largest_lane(largest));
  for (int64_t i = 0; i < count; i += LANES) {
    Floats weight = exponential(load(weights + i) - most);
    store(weights + i, weight);
    sums += weight;
  }
  row->total = sum_lanes(sums);
}

/** Adds weighted values to `vectors` vectors of the sums of `rows` rows, both constants. */
INLINE void add_values(Row *rows, int count, int vectors, int64_t base, int64_t first, int64_t last, const float *values,
                       int64_t size, int64_t channel) {
  Floats sums[WEIGHT_ROWS][VALUE_VECTORS];
  for (int r = 0; r < count; r++)
    for (int v = 0; v < vectors; v++) sums[r][v] = load(rows[r].sum + channel + v * LANES);
  for (int64_t p = first; p < last; p++) {
    const float *value = values + (p % LANES) * size + channel;
    for (int v = 0; v < vectors; v++) {
      Floats x = load(value + v * LANES);
      for (int r = 0; r < count; r++) sums[r][v] = fused(all(rows[r].weights[p - base]), x, sums[r][v]);
    }
  }
  for (int r = 0; r < count; r++)
    for (int v = 0; v < vectors; v++) store(rows[r].sum + channel + v * LANES, sums[r][v]);
}

/** Adds the weighted values of a tile to rows of one token. */
INLINE void add_tile(Row *rows, int count, int64_t base, int64_t position, const float *values, int64_t size) {
  int64_t first = rows->start > position ? rows->start : position;
  int64_t last = rows->end < position + LANES ? rows->end : position + LANES, channel = 0;
  for (; channel + VALUE_VECTORS * LANES <= size; channel += VALUE_VECTORS * LANES)
    add_values(rows, count, VALUE_VECTORS, base, first, last, values, size, channel);
  for (; channel < size; channel += LANES) add_values(rows, count, 1, base, first, last, values, size, channel);
}

int KERNEL(attend)(const Attention *a, int64_t sequence, int64_t kv_head, int64_t first, int64_t last) {
  const int64_t size = a->head_size, group = a->heads / a->kv_heads, count = (last - first) * group;
  const int64_t end = position_of(a, sequence, last), earliest = position_of(a, sequence, first) + 1 - a->window;
  const int64_t base = a->window && earliest > 0 ? earliest / LANES * LANES : 0;
  const int64_t width = (end - base + LANES - 1) / LANES * LANES;
  float *tile = scratch((LANES * size + count * (2 * size + width)) * sizeof(float) + count * sizeof(Row));
  if (!tile) return 0;
  Row *rows = (Row *)(tile + LANES * size + count * (2 * size + width));
  for (int64_t r = 0; r < count; r++) {
    int64_t token = first + r / group, head = kv_head * group + r % group, position = position_of(a, sequence, token);
    float *memory = tile + LANES * size + r * (2 * size + width);
    rows[r] = (Row){a->window && position >= a->window ? position + 1 - a->window : 0, position + 1, memory, memory + 2 * size, memory + size, 0};
    rotate(a, position, a->query + (sequence * a->tokens + token) * a->query_stride + head * size, rows[r].query);
    if (a->key_scales)
      for (int64_t i = 0; i < size; i++) rows[r].query[i] *= a->key_scales[kv_head * size + i];
    memset(rows[r].sum, 0, size * sizeof(float));
  }
  const void *keys = slot_of(a, a->keys, sequence, kv_head), *values = slot_of(a, a->values, sequence, kv_head);
  for (int64_t p = base; p < end; p += LANES) {
    const float *from = rows_of(a, keys, p, end, tile);
    fetch_next(a, keys, p);
    for (int64_t r = 0; r < count; r++)
      if (p < rows[r].end && p + LANES > rows[r].start) score(a, &rows[r], p, from, rows[r].weights + p - base);
  }
  for (int64_t r = 0; r < count; r++) {
    int64_t from = rows[r].start / LANES * LANES - base, to = (rows[r].end + LANES - 1) / LANES * LANES - base;
    soften(&rows[r], rows[r].weights + from, to - from);
  }
  for (int64_t p = base; p < end; p += LANES) {
    const float *from = rows_of(a, values, p, end, tile);
    fetch_next(a, values, p);
    for (int64_t r = 0; r < count; r += group) {
      if (p >= rows[r].end || p + LANES <= rows[r].start) continue;
      int64_t done = 0;
      for (; done + WEIGHT_ROWS <= group; done += WEIGHT_ROWS) add_tile(rows + r + done, WEIGHT_ROWS, base, p, from, size);
#if WEIGHT_ROWS > 1
      if (group - done == 3) add_tile(rows + r + done, 3, base, p, from, size);
      if (group - done == 2) add_tile(rows + r + done, 2, base, p, from, size);
      if (group - done == 1) add_tile(rows + r + done, 1, base, p, from, size);
#endif
    }
  }
  for (int64_t r = 0; r < count; r++) {
    int64_t token = first + r / group, head = kv_head * group + r % group;
    float *y = a->y + ((sequence * a->tokens + token) * a->heads + head) * size;
    Floats share = all(is_finite(rows[r].query, size) ? 1 / rows[r].total : NAN);
    for (int64_t i = 0; i < size; i += LANES) {
      Floats sum = load(rows[r].sum + i) * share;
      store(y + i, a->key_scales ? sum * load(a->value_scales + kv_head * size + i) : sum);
    }
  }
  return 1;
}

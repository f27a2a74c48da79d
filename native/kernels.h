// The computations of our operators. linear.c, attention.c and logits.c are compiled once for each instruction set.
#ifndef LORIKEET_KERNELS_H
#define LORIKEET_KERNELS_H
#include <stddef.h>
#include <stdint.h>

/** Outputs in a block of packed weights. */
#define BLOCK 16
/** Inputs that lie next to each other in packed weights, and the sums of whose products one instruction adds. */
#define QUAD 4
/** Outputs that a task computes: two blocks. */
#define TASK_OUTPUTS (2 * BLOCK)

/** Inputs of 4-bit weights that share a scale and a lowest value, and inputs of a row that share a scale then. */
#define SPAN 32
/** The 4-bit weights of a block and a span: 16 scales and 16 lowest values as halves, and the codes. Five cache lines. */
#define RECORD_BYTES 320
#define RECORD_CODES 64

/** Inputs of a group: the sum of as many codes times the zero point, 128 * 127 each, is less than 2^31. */
#define MAX_GROUP 131072

/** Channels of an attention head. */
#define MAX_HEAD_SIZE 512

enum Activation { NONE, SILU, GELU_TANH };
/** The elements of a cache, and their bytes. */
enum Elements { CODES = 1, HALVES = 2, FLOATS = 4 };

/** The adapters of a linear: S slots, J rank rows, which are `ranks` for each part of the outputs. Slot 0 is no adapter. */
typedef struct {
  int64_t ranks, rank_rows;
  /** [T] */
  const int64_t *row_slots;
  /** [S, J, K] */
  const int8_t *a;
  /** [S, J]: the scales of A times those of B. Rows with the scale 0 are skipped. */
  const float *scales;
  /** [S, N / 16, ranks, 16] */
  const int8_t *b;
  /** [parts]: the ends of the parts */
  const int64_t *part_ends;
  /** [S, N] each, or null: y += y * out_scale + out_bias, before the update */
  const float *out_scale, *out_bias;
  /** [T]: the rows in the order of their slots */
  int32_t *order;
  /** [T, J]: x A, written by `prepare_rows` */
  float *narrow;
} Adapters;

/** An adapter's update of a part of a linear, as floats, and what it is rounded to. A null is not written. */
typedef struct {
  /** `ranks`: those of a slot, at least `rank`. */
  int64_t rank, ranks, inputs, outputs;
  /** [K, rank] and [rank, N] */
  const float *a, *b;
  /** [rank, K], [rank], [N / 16, ranks, 16] */
  int8_t *codes_a;
  float *scales;
  int8_t *codes_b;
} Update;

/**
 * With 8-bit weights, y = (x * factors) W + x[float_inputs] V + bias + the update of the row's adapter. With 4-bit weights,
 * y = x W + bias + the update, G = K / 32, and W = code * scale + lowest value.
 * T = token rows, K = inputs, N = outputs, G = groups, F = float inputs.
 */
typedef struct {
  int64_t rows, inputs, outputs, groups, floats;
  /** [T, K], or with an activation [T, 2 K]: the input is activation(gate) * up */
  const float *x;
  enum Activation activation;
  /** [K]: the smoothing. Those of float inputs are zero. */
  const float *factors;
  /** [N / 16, K / 4, 16, 4], from 1 to 255 with the zero point 128, padded with 128 to whole blocks */
  const uint8_t *weights;
  /**
   * 4-bit weights, in place of `weights`, or null: [N / 16, K / 32, 320]. Each record has the scales and the lowest values [16] as
   * halves, and the codes [4, 16, 4]: in the low half of a byte of the first quad of a pair, in the high half of the second.
   */
  const uint8_t *records;
  /** [N] */
  const float *scales;
  /** [F] */
  const int64_t *float_inputs;
  /** [F, N] */
  const float *float_values;
  /** [N], or null */
  const float *bias;
  /** `row_slots` is null if no adapter is attached. */
  Adapters adapters;
  /** [T, N] */
  float *y;
  /**
   * Written by `prepare_rows`. The codes are int16 [T, K] with 8-bit weights and AVX2, else int8. For each row and group: the scale,
   * and the sum of codes times the zero point, or with 4-bit weights times the scale. Then [T, F].
   */
  void *codes;
  union {
    int32_t *sums;
    float *scaled_sums;
  };
  float *row_scales;
  float *taken;
  /** [T, K], with an activation: its results */
  float *activated;
} Linear;

/**
 * Causal attention of new tokens over a cache to which they are appended. B sequences of S tokens, H heads, G heads of keys and
 * values, D = head size, a multiple of 16, M = positions of a slot.
 */
typedef struct {
  int64_t sequences, tokens, heads, kv_heads, head_size, positions;
  /** The channels that are rotated. */
  int64_t rotated;
  /** 0, or the number of positions that a token attends to, its own included. */
  int64_t window;
  /** `softcap` 0: no cap. */
  float scale, softcap;
  /** One row for each token, `row_stride` floats apart. */
  const float *query, *key, *value;
  int64_t query_stride, key_stride, value_stride;
  enum Elements elements;
  /** [B, G, M, D] */
  void *keys, *values;
  /** [G, D] each, for codes; otherwise null */
  const float *key_scales, *value_scales;
  /** [B]: tokens in the cache after the run, minus one */
  const int32_t *lengths;
  /** [M, rotated / 2] each */
  const float *cos, *sin;
  /** [B * S, H * D] */
  float *y;
} Attention;

/** The largest logits of rows. V = vocabulary. */
typedef struct {
  int64_t rows, vocabulary, count;
  /** [L, V] */
  const float *logits;
  /** [L, count], descending; equal values by ascending id */
  float *values;
  int64_t *ids;
  /** [L] */
  float *log_sum_exp;
} TopLogits;

/** The functions of one instruction set. Tasks may run at the same time. What they write depends on no other task. */
typedef struct {
  /** Bytes of an input that is rounded for 8-bit weights. */
  size_t code_bytes;
  /** Rounds each rank row of an update with a scale of its own. Returns 0 without memory. */
  int (*round_update)(const Update *);
  /** Rounds the values [16, K] of a block of outputs to records [K / 32, 320]. */
  void (*round_block)(const float *values, int64_t inputs, uint8_t *records);
  /**
   * Prepares rows first..last-1 of x, in the order of their slots: activates, rounds with one scale for each group of inputs, and multiplies with A. A row
   * with a number that is not finite gets the scale NaN.
   */
  void (*prepare_rows)(const Linear *, int64_t first, int64_t last);
  /** Multiplies all rows with the outputs of a task. Every output is summed in the same order, however many rows there are. */
  void (*multiply)(const Linear *, int64_t task);
  /** Appends the new tokens' keys and values of one sequence and one of its heads. Returns 0 if one is not finite. */
  int (*append)(const Attention *, int64_t sequence, int64_t kv_head);
  /** Attends from tokens first..last-1 of a sequence with all query heads that share a head of keys. Returns 0 without memory. */
  int (*attend)(const Attention *, int64_t sequence, int64_t kv_head, int64_t first, int64_t last);
  void (*top_logits)(const TopLogits *, int64_t row);
} Kernels;

extern const Kernels kernels_avx2, kernels_avx512vnni;

/** Memory of the calling thread for a task, which grows to the largest use and is freed with the thread. Null if there is none. */
void *scratch(size_t bytes);

/** The parts of a `Kernels`, each with the suffix of its instruction set. */
#ifdef __AVX512VNNI__
#define KERNEL(name) name##_avx512vnni
#else
#define KERNEL(name) name##_avx2
#endif
void KERNEL(round_block)(const float *values, int64_t inputs, uint8_t *records);
int KERNEL(append)(const Attention *, int64_t sequence, int64_t kv_head);
int KERNEL(attend)(const Attention *, int64_t sequence, int64_t kv_head, int64_t first, int64_t last);
void KERNEL(top_logits)(const TopLogits *, int64_t row);
#endif

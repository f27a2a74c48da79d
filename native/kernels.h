// The linear in per-token form, as one CPU's instructions compute it. kernels.c is compiled once for each instruction set.
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
/** Token rows that a task of rounding takes. */
#define TASK_ROWS 8

/** y = (x * factors) W + x[float_inputs] V + bias. T = token rows, K = inputs, N = outputs, G = groups, F = float inputs. */
typedef struct {
  int64_t rows, inputs, outputs, groups, floats;
  /** [T, K] */
  const float *x;
  /** [K]: the smoothing. Those of float inputs are zero. */
  const float *factors;
  /** [N / 16, K / 4, 16, 4], from 1 to 255 with the zero point 128, padded with 128 to whole blocks */
  const uint8_t *weights;
  /** [N] */
  const float *scales;
  /** [F] */
  const int64_t *float_inputs;
  /** [F, N] */
  const float *float_values;
  /** [N], or null */
  const float *bias;
  /** [T, N] */
  float *y;
  /** Written by `round_rows`: int8 or int16 [T, K]; int32 [T, G], the sums of codes times the zero point; float [T, G]; [T, F]. */
  void *codes;
  int32_t *sums;
  float *row_scales;
  float *taken;
} Linear;

/** The functions of one instruction set. */
typedef struct {
  /** Bytes of a rounded input. */
  size_t code_bytes;
  /** Rounds rows first..last-1 of x, one scale for each group of inputs. A row with a number that is not finite gets the scale NaN. */
  void (*round_rows)(const Linear *, int64_t first, int64_t last);
  /** Multiplies all rows with the outputs of a task. Every output is summed in the same order, however many rows there are. */
  void (*multiply)(const Linear *, int64_t task);
} Kernels;

extern const Kernels kernels_avx2, kernels_avx512vnni;
#endif

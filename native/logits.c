// Finds the largest logits of a row, and the logarithm of the sum of exponentials.
#include "kernels.h"
#include "vectors.h"
#include <math.h>

/** Inserts a logit into the `held` largest so far, after those that are equal. Returns how many there are now. */
static int64_t insert(const TopLogits *t, float *values, int64_t *ids, int64_t held, float value, int64_t id) {
  int64_t at = held < t->count ? held : t->count - 1;
  for (; at > 0 && values[at - 1] < value; at--) {
    values[at] = values[at - 1];
    ids[at] = ids[at - 1];
  }
  values[at] = value;
  ids[at] = id;
  return held < t->count ? held + 1 : held;
}

void KERNEL(top_logits)(const TopLogits *t, int64_t row) {
  const float *logits = t->logits + row * t->vocabulary;
  float *values = t->values + row * t->count;
  int64_t *ids = t->ids + row * t->count, held = 0, i = 0;
  for (; i < t->count; i++) held = insert(t, values, ids, held, logits[i], i);
  const int64_t whole = t->vocabulary - t->vocabulary % LANES;
  while (i < t->vocabulary) {
    if (i % LANES == 0 && i < whole) {
      Ints above = load(logits + i) > all(values[held - 1]);
      if (__builtin_reduce_or(above) == 0) {
        i += LANES;
        continue;
      }
    }
    // Once something is found, the rest of the sixteen is looked at one by one.
    do {
      if (logits[i] > values[held - 1]) insert(t, values, ids, held, logits[i], i);
    } while (++i % LANES != 0 && i < t->vocabulary);
  }
  const float largest = values[0];
  Floats sums = all(0);
  for (i = 0; i < whole; i += LANES) sums += exponential(load(logits + i) - all(largest));
  float rest[LANES];
  for (int64_t j = 0; j < LANES; j++) rest[j] = i + j < t->vocabulary ? logits[i + j] : -INFINITY;
  sums += exponential(load(rest) - all(largest));
  t->log_sum_exp[row] = logf(sum_lanes(sums)) + largest;
}

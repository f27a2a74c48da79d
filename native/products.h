// The sums of products of a linear: rounded inputs times 8-bit or 4-bit weights, in two instruction sets. Included by linear.c.
// Integer sums are exact, and the sums of groups have one order, so both sets compute the same bits.
#ifndef LORIKEET_PRODUCTS_H
#define LORIKEET_PRODUCTS_H
#include "kernels.h"
#include "vectors.h"

#define MAX_TILE_ROWS 8
/** How far ahead weights are fetched, in bytes: the processor alone keeps too few lines on their way. */
#define WEIGHTS_AHEAD 2048
#define RECORDS_AHEAD 5120

#ifdef __AVX512VNNI__
typedef int8_t Code;
#else
typedef int16_t Code;
#endif

/** Returns the row at a place in the order of the slots. */
static int64_t row_at(const Linear *l, int64_t place) {
  return l->adapters.row_slots ? l->adapters.order[place] : place;
}

/**
 * What `adapt_blocks` will read for the rows of a tile. It is fetched while their products are computed, a line at a time: every
 * row may have another adapter, the processor does not look ahead from one to the next, and it waits if too much is asked of it.
 */
typedef struct {
  const int8_t *from[MAX_TILE_ROWS];
  int64_t next, end;
} Ahead;

static Ahead ahead_of(const Linear *l, int64_t row, int rows, int64_t first) {
  const Adapters *ad = &l->adapters;
  Ahead ahead = {.end = ad->rank_rows ? rows * TASK_OUTPUTS * ad->ranks / CACHE_LINE : 0};
  for (int r = 0; ahead.end && r < rows; r++) ahead.from[r] = ad->b + (ad->row_slots[row_at(l, row + r)] * l->outputs + first) * ad->ranks;
  return ahead;
}

INLINE void fetch_line(Ahead *ahead, int rows) {
  if (ahead->next >= ahead->end) return;
  __builtin_prefetch(ahead->from[ahead->next % rows] + ahead->next / rows * CACHE_LINE, 0, 2);
  ahead->next++;
}

INLINE void fetch_record(const uint8_t *record) {
  for (int line = 0; line < RECORD_BYTES; line += CACHE_LINE) __builtin_prefetch(record + RECORDS_AHEAD + line, 0, 3);
}

/** Sums of one row and the outputs of a task. */
typedef float RowSums[TASK_OUTPUTS];

#ifdef __AVX512VNNI__
/** Adds the products of 8-bit weights and one group of inputs. */
INLINE void add_products(
    const Linear *l, int64_t row, int64_t block, int64_t group, int rows, int blocks, Ahead *ahead, RowSums *sums) {
  const int64_t quads = l->inputs / QUAD, width = quads / l->groups;
  const uint8_t *weights = l->weights + block * quads * BLOCK * QUAD;
  const int32_t *codes = (const int32_t *)l->codes + row * quads;
  __m512i acc[MAX_TILE_ROWS][2];
  for (int r = 0; r < rows; r++)
    for (int b = 0; b < blocks; b++) acc[r][b] = _mm512_set1_epi32(-l->sums[(row + r) * l->groups + group]);
  for (int64_t q = group * width; q < (group + 1) * width; q++) {
    __m512i w[2];
    fetch_line(ahead, rows);
    for (int b = 0; b < blocks; b++) {
      const uint8_t *from = weights + (b * quads + q) * BLOCK * QUAD;
      w[b] = _mm512_loadu_si512(from);
      __builtin_prefetch(from + WEIGHTS_AHEAD, 0, 3);
    }
    for (int r = 0; r < rows; r++) {
      __m512i x = _mm512_set1_epi32(codes[r * quads + q]);
      for (int b = 0; b < blocks; b++) acc[r][b] = _mm512_dpbusd_epi32(acc[r][b], w[b], x);
    }
  }
  for (int r = 0; r < rows; r++) {
    __m512 scale = _mm512_set1_ps(l->row_scales[(row + r) * l->groups + group]);
    for (int b = 0; b < blocks; b++) {
      float *to = sums[r] + b * BLOCK;
      __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][b]), scale);
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), product));
    }
  }
}

/** Adds the products of 4-bit weights with `rows` rows, a constant, to the sums of one block of outputs. */
INLINE void add_spans(const Linear *l, int64_t row, int64_t block, int rows, Ahead *ahead, RowSums *sums, int at) {
  const int64_t quads = l->inputs / QUAD, spans = l->groups;
  const uint8_t *record = l->records + block * spans * RECORD_BYTES;
  const int32_t *codes = (const int32_t *)l->codes + row * quads;
  const float *row_scales = l->row_scales + row * spans, *scaled_sums = l->scaled_sums + row * spans;
  const __m512i low = _mm512_set1_epi8(15);
  __m512 total[MAX_TILE_ROWS];
  for (int r = 0; r < rows; r++) total[r] = _mm512_setzero_ps();
  for (int64_t s = 0; s < spans; s++, record += RECORD_BYTES) {
    __m512i acc[MAX_TILE_ROWS];
    fetch_line(ahead, rows);
    fetch_record(record);
    for (int r = 0; r < rows; r++) acc[r] = _mm512_setzero_si512();
    for (int pair = 0; pair < SPAN / QUAD / 2; pair++) {
      __m512i both = _mm512_loadu_si512(record + RECORD_CODES + pair * 2 * BLOCK * QUAD / 2);
      __m512i first = _mm512_and_si512(both, low), second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
      for (int r = 0; r < rows; r++) {
        const int32_t *x = codes + r * quads + s * (SPAN / QUAD) + 2 * pair;
        acc[r] = _mm512_dpbusd_epi32(acc[r], first, _mm512_set1_epi32(x[0]));
        acc[r] = _mm512_dpbusd_epi32(acc[r], second, _mm512_set1_epi32(x[1]));
      }
    }
    __m512 scales = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)record));
    __m512 lowest = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)record + 1));
    for (int r = 0; r < rows; r++) {
      __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[r]), scales);
      total[r] = _mm512_fmadd_ps(product, _mm512_set1_ps(row_scales[r * spans + s]), total[r]);
      total[r] = _mm512_fmadd_ps(lowest, _mm512_set1_ps(scaled_sums[r * spans + s]), total[r]);
    }
  }
  for (int r = 0; r < rows; r++) _mm512_storeu_ps(sums[r] + at, total[r]);
}
#define TILE_ROWS 8
#else
/** Four outputs and four inputs fill a register of 16-bit numbers, whose pairs of products are added exactly. */
INLINE void add_products(
    const Linear *l, int64_t row, int64_t block, int64_t group, int rows, int blocks, Ahead *ahead, RowSums *sums) {
  const int64_t quads = l->inputs / QUAD, width = quads / l->groups;
  for (int b = 0; b < blocks; b++) {
    const uint8_t *weights = l->weights + (block + b) * quads * BLOCK * QUAD;
    __m256i acc[MAX_TILE_ROWS][4];
    for (int r = 0; r < rows; r++)
      for (int i = 0; i < 4; i++) acc[r][i] = _mm256_setzero_si256();
    for (int64_t q = group * width; q < (group + 1) * width; q++) {
      __m256i x[MAX_TILE_ROWS];
      fetch_line(ahead, rows);
      __builtin_prefetch(weights + q * BLOCK * QUAD + WEIGHTS_AHEAD, 0, 3);
      for (int r = 0; r < rows; r++) {
        int64_t quad;
        memcpy(&quad, (const Code *)l->codes + (row + r) * l->inputs + q * QUAD, sizeof quad);
        x[r] = _mm256_set1_epi64x(quad);
      }
      for (int i = 0; i < 4; i++) {
        __m256i w = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(weights + q * BLOCK * QUAD) + i));
        for (int r = 0; r < rows; r++) acc[r][i] = _mm256_add_epi32(acc[r][i], _mm256_madd_epi16(w, x[r]));
      }
    }
    for (int r = 0; r < rows; r++) {
      __m256i zero = _mm256_set1_epi32(l->sums[(row + r) * l->groups + group]);
      __m256 scale = _mm256_set1_ps(l->row_scales[(row + r) * l->groups + group]);
      for (int half = 0; half < 2; half++) {
        // hadd adds pairs within each half of a register, so outputs 0, 1, 4, 5, 2, 3, 6, 7 follow each other.
        __m256i pairs = _mm256_hadd_epi32(acc[r][2 * half], acc[r][2 * half + 1]);
        __m256i whole = _mm256_sub_epi32(_mm256_permute4x64_epi64(pairs, 0xd8), zero);
        float *to = sums[r] + b * BLOCK + half * 8;
        __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(whole), scale);
        _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), product));
      }
    }
  }
}

/** The largest sum of a span's products fits 16 bits: 16 * 15 * 127 in each of an output's two lanes. */
INLINE void add_spans(const Linear *l, int64_t row, int64_t block, int rows, Ahead *ahead, RowSums *sums, int at) {
  const int64_t quads = l->inputs / QUAD, spans = l->groups;
  const uint8_t *record = l->records + block * spans * RECORD_BYTES;
  const int32_t *codes = (const int32_t *)l->codes + row * quads;
  const float *row_scales = l->row_scales + row * spans, *scaled_sums = l->scaled_sums + row * spans;
  const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256 total[MAX_TILE_ROWS][2];
  for (int r = 0; r < rows; r++) total[r][0] = total[r][1] = _mm256_setzero_ps();
  for (int64_t s = 0; s < spans; s++, record += RECORD_BYTES) {
    __m256i acc[MAX_TILE_ROWS][2];
    fetch_line(ahead, rows);
    fetch_record(record);
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
    for (int pair = 0; pair < SPAN / QUAD / 2; pair++)
      for (int half = 0; half < 2; half++) {
        __m256i both = _mm256_loadu_si256((const __m256i *)(record + RECORD_CODES) + 2 * pair + half);
        __m256i first = _mm256_and_si256(both, low), second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
        for (int r = 0; r < rows; r++) {
          const int32_t *x = codes + r * quads + s * (SPAN / QUAD) + 2 * pair;
          __m256i products = _mm256_maddubs_epi16(first, _mm256_set1_epi32(x[0]));
          acc[r][half] = _mm256_add_epi16(acc[r][half], products);
          products = _mm256_maddubs_epi16(second, _mm256_set1_epi32(x[1]));
          acc[r][half] = _mm256_add_epi16(acc[r][half], products);
        }
      }
    for (int half = 0; half < 2; half++) {
      __m256 scales = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)record + half));
      __m256 lowest = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)record + 2 + half));
      for (int r = 0; r < rows; r++) {
        __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(acc[r][half], ones)), scales);
        total[r][half] = _mm256_fmadd_ps(product, _mm256_set1_ps(row_scales[r * spans + s]), total[r][half]);
        total[r][half] = _mm256_fmadd_ps(lowest, _mm256_set1_ps(scaled_sums[r * spans + s]), total[r][half]);
      }
    }
  }
  for (int r = 0; r < rows; r++)
    for (int half = 0; half < 2; half++) _mm256_storeu_ps(sums[r] + at + 8 * half, total[r][half]);
}
#define TILE_ROWS 2
#endif
#endif

// The operators of the domain `lorikeet`: ONNX Runtime loads this library into its sessions and runs them on its own threads.
// - RowLinear: a linear in per-token form with the adapters of its rows. src/model/row-product.ts and lora-graph.ts are its twins.
// - CachedAttention, CachedAttentionHalf, CachedAttentionInt8: attention over the cache in place. The twin is
//   src/model/kv-attention.ts.
// - TopLogits: the twin is src/model/top-logits.ts.
#include "kernels.h"
#include "runtime.h"
#include <cpuid.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <threads.h>

static const Kernels *_Atomic chosen;

/** Returns the fastest functions that CPU and operating system support; null if there are none. */
static const Kernels *best_kernels(void) {
  const unsigned AVX = 0x6, AVX512 = 0xe6; // registers that the operating system saves, in XCR0
  const unsigned FMA_XSAVE_F16C = 1u << 12 | 1u << 27 | 1u << 29, AVX2 = 1u << 5, AVX512_F_BW_VL = 1u << 16 | 1u << 30 | 1u << 31, VNNI = 1u << 11;
  unsigned a, features, b, extended, c, d, saved;
  __cpuid(1, a, b, features, d);
  if ((features & FMA_XSAVE_F16C) != FMA_XSAVE_F16C) return NULL;
  if (!__get_cpuid_count(7, 0, &a, &extended, &c, &d)) return NULL;
  __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
  if ((saved & AVX) != AVX || !(extended & AVX2)) return NULL;
  if ((saved & AVX512) == AVX512 && (extended & AVX512_F_BW_VL) == AVX512_F_BW_VL && c & VNNI) return &kernels_avx512vnni;
  return &kernels_avx2;
}

static tss_t thread_memory;

static void create_thread_memory(void) { tss_create(&thread_memory, free); }

void *scratch(size_t bytes) {
  static once_flag is_created = ONCE_FLAG_INIT;
  static _Thread_local size_t size;
  call_once(&is_created, create_thread_memory);
  void *memory = tss_get(thread_memory);
  if (bytes > size) {
    free(memory);
    size = (bytes + 63) / 64 * 64;
    memory = aligned_alloc(64, size);
    if (tss_set(thread_memory, memory) != thrd_success) {
      free(memory);
      memory = NULL;
    }
    if (!memory) size = 0;
  }
  return memory;
}

/** Memory of one run, whose tasks share it. */
typedef struct {
  size_t size;
  _Alignas(64) char data[];
} RunMemory;

/** The memory of the last run. The runtime runs graphs on any thread, so one block for each thread would be several too many. */
static RunMemory *_Atomic spare;

static RunMemory *take_memory(size_t bytes) {
  RunMemory *memory = atomic_exchange(&spare, NULL);
  if (memory && memory->size >= bytes) return memory;
  free(memory);
  size_t size = (bytes + 63) / 64 * 64;
  memory = aligned_alloc(64, sizeof *memory + size);
  if (memory) memory->size = size;
  return memory;
}

static void give_back(RunMemory *memory) { free(atomic_exchange(&spare, memory)); }

// --- Inputs and outputs.

enum { MAX_INPUTS = 16, MAX_OUTPUTS = 3, MAX_RANK = 4 };
/** The largest number of groups and heads. */
#define MAX_COUNT 65536

/** An operator: its name, its types, and what it computes. */
typedef struct {
  OrtCustomOp base;
  const char *name;
  size_t inputs, outputs;
  /** How many inputs every graph has. */
  size_t required;
  int input_types[MAX_INPUTS], output_types[MAX_OUTPUTS];
} Operator;

typedef struct {
  void *data;
  int64_t dims[MAX_RANK];
  size_t rank;
} Tensor;

/** The data of tensors without elements, for which the runtime may have no address. */
static int64_t nothing;

/** Reads the inputs. The data of an optional one that the graph leaves out is null. */
static OrtStatus *read_inputs(OrtKernelContext *context, size_t count, Tensor *tensors) {
  for (size_t i = 0; i < count; i++) {
    Tensor *tensor = &tensors[i];
    OrtValue *value = NULL;
    OrtTensorInfo *info;
    *tensor = (Tensor){0};
    TRY(CONTEXT_GET_INPUT, context, i, &value);
    if (!value) continue;
    TRY(GET_TENSOR_INFO, value, &info);
    OrtStatus *status = api[GET_DIMENSIONS_COUNT](info, &tensor->rank);
    if (!status && tensor->rank > MAX_RANK) status = failure("lorikeet: an input has more than four dimensions");
    if (!status) status = api[GET_DIMENSIONS](info, tensor->dims, tensor->rank);
    api[RELEASE_TENSOR_INFO](info);
    if (status) return status;
    TRY(GET_TENSOR_DATA, value, &tensor->data);
    if (!tensor->data) tensor->data = &nothing;
  }
  return NULL;
}

static OrtStatus *open_output(OrtKernelContext *context, size_t index, const int64_t *dims, size_t rank, void *data) {
  OrtValue *value;
  TRY(CONTEXT_GET_OUTPUT, context, index, dims, rank, &value);
  return api[GET_TENSOR_DATA](value, data);
}

/** Whether a tensor has this rank and these dimensions, of which -1 fits any. */
static int has_shape(const Tensor *tensor, size_t rank, int64_t a, int64_t b, int64_t c, int64_t d) {
  const int64_t dims[MAX_RANK] = {a, b, c, d};
  if (!tensor->data || tensor->rank != rank) return 0;
  for (size_t i = 0; i < rank; i++)
    if (dims[i] != -1 && tensor->dims[i] != dims[i]) return 0;
  return 1;
}

static int fits(const Tensor *tensor, size_t rank, int64_t a, int64_t b, int64_t c, int64_t d) {
  return !tensor->data || has_shape(tensor, rank, a, b, c, d);
}

// --- RowLinear.

enum {
  X, WEIGHTS, SCALES, FACTORS, FLOAT_INPUTS, FLOAT_VALUES, BIAS,
  ROW_SLOTS, A, LORA_SCALES, B, PART_ENDS, OUT_SCALE, OUT_BIAS, LINEAR_INPUTS,
};

/** The attributes of every operator; each uses its own. */
typedef struct {
  int64_t groups, bits, activation, heads, kv_heads, window, count;
  float scale, softcap;
  enum Elements elements;
} Attributes;

typedef struct {
  Linear linear;
  /** Rows that a task prepares. */
  int64_t task_rows;
} LinearRun;

static void prepare_task(void *run, size_t task) {
  const LinearRun *r = run;
  int64_t first = (int64_t)task * r->task_rows, last = first + r->task_rows;
  chosen->prepare_rows(&r->linear, first, last < r->linear.rows ? last : r->linear.rows);
}

static void multiply_task(void *run, size_t task) {
  chosen->multiply(&((LinearRun *)run)->linear, (int64_t)task);
}

/** Whether the inputs of the adapters fit each other and the linear: all of the updates or none, and the same of the vectors. */
static int adapters_fit(const Tensor *in, const Linear *l) {
  const Adapters *ad = &l->adapters;
  if (!ad->row_slots) return !in[A].data && !in[OUT_SCALE].data && !in[OUT_BIAS].data;
  const int64_t slots = in[in[A].data ? A : OUT_SCALE].dims[0], n = l->outputs;
  int fit = n % BLOCK == 0 && has_shape(&in[ROW_SLOTS], 1, l->rows, 0, 0, 0) && fits(&in[OUT_SCALE], 2, slots, n, 0, 0) &&
            fits(&in[OUT_BIAS], 2, slots, n, 0, 0) && !in[OUT_SCALE].data == !in[OUT_BIAS].data;
  for (int64_t t = 0; fit && t < l->rows; t++) fit = ad->row_slots[t] >= 0 && ad->row_slots[t] < slots;
  if (!in[A].data) return fit && !in[LORA_SCALES].data && !in[B].data && !in[PART_ENDS].data;
  if (!fit) return 0;
  const int64_t parts = in[PART_ENDS].rank == 1 ? in[PART_ENDS].dims[0] : 0;
  fit = parts > 0 && ad->rank_rows == parts * ad->ranks && has_shape(&in[A], 3, slots, ad->rank_rows, l->inputs, 0) &&
        has_shape(&in[LORA_SCALES], 2, slots, ad->rank_rows, 0, 0) && has_shape(&in[B], 4, slots, n / BLOCK, ad->ranks, BLOCK) &&
        ad->part_ends[parts - 1] == n;
  for (int64_t p = 0; fit && p < parts; p++)
    fit = ad->part_ends[p] % BLOCK == 0 && ad->part_ends[p] > (p ? ad->part_ends[p - 1] : 0);
  return fit;
}

/** Sorts the rows by their slots. Rows of one slot keep their order. */
static void sort_rows(const Adapters *ad, int64_t rows) {
  for (int64_t t = 0; t < rows; t++) {
    int64_t at = t;
    for (; at > 0 && ad->row_slots[ad->order[at - 1]] > ad->row_slots[t]; at--) ad->order[at] = ad->order[at - 1];
    ad->order[at] = (int32_t)t;
  }
}

static OrtStatus *compute_linear(void *kernel, OrtKernelContext *context) {
  const Attributes *attributes = kernel;
  Tensor in[LINEAR_INPUTS];
  OrtStatus *status = read_inputs(context, LINEAR_INPUTS, in);
  if (status) return status;
  LinearRun run = {.task_rows = 8};
  Linear *l = &run.linear;
  *l = (Linear){
      .rows = in[X].dims[0],
      .inputs = in[FACTORS].dims[0],
      .outputs = in[SCALES].dims[0],
      .groups = attributes->groups,
      .floats = in[FLOAT_INPUTS].data ? in[FLOAT_INPUTS].dims[0] : 0,
      .x = in[X].data,
      .activation = (enum Activation)attributes->activation,
      .factors = in[FACTORS].data,
      .weights = in[WEIGHTS].data,
      .scales = in[SCALES].data,
      .float_inputs = in[FLOAT_INPUTS].data,
      .float_values = in[FLOAT_VALUES].data,
      .bias = in[BIAS].data,
      .adapters =
          {
              .ranks = in[B].dims[2],
              .rank_rows = in[A].dims[1],
              .row_slots = in[ROW_SLOTS].data,
              .a = in[A].data,
              .scales = in[LORA_SCALES].data,
              .b = in[B].data,
              .part_ends = in[PART_ENDS].data,
              .out_scale = in[OUT_SCALE].data,
              .out_bias = in[OUT_BIAS].data,
          },
  };
  if (attributes->bits == 4) {
    l->records = l->weights;
    l->groups = in[WEIGHTS].dims[1];
    l->inputs = l->groups * SPAN;
    l->outputs = in[WEIGHTS].dims[0] * BLOCK;
  }
  const int64_t t = l->rows, k = l->inputs, n = l->outputs, width = l->activation == NONE ? k : 2 * k;
  int fit = l->records ? has_shape(&in[WEIGHTS], 3, -1, -1, RECORD_BYTES, 0) && !in[SCALES].data && !in[FACTORS].data && !l->floats
                       : k % (l->groups * QUAD) == 0 && k / l->groups <= MAX_GROUP && has_shape(&in[SCALES], 1, n, 0, 0, 0) &&
                             has_shape(&in[FACTORS], 1, k, 0, 0, 0) &&
                             has_shape(&in[WEIGHTS], 4, (n + BLOCK - 1) / BLOCK, k / QUAD, BLOCK, QUAD);
  fit = fit && has_shape(&in[X], 2, t, width, 0, 0) && (!l->floats || has_shape(&in[FLOAT_VALUES], 2, l->floats, n, 0, 0)) && fits(&in[BIAS], 1, n, 0, 0, 0) &&
            (k % BLOCK == 0 || (l->activation == NONE && !l->adapters.row_slots));
  for (int64_t f = 0; fit && f < l->floats; f++) fit = l->float_inputs[f] >= 0 && l->float_inputs[f] < k;
  if (!fit || !adapters_fit(in, l)) return failure("RowLinear: the shapes of its inputs do not fit");
  const int64_t dims[2] = {t, n};
  if ((status = open_output(context, 0, dims, 2, &l->y))) return status;
  if (t == 0) return NULL;

  const int64_t ranks = l->adapters.row_slots ? l->adapters.rank_rows : 0, activated = l->activation == NONE ? 0 : k;
  size_t codes = (size_t)(t * k) * chosen->code_bytes;
  RunMemory *memory = take_memory((size_t)(t * (2 * l->groups + l->floats + ranks + activated + 1)) * sizeof(float) + codes);
  if (!memory) return failure("RowLinear: out of memory");
  l->activated = (float *)memory->data;
  l->adapters.narrow = l->activated + t * activated;
  l->row_scales = l->adapters.narrow + t * ranks;
  l->taken = l->row_scales + t * l->groups;
  l->sums = (int32_t *)(l->taken + t * l->floats);
  l->adapters.order = l->sums + t * l->groups;
  l->codes = l->adapters.order + t;
  if (l->adapters.row_slots) sort_rows(&l->adapters, t);
  // Rounding a few rows takes less time than to share them.
  if (ranks || activated) run.task_rows = t <= 16 ? 1 : t <= 64 ? 4 : 8;
  int64_t tasks = (t + run.task_rows - 1) / run.task_rows;
  if (tasks == 1) prepare_task(&run, 0);
  else status = api[CONTEXT_PARALLEL_FOR](context, prepare_task, (size_t)tasks, (size_t)0, &run);
  tasks = (n + TASK_OUTPUTS - 1) / TASK_OUTPUTS;
  if (!status) status = api[CONTEXT_PARALLEL_FOR](context, multiply_task, (size_t)tasks, (size_t)0, &run);
  give_back(memory);
  return status;
}

// --- CachedAttention.

enum { QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, LENGTHS, COS, SIN, KEY_SCALE, VALUE_SCALE, ATTENTION_INPUTS };

typedef struct {
  Attention attention;
  /** New tokens that a task attends from. */
  int64_t task_tokens, tasks_each;
  /** [B, G]: whether the new keys and values are finite. 8 bits, a softmax and a cap would hide that they are not. */
  uint8_t *finite;
  _Atomic int is_short;
} AttentionRun;

static void append_task(void *run, size_t task) {
  AttentionRun *r = run;
  const Attention *a = &r->attention;
  r->finite[task] = (uint8_t)chosen->append(a, (int64_t)task / a->kv_heads, (int64_t)task % a->kv_heads);
}

static void attend_task(void *run, size_t task) {
  AttentionRun *r = run;
  const Attention *a = &r->attention;
  size_t pair = task / (size_t)r->tasks_each;
  int64_t sequence = (int64_t)pair / a->kv_heads, kv_head = (int64_t)pair % a->kv_heads;
  int64_t first = (int64_t)(task % (size_t)r->tasks_each) * r->task_tokens, last = first + r->task_tokens;
  if (last > a->tokens) last = a->tokens;
  // A task that attends from all new tokens of a sequence also appends them.
  if (r->tasks_each == 1) append_task(run, pair);
  if (!chosen->attend(a, sequence, kv_head, first, last)) r->is_short = 1;
  if (r->finite[pair]) return;
  const int64_t group = a->heads / a->kv_heads;
  for (int64_t t = first; t < last; t++) {
    float *y = a->y + ((sequence * a->tokens + t) * a->heads + kv_head * group) * a->head_size;
    for (int64_t i = 0; i < group * a->head_size; i++) y[i] = NAN;
  }
}

static OrtStatus *compute_attention(void *kernel, OrtKernelContext *context) {
  enum { TASK_ROWS = 24 };
  const Attributes *attributes = kernel;
  Tensor in[ATTENTION_INPUTS];
  OrtStatus *status = read_inputs(context, ATTENTION_INPUTS, in);
  if (status) return status;
  const int64_t rows = in[QUERY].dims[0], sequences = in[PAST_KEY].dims[0], size = in[PAST_KEY].dims[3];
  const int64_t heads = attributes->heads, kv_heads = attributes->kv_heads, whole = (heads + 2 * kv_heads) * size;
  const int packed = !in[KEY].data;
  AttentionRun run = {0};
  Attention *a = &run.attention;
  *a = (Attention){
      .sequences = sequences,
      .tokens = sequences > 0 ? rows / sequences : 0,
      .heads = heads,
      .kv_heads = kv_heads,
      .head_size = size,
      .positions = in[PAST_KEY].dims[2],
      .rotated = in[COS].data ? 2 * in[COS].dims[1] : 0,
      .window = attributes->window,
      .scale = attributes->scale,
      .softcap = attributes->softcap,
      .query = in[QUERY].data,
      .key = packed ? (float *)in[QUERY].data + heads * size : in[KEY].data,
      .value = packed ? (float *)in[QUERY].data + (heads + kv_heads) * size : in[VALUE].data,
      .query_stride = packed ? whole : heads * size,
      .key_stride = packed ? whole : kv_heads * size,
      .value_stride = packed ? whole : kv_heads * size,
      .elements = attributes->elements,
      .keys = in[PAST_KEY].data,
      .values = in[PAST_VALUE].data,
      .key_scales = in[KEY_SCALE].data,
      .value_scales = in[VALUE_SCALE].data,
      .lengths = in[LENGTHS].data,
      .cos = in[COS].data,
      .sin = in[SIN].data,
  };
  const int64_t m = a->positions;
  int fit = sequences > 0 && a->tokens * sequences == rows && size % BLOCK == 0 && size <= MAX_HEAD_SIZE && heads % kv_heads == 0 &&
            has_shape(&in[QUERY], 2, rows, a->query_stride, 0, 0) && packed == !in[VALUE].data &&
            fits(&in[KEY], 2, rows, a->key_stride, 0, 0) && fits(&in[VALUE], 2, rows, a->value_stride, 0, 0) &&
            has_shape(&in[PAST_KEY], 4, sequences, kv_heads, m, size) &&
            has_shape(&in[PAST_VALUE], 4, sequences, kv_heads, m, size) && has_shape(&in[LENGTHS], 1, sequences, 0, 0, 0) &&
            fits(&in[COS], 2, -1, a->rotated / 2, 0, 0) && fits(&in[SIN], 2, in[COS].dims[0], a->rotated / 2, 0, 0) &&
            !in[COS].data == !in[SIN].data && a->rotated <= size && (!in[COS].data || in[COS].dims[0] >= m) &&
            fits(&in[KEY_SCALE], 4, 1, kv_heads, 1, size) && fits(&in[VALUE_SCALE], 4, 1, kv_heads, 1, size) &&
            !in[KEY_SCALE].data == (a->elements != CODES) && !in[VALUE_SCALE].data == (a->elements != CODES);
  for (int64_t b = 0; fit && b < sequences; b++) fit = a->lengths[b] < m && a->lengths[b] >= a->tokens - 1;
  if (!fit) return failure("CachedAttention: the shapes of its inputs do not fit");
  const int64_t dims[2] = {rows, heads * size};
  void *present[2];
  if ((status = open_output(context, 0, dims, 2, &a->y))) return status;
  for (size_t half = 0; half < 2; half++)
    if ((status = open_output(context, 1 + half, in[PAST_KEY].dims, 4, &present[half]))) return status;
  if (present[0] != a->keys || present[1] != a->values)
    return failure("CachedAttention: past and present must be the same memory");
  if (rows == 0) return NULL;

  const int64_t pairs = sequences * kv_heads, group = heads / kv_heads;
  run.task_tokens = group >= TASK_ROWS ? 1 : TASK_ROWS / group;
  run.tasks_each = (a->tokens + run.task_tokens - 1) / run.task_tokens;
  run.finite = malloc((size_t)pairs);
  if (!run.finite) return failure("CachedAttention: out of memory");
  if (run.tasks_each > 1) status = api[CONTEXT_PARALLEL_FOR](context, append_task, (size_t)pairs, (size_t)0, &run);
  if (!status) status = api[CONTEXT_PARALLEL_FOR](context, attend_task, (size_t)(pairs * run.tasks_each), (size_t)0, &run);
  free(run.finite);
  return status ? status : run.is_short ? failure("CachedAttention: out of memory") : NULL;
}

// --- TopLogits.

static void top_task(void *top, size_t row) {
  chosen->top_logits(top, (int64_t)row);
}

static OrtStatus *compute_top(void *kernel, OrtKernelContext *context) {
  Tensor in[1];
  OrtStatus *status = read_inputs(context, 1, in);
  if (status) return status;
  TopLogits top = {
      .rows = in[0].dims[0], .vocabulary = in[0].dims[1], .count = ((const Attributes *)kernel)->count, .logits = in[0].data};
  if (in[0].rank != 2 || top.count > top.vocabulary) return failure("TopLogits: its input is not [rows, k or more]");
  const int64_t dims[2] = {top.rows, top.count};
  if ((status = open_output(context, 0, dims, 2, &top.values))) return status;
  if ((status = open_output(context, 1, dims, 2, &top.ids))) return status;
  if ((status = open_output(context, 2, dims, 1, &top.log_sum_exp)) || top.rows == 0) return status;
  return api[CONTEXT_PARALLEL_FOR](context, top_task, (size_t)top.rows, (size_t)0, &top);
}

// --- The library.

static OrtStatus *create_kernel(const OrtCustomOp *op, const void *unused, const void *info, void **kernel) {
  const char *name = ((const Operator *)op)->name;
  const int cache = ((const Operator *)op)->input_types[PAST_KEY];
  Attributes *a = calloc(1, sizeof *a);
  if (!a) return failure("lorikeet: out of memory");
  OrtStatus *status = NULL;
  if (name[0] == 'R') {
    status = api[KERNEL_INFO_GET_INT64](info, "groups", &a->groups);
    if (!status) status = api[KERNEL_INFO_GET_INT64](info, "bits", &a->bits);
    if (!status) status = api[KERNEL_INFO_GET_INT64](info, "activation", &a->activation);
    if (!status && (a->groups < 1 || a->groups > MAX_COUNT || (a->bits != 4 && a->bits != 8) || a->activation < NONE || a->activation > GELU_TANH))
      status = failure("RowLinear: groups must be from 1 to 65536, bits 4 or 8, activation from 0 to 2");
  } else if (name[0] == 'C') {
    status = api[KERNEL_INFO_GET_INT64](info, "num_heads", &a->heads);
    if (!status) status = api[KERNEL_INFO_GET_INT64](info, "kv_num_heads", &a->kv_heads);
    if (!status) status = api[KERNEL_INFO_GET_INT64](info, "window", &a->window);
    if (!status) status = api[KERNEL_INFO_GET_FLOAT](info, "scale", &a->scale);
    if (!status) status = api[KERNEL_INFO_GET_FLOAT](info, "softcap", &a->softcap);
    a->elements = cache == INT8 ? CODES : cache == HALF ? HALVES : FLOATS;
    if (!status && (a->heads < 1 || a->heads > MAX_COUNT || a->kv_heads < 1 || a->kv_heads > MAX_COUNT || a->window < 0))
      status = failure("CachedAttention: heads must be from 1 to 65536, window at least 0");
  } else {
    status = api[KERNEL_INFO_GET_INT64](info, "k", &a->count);
    if (!status && a->count < 1) status = failure("TopLogits: k must be at least 1");
  }
  if (status) free(a);
  else *kernel = a;
  return status;
}

static const char *name(const OrtCustomOp *op) { return ((const Operator *)op)->name; }
static const char *provider(const OrtCustomOp *op) { return "CPUExecutionProvider"; }
static int input_type(const OrtCustomOp *op, size_t i) { return ((const Operator *)op)->input_types[i]; }
static size_t input_count(const OrtCustomOp *op) { return ((const Operator *)op)->inputs; }
static int output_type(const OrtCustomOp *op, size_t i) { return ((const Operator *)op)->output_types[i]; }
static size_t output_count(const OrtCustomOp *op) { return ((const Operator *)op)->outputs; }
static int input_characteristic(const OrtCustomOp *op, size_t i) { return i < ((const Operator *)op)->required ? 0 : OPTIONAL; }
static int output_characteristic(const OrtCustomOp *op, size_t i) { return 0; }
static int memory_type(const OrtCustomOp *op, size_t i) { return 0; }
static int one(const OrtCustomOp *op) { return 1; }
static int newest(const OrtCustomOp *op) { return 0x7fffffff; }

#define BASE(function)                                                                                        \
  {                                                                                                           \
    .version = API_VERSION, .name = name, .provider = provider, .input_type = input_type,                     \
    .input_count = input_count, .output_type = output_type, .output_count = output_count,                     \
    .destroy_kernel = free, .input_characteristic = input_characteristic,                                     \
    .output_characteristic = output_characteristic, .input_memory_type = memory_type,                         \
    .variadic_input_min_arity = one, .variadic_input_homogeneity = one, .variadic_output_min_arity = one,     \
    .variadic_output_homogeneity = one, .create_kernel = create_kernel, .compute = function,                  \
    .start_version = one, .end_version = newest,                                                              \
  }
#define ATTENTION_TYPES(cache) {FLOAT, FLOAT, FLOAT, cache, cache, INT32, FLOAT, FLOAT, FLOAT, FLOAT}, {FLOAT, cache, cache}

static const Operator OPERATORS[] = {
    {BASE(compute_linear), "RowLinear", LINEAR_INPUTS, 1, SCALES,
     {FLOAT, UINT8, FLOAT, FLOAT, INT64, FLOAT, FLOAT, INT64, INT8, FLOAT, INT8, INT64, FLOAT, FLOAT}, {FLOAT}},
    {BASE(compute_attention), "CachedAttention", ATTENTION_INPUTS, 3, KEY, ATTENTION_TYPES(FLOAT)},
    {BASE(compute_attention), "CachedAttentionHalf", ATTENTION_INPUTS, 3, KEY, ATTENTION_TYPES(HALF)},
    {BASE(compute_attention), "CachedAttentionInt8", ATTENTION_INPUTS, 3, KEY, ATTENTION_TYPES(INT8)},
    {BASE(compute_top), "TopLogits", 1, 3, 1, {FLOAT}, {FLOAT, INT64, FLOAT}},
};

#define EXPORT __attribute__((visibility("default")))

/** Returns the instruction set that the operators use on this CPU; null if they cannot run here. */
EXPORT const char *lorikeet_instructions(void) {
  const Kernels *best = best_kernels();
  return !best ? NULL : best == &kernels_avx2 ? "avx2" : "avx512-vnni";
}

/** Rounds updates. Returns 0 without memory. */
EXPORT int lorikeet_round_updates(const Update *updates, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (!best_kernels()->round_update(&updates[i])) return 0;
  return 1;
}

/** Rounds the values of blocks of outputs to 4-bit weights: [blocks * 16, K] to records [blocks, K / 32, 320]. */
EXPORT int lorikeet_round_blocks(const float *values, int64_t blocks, int64_t inputs, uint8_t *records) {
  for (int64_t b = 0; b < blocks; b++)
    best_kernels()->round_block(values + b * BLOCK * inputs, inputs, records + b * (inputs / SPAN) * RECORD_BYTES);
  return 1;
}

/** ONNX Runtime calls this for the options of a session that loads the library. */
EXPORT OrtStatus *RegisterCustomOps(void *options, const OrtApiBase *base) {
  api = base->get_api(API_VERSION);
  chosen = best_kernels();
  if (!chosen) return failure("The operators need a CPU with AVX2");
  void *domain;
  TRY(CREATE_CUSTOM_OP_DOMAIN, "lorikeet", &domain);
  for (size_t i = 0; i < sizeof OPERATORS / sizeof *OPERATORS; i++) TRY(CUSTOM_OP_DOMAIN_ADD, domain, &OPERATORS[i]);
  return api[ADD_CUSTOM_OP_DOMAIN](options, domain);
}

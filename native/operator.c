// The operator lorikeet.RowLinear: a linear in per-token form. ONNX Runtime loads this library into its sessions and runs the
// operator on its own threads. The plain graph of src/model/row-product.ts computes the same.
#include "kernels.h"
#include <cpuid.h>
#include <stdlib.h>

// --- The part of onnxruntime_c_api.h that the operator needs. OrtApi is a table that only grows, so an index never changes.

typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtTensorInfo OrtTensorInfo;

#define API_VERSION 30
enum { OPTIONAL = 1, FLOAT = 1, UINT8 = 2, INT64 = 7, RUNTIME_EXCEPTION = 6 };
enum {
  CREATE_STATUS = 0,
  CREATE_CUSTOM_OP_DOMAIN = 26,
  CUSTOM_OP_DOMAIN_ADD = 27,
  ADD_CUSTOM_OP_DOMAIN = 28,
  GET_TENSOR_DATA = 51,
  GET_DIMENSIONS_COUNT = 61,
  GET_DIMENSIONS = 62,
  GET_TENSOR_INFO = 65,
  KERNEL_INFO_GET_INT64 = 86,
  CONTEXT_GET_INPUT = 90,
  CONTEXT_GET_OUTPUT = 91,
  RELEASE_TENSOR_INFO = 99,
  CONTEXT_PARALLEL_FOR = 274,
};

typedef struct {
  const void *(*get_api)(uint32_t version);
} OrtApiBase;

/** OrtCustomOp of version 30. Members that are null have their default. */
typedef struct OrtCustomOp {
  uint32_t version;
  void *create_kernel_v1;
  const char *(*name)(const struct OrtCustomOp *);
  const char *(*provider)(const struct OrtCustomOp *);
  int (*input_type)(const struct OrtCustomOp *, size_t);
  size_t (*input_count)(const struct OrtCustomOp *);
  int (*output_type)(const struct OrtCustomOp *, size_t);
  size_t (*output_count)(const struct OrtCustomOp *);
  void *compute_v1;
  void (*destroy_kernel)(void *);
  int (*input_characteristic)(const struct OrtCustomOp *, size_t);
  int (*output_characteristic)(const struct OrtCustomOp *, size_t);
  int (*input_memory_type)(const struct OrtCustomOp *, size_t);
  int (*variadic_input_min_arity)(const struct OrtCustomOp *);
  int (*variadic_input_homogeneity)(const struct OrtCustomOp *);
  int (*variadic_output_min_arity)(const struct OrtCustomOp *);
  int (*variadic_output_homogeneity)(const struct OrtCustomOp *);
  OrtStatus *(*create_kernel)(const struct OrtCustomOp *, const void *api, const void *info, void **kernel);
  OrtStatus *(*compute)(void *kernel, OrtKernelContext *);
  void *infer_shape;
  int (*start_version)(const struct OrtCustomOp *);
  int (*end_version)(const struct OrtCustomOp *);
  void *may_inplace, *release_may_inplace, *alias_map, *release_alias_map;
} OrtCustomOp;

typedef OrtStatus *(*ApiFunction)();
static const ApiFunction *api;

/** Returns from a function whose call into the runtime failed. */
#define TRY(index, ...)                                      \
  do {                                                       \
    OrtStatus *status_ = api[index](__VA_ARGS__);            \
    if (status_) return status_;                             \
  } while (0)

static OrtStatus *failure(const char *message) {
  return api[CREATE_STATUS](RUNTIME_EXCEPTION, message);
}

// --- The operator.

enum { X, WEIGHTS, SCALES, FACTORS, FLOAT_INPUTS, FLOAT_VALUES, BIAS, INPUT_COUNT };
static const int INPUT_TYPES[INPUT_COUNT] = {FLOAT, UINT8, FLOAT, FLOAT, INT64, FLOAT, FLOAT};

typedef struct {
  int64_t groups;
} Kernel;

static const Kernels *chosen;

/** Returns the fastest functions that CPU and operating system support; null if there are none. */
static const Kernels *best_kernels(void) {
  enum { AVX = 0x6, AVX512 = 0xe6 }; // registers that the operating system saves, in XCR0
  enum { FMA_AND_XSAVE = 1 << 12 | 1 << 27, AVX2 = 1 << 5, AVX512_F_BW_VL = (int)(1u << 16 | 1u << 30 | 1u << 31), VNNI = 1 << 11 };
  int a, features, b, extended, c, d, saved;
  __cpuid(1, a, b, features, d);
  if ((features & FMA_AND_XSAVE) != FMA_AND_XSAVE) return NULL;
  __cpuid_count(7, 0, a, extended, c, d);
  __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
  if ((saved & AVX) != AVX || !(extended & AVX2)) return NULL;
  if ((saved & AVX512) == AVX512 && (extended & AVX512_F_BW_VL) == AVX512_F_BW_VL && c & VNNI) return &kernels_avx512vnni;
  return &kernels_avx2;
}

/** Scratch memory of the thread that runs sessions. It grows to the largest run and is reused. */
static void *scratch(size_t bytes) {
  static _Thread_local void *memory;
  static _Thread_local size_t size;
  if (bytes > size) {
    free(memory);
    size = (bytes + 63) / 64 * 64;
    memory = aligned_alloc(64, size);
    if (!memory) size = 0;
  }
  return memory;
}

static void round_task(void *linear, size_t task) {
  const Linear *l = linear;
  int64_t first = (int64_t)task * TASK_ROWS, last = first + TASK_ROWS;
  chosen->round_rows(l, first, last < l->rows ? last : l->rows);
}

static void multiply_task(void *linear, size_t task) {
  chosen->multiply(linear, (int64_t)task);
}

typedef struct {
  void *data;
  int64_t dims[4];
  size_t rank;
} Tensor;

/** Reads an input. Its data is null if it is an optional one that the graph leaves out. */
static OrtStatus *read_input(OrtKernelContext *context, size_t index, Tensor *tensor) {
  OrtValue *value = NULL;
  OrtTensorInfo *info;
  tensor->data = NULL;
  tensor->rank = 0;
  TRY(CONTEXT_GET_INPUT, context, index, &value);
  if (!value) return NULL;
  TRY(GET_TENSOR_INFO, value, &info);
  OrtStatus *status = api[GET_DIMENSIONS_COUNT](info, &tensor->rank);
  if (!status && tensor->rank > 4) status = failure("RowLinear: an input has more than four dimensions");
  if (!status) status = api[GET_DIMENSIONS](info, tensor->dims, tensor->rank);
  api[RELEASE_TENSOR_INFO](info);
  if (status) return status;
  return api[GET_TENSOR_DATA](value, &tensor->data);
}

/** Whether a tensor has this rank and these first dimensions. `second` counts from rank 2 on. */
static int has_shape(const Tensor *tensor, size_t rank, int64_t first, int64_t second) {
  return tensor->data && tensor->rank == rank && tensor->dims[0] == first && (rank < 2 || tensor->dims[1] == second);
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context) {
  Tensor in[INPUT_COUNT];
  for (size_t i = 0; i < INPUT_COUNT; i++) {
    OrtStatus *status = read_input(context, i, &in[i]);
    if (status) return status;
  }
  Linear l = {
      .rows = in[X].dims[0],
      .inputs = in[X].dims[1],
      .outputs = in[SCALES].dims[0],
      .groups = ((const Kernel *)kernel)->groups,
      .floats = in[FLOAT_INPUTS].data ? in[FLOAT_INPUTS].dims[0] : 0,
      .x = in[X].data,
      .factors = in[FACTORS].data,
      .weights = in[WEIGHTS].data,
      .scales = in[SCALES].data,
      .float_inputs = in[FLOAT_INPUTS].data,
      .float_values = in[FLOAT_VALUES].data,
      .bias = in[BIAS].data,
  };
  int64_t blocks = (l.outputs + BLOCK - 1) / BLOCK;
  int fits = in[X].rank == 2 && l.inputs % (l.groups * QUAD) == 0 && has_shape(&in[SCALES], 1, l.outputs, 0) &&
             has_shape(&in[FACTORS], 1, l.inputs, 0) && has_shape(&in[WEIGHTS], 4, blocks, l.inputs / QUAD) &&
             (!l.floats || has_shape(&in[FLOAT_VALUES], 2, l.floats, l.outputs)) &&
             (!l.bias || has_shape(&in[BIAS], 1, l.outputs, 0));
  if (!fits) return failure("RowLinear: the shapes of its inputs do not fit");
  OrtValue *output;
  int64_t dims[2] = {l.rows, l.outputs};
  TRY(CONTEXT_GET_OUTPUT, context, (size_t)0, dims, (size_t)2, &output);
  TRY(GET_TENSOR_DATA, output, (void **)&l.y);
  if (l.rows == 0) return NULL;

  size_t scales = (size_t)(l.rows * l.groups);
  size_t taken = (size_t)(l.rows * l.floats) * sizeof(float), codes = (size_t)(l.rows * l.inputs) * chosen->code_bytes;
  char *memory = scratch(codes + scales * (sizeof(float) + sizeof(int32_t)) + taken);
  if (!memory) return failure("RowLinear: out of memory");
  l.codes = memory;
  l.sums = (int32_t *)(memory + codes);
  l.row_scales = (float *)(l.sums + scales);
  l.taken = l.row_scales + scales;
  if (l.rows <= TASK_ROWS) {
    chosen->round_rows(&l, 0, l.rows);
  } else {
    TRY(CONTEXT_PARALLEL_FOR, context, round_task, (size_t)((l.rows + TASK_ROWS - 1) / TASK_ROWS), (size_t)0, &l);
  }
  TRY(CONTEXT_PARALLEL_FOR, context, multiply_task, (size_t)((l.outputs + TASK_OUTPUTS - 1) / TASK_OUTPUTS), (size_t)0, &l);
  return NULL;
}

static OrtStatus *create_kernel(const OrtCustomOp *op, const void *unused, const void *info, void **kernel) {
  Kernel *created = malloc(sizeof *created);
  if (!created) return failure("RowLinear: out of memory");
  OrtStatus *status = api[KERNEL_INFO_GET_INT64](info, "groups", &created->groups);
  if (!status && created->groups < 1) status = failure("RowLinear: groups must be at least 1");
  if (status) free(created);
  else *kernel = created;
  return status;
}

static const char *name(const OrtCustomOp *op) { return "RowLinear"; }
static const char *provider(const OrtCustomOp *op) { return "CPUExecutionProvider"; }
static int input_type(const OrtCustomOp *op, size_t i) { return INPUT_TYPES[i]; }
static size_t input_count(const OrtCustomOp *op) { return INPUT_COUNT; }
static int output_type(const OrtCustomOp *op, size_t i) { return FLOAT; }
static size_t output_count(const OrtCustomOp *op) { return 1; }
static int input_characteristic(const OrtCustomOp *op, size_t i) { return i < FLOAT_INPUTS ? 0 : OPTIONAL; }
static int output_characteristic(const OrtCustomOp *op, size_t i) { return 0; }
static int memory_type(const OrtCustomOp *op, size_t i) { return 0; }
static int one(const OrtCustomOp *op) { return 1; }
static int newest(const OrtCustomOp *op) { return 0x7fffffff; }

static const OrtCustomOp ROW_LINEAR = {
    .version = API_VERSION,
    .name = name,
    .provider = provider,
    .input_type = input_type,
    .input_count = input_count,
    .output_type = output_type,
    .output_count = output_count,
    .destroy_kernel = free,
    .input_characteristic = input_characteristic,
    .output_characteristic = output_characteristic,
    .input_memory_type = memory_type,
    .variadic_input_min_arity = one,
    .variadic_input_homogeneity = one,
    .variadic_output_min_arity = one,
    .variadic_output_homogeneity = one,
    .create_kernel = create_kernel,
    .compute = compute,
    .start_version = one,
    .end_version = newest,
};

#define EXPORT __attribute__((visibility("default")))

/** Returns the instruction set that the operator uses on this CPU; null if it cannot run here. */
EXPORT const char *lorikeet_instructions(void) {
  const Kernels *best = best_kernels();
  return !best ? NULL : best == &kernels_avx2 ? "avx2" : "avx512-vnni";
}

/** ONNX Runtime calls this for the options of a session that loads the library. */
EXPORT OrtStatus *RegisterCustomOps(void *options, const OrtApiBase *base) {
  api = base->get_api(API_VERSION);
  chosen = best_kernels();
  if (!chosen) return failure("RowLinear needs a CPU with AVX2");
  void *domain;
  TRY(CREATE_CUSTOM_OP_DOMAIN, "lorikeet", &domain);
  TRY(CUSTOM_OP_DOMAIN_ADD, domain, &ROW_LINEAR);
  return api[ADD_CUSTOM_OP_DOMAIN](options, domain);
}

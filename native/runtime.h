// The part of onnxruntime_c_api.h that the operators need. OrtApi is a table that only grows, so an index never changes.
#ifndef LORIKEET_RUNTIME_H
#define LORIKEET_RUNTIME_H
#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtTensorInfo OrtTensorInfo;

#define API_VERSION 30
enum { OPTIONAL = 1, FLOAT = 1, UINT8 = 2, INT8 = 3, INT32 = 6, INT64 = 7, HALF = 10, RUNTIME_EXCEPTION = 6 };
enum {
  CREATE_STATUS = 0,
  CREATE_CUSTOM_OP_DOMAIN = 26,
  CUSTOM_OP_DOMAIN_ADD = 27,
  ADD_CUSTOM_OP_DOMAIN = 28,
  GET_TENSOR_DATA = 51,
  GET_DIMENSIONS_COUNT = 61,
  GET_DIMENSIONS = 62,
  GET_TENSOR_INFO = 65,
  KERNEL_INFO_GET_FLOAT = 85,
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
/** Every registration sets it to the same value, while other threads may run. */
static const ApiFunction *_Atomic api;

/** Returns from a function whose call into the runtime failed. */
#define TRY(index, ...)                                      \
  do {                                                       \
    OrtStatus *status_ = api[index](__VA_ARGS__);            \
    if (status_) return status_;                             \
  } while (0)

static OrtStatus *failure(const char *message) {
  return api[CREATE_STATUS](RUNTIME_EXCEPTION, message);
}
#endif

// The functions of `OrtApi` that we use, with their index in the table and their parameters, in the order of the table
// (onnxruntime_c_api.h). The table is append-only, so an index never changes.
import type { CType } from './ffi.ts';

interface ApiFunction {
  /** The index in `OrtApi`. */
  readonly index: number;
  readonly args: readonly CType[];
  /** `status`: a pointer to an `OrtStatus`, or null for success. */
  readonly result: 'status' | 'int' | 'pointer' | 'void';
}

/** The version of the table, as in onnxruntime 1.30. */
export const ORT_API_VERSION = 30;

function status(index: number, ...args: CType[]): ApiFunction {
  return { index, args, result: 'status' };
}

function nothing(index: number, ...args: CType[]): ApiFunction {
  return { index, args, result: 'void' };
}

/** The functions by name. */
export const ORT_API = {
  GetErrorCode: { index: 1, args: ['pointer'], result: 'int' },
  GetErrorMessage: { index: 2, args: ['pointer'], result: 'pointer' },
  DisableTelemetryEvents: status(6, 'pointer'),
  CreateSession: status(7, 'pointer', 'path', 'pointer', 'pointer'),
  CreateSessionFromArray: status(8, 'pointer', 'pointer', 'size', 'pointer', 'pointer'),
  CreateSessionOptions: status(10, 'pointer'),
  DisableMemPattern: status(17, 'pointer'),
  SetSessionLogSeverityLevel: status(22, 'pointer', 'int'),
  SetSessionGraphOptimizationLevel: status(23, 'pointer', 'int'),
  SetIntraOpNumThreads: status(24, 'pointer', 'int'),
  SessionGetInputCount: status(30, 'pointer', 'pointer'),
  SessionGetOutputCount: status(31, 'pointer', 'pointer'),
  SessionGetInputTypeInfo: status(33, 'pointer', 'size', 'pointer'),
  SessionGetOutputTypeInfo: status(34, 'pointer', 'size', 'pointer'),
  SessionGetInputName: status(36, 'pointer', 'size', 'pointer', 'pointer'),
  SessionGetOutputName: status(37, 'pointer', 'size', 'pointer', 'pointer'),
  CreateRunOptions: status(39, 'pointer'),
  RunOptionsSetTerminate: status(46, 'pointer'),
  RunOptionsUnsetTerminate: status(47, 'pointer'),
  CreateTensorAsOrtValue: status(48, 'pointer', 'pointer', 'size', 'int', 'pointer'),
  CreateTensorWithDataAsOrtValue: status(
    49,
    ...(['pointer', 'pointer', 'size', 'pointer', 'size', 'int', 'pointer'] as const),
  ),
  GetTensorMutableData: status(51, 'pointer', 'pointer'),
  CastTypeInfoToTensorInfo: status(55, 'pointer', 'pointer'),
  GetTensorElementType: status(60, 'pointer', 'pointer'),
  GetDimensionsCount: status(61, 'pointer', 'pointer'),
  GetDimensions: status(62, 'pointer', 'pointer', 'size'),
  GetSymbolicDimensions: status(63, 'pointer', 'pointer', 'size'),
  CreateMemoryInfo: status(68, 'string', 'int', 'int', 'int', 'pointer'),
  CreateCpuMemoryInfo: status(69, 'int', 'int', 'pointer'),
  AllocatorFree: status(76, 'pointer', 'pointer'),
  GetAllocatorWithDefaultOptions: status(78, 'pointer'),
  ReleaseStatus: nothing(93, 'pointer'),
  ReleaseSession: nothing(95, 'pointer'),
  ReleaseValue: nothing(96, 'pointer'),
  ReleaseRunOptions: nothing(97, 'pointer'),
  ReleaseTypeInfo: nothing(98, 'pointer'),
  ReleaseSessionOptions: nothing(100, 'pointer'),
  CreateEnvWithGlobalThreadPools: status(119, 'int', 'string', 'pointer', 'pointer'),
  DisablePerSessionThreads: status(120, 'pointer'),
  CreateThreadingOptions: status(121, 'pointer'),
  ReleaseThreadingOptions: nothing(122, 'pointer'),
  AddSessionConfigEntry: status(130, 'pointer', 'string', 'string'),
  CreateAllocator: status(131, 'pointer', 'pointer', 'pointer'),
  ReleaseAllocator: nothing(132, 'pointer'),
  RunWithBinding: status(133, 'pointer', 'pointer', 'pointer'),
  CreateIoBinding: status(134, 'pointer', 'pointer'),
  ReleaseIoBinding: nothing(135, 'pointer'),
  BindInput: status(136, 'pointer', 'string', 'pointer'),
  BindOutput: status(137, 'pointer', 'string', 'pointer'),
  ClearBoundInputs: nothing(141, 'pointer'),
  ClearBoundOutputs: nothing(142, 'pointer'),
  CreateAndRegisterAllocator: status(144, 'pointer', 'pointer', 'pointer'),
  SetGlobalIntraOpNumThreads: status(147, 'pointer', 'int'),
  AddInitializer: status(150, 'pointer', 'string', 'pointer'),
  CreatePrepackedWeightsContainer: status(166, 'pointer'),
  ReleasePrepackedWeightsContainer: nothing(167, 'pointer'),
  CreateSessionWithPrepackedWeightsContainer: status(
    168,
    ...(['pointer', 'path', 'pointer', 'pointer', 'pointer'] as const),
  ),
  CreateSessionFromArrayWithPrepackedWeightsContainer: status(
    169,
    ...(['pointer', 'pointer', 'size', 'pointer', 'pointer', 'pointer'] as const),
  ),
  SessionOptionsAppendExecutionProvider_CUDA_V2: status(204, 'pointer', 'pointer'),
  CreateCUDAProviderOptions: status(205, 'pointer'),
  ReleaseCUDAProviderOptions: nothing(208, 'pointer'),
  AddExternalInitializers: status(210, 'pointer', 'strings', 'pointer', 'size'),
  SessionOptionsAppendExecutionProvider: status(
    216,
    ...(['pointer', 'string', 'pointer', 'pointer', 'size'] as const),
  ),
  RegisterCustomOpsLibrary_V2: status(228, 'pointer', 'path'),
} as const satisfies Record<string, ApiFunction>;

/** The name of a function of `OrtApi`. */
export type OrtFunction = keyof typeof ORT_API;

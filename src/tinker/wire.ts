// Tinker's protobuf messages: reads the sequences of a pass, and writes results. Checks everything that a client sends.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ServeError } from '../common/errors.ts';
import { asBytes } from '../common/tensor.ts';
import {
  type PassResult,
  TOKEN_LOSS_NAMES,
  TOKEN_LOSS_SHAPES,
  type TokenDatum,
  type TokenLossChoice,
  type TokenLossName,
} from '../contracts/training-service.ts';
import {
  type Datum,
  DType,
  ForwardBackwardOutputSchema,
  type ForwardBackwardRequest,
  ForwardBackwardRequestSchema,
  type Tensor,
} from './proto/tinker_pb.js';

/** The bounds of a sequence. */
export interface DatumBounds {
  readonly vocabSize: number;
  /** The most tokens of a sequence. */
  readonly maxLength: number;
}

/** The work of a pass. */
export interface Pass {
  readonly data: readonly TokenDatum[];
  readonly loss: TokenLossChoice;
  readonly isForwardOnly: boolean;
}

/** Parses a request. Throws `ServeError` if it is not one. Its content is read by `toPass`. */
export function parsePassRequest(bytes: Uint8Array): ForwardBackwardRequest {
  try {
    return fromBinary(ForwardBackwardRequestSchema, bytes);
  } catch (cause) {
    const message = "The body is not a ForwardBackwardRequest of Tinker's protocol.";
    throw new ServeError('invalid_request', message, { cause });
  }
}

/** The names of Tinker's losses that this server lacks, with the reason. */
const OTHER_LOSSES: Readonly<Record<string, string>> = {
  stable_reinforce: 'has no public formula. Use importance_sampling, ppo, cispo or gspo',
  custom: 'runs in the client: call forward_backward_custom',
};

/** Returns the work of a request. Throws `ServeError` that names the field at fault. */
export function toPass(request: ForwardBackwardRequest, bounds: DatumBounds): Pass {
  const { lossFn, data, lossFnConfig: config, forwardOnly: isForwardOnly } = request;
  if (!isLoss(lossFn)) {
    throw invalid(
      'loss_fn',
      OTHER_LOSSES[lossFn] ?? `must be one of ${TOKEN_LOSS_NAMES.join(', ')}`,
    );
  }
  if (data.length === 0) throw invalid('data', 'is empty');
  const { inputs, parameters } = TOKEN_LOSS_SHAPES[lossFn];
  for (const [name, value] of Object.entries(config)) {
    const param = `loss_fn_config.${name.slice(0, 64)}`;
    if (!Object.hasOwn(parameters, name)) throw invalid(param, `is not a parameter of ${lossFn}`);
    if (!Number.isFinite(value)) throw invalid(param, 'is not finite');
  }
  return {
    data: data.map((datum, i) => {
      const missing = inputs.find((name) => !Object.hasOwn(datum.lossFnInputs, name));
      if (missing) throw invalid(`data[${i}].${missing}`, `is required by ${lossFn}`);
      return toDatum(datum, `data[${i}]`, bounds);
    }),
    loss: { name: lossFn, config },
    isForwardOnly,
  };
}

function isLoss(name: string): name is TokenLossName {
  return Object.hasOwn(TOKEN_LOSS_SHAPES, name);
}

const TARGETS = 'target_tokens';

function toDatum(datum: Datum, param: string, { vocabSize, maxLength }: DatumBounds): TokenDatum {
  const inputIds = readTokens(datum, `${param}.model_input`);
  const { length } = inputIds;
  if (length === 0) throw invalid(`${param}.model_input`, 'has no tokens');
  if (length > maxLength) {
    throw invalid(`${param}.model_input`, `has ${length} tokens; the limit is ${maxLength}`);
  }
  const { [TARGETS]: given, ...rest } = datum.lossFnInputs;
  const inputs: Record<string, Float32Array> = {};
  for (const [name, tensor] of Object.entries(rest)) {
    inputs[name] = Float32Array.from(readNumbers(tensor, `${param}.${name}`, length));
    if (!inputs[name].every(Number.isFinite)) throw invalid(`${param}.${name}`, 'is not finite');
  }
  if (!given) throw invalid(`${param}.${TARGETS}`, 'is required');
  const targets = Int32Array.from(readNumbers(given, `${param}.${TARGETS}`, length));
  for (const [name, ids] of Object.entries({ model_input: inputIds, [TARGETS]: targets })) {
    const foreign = ids.find((id) => id < 0 || id >= vocabSize);
    if (foreign === undefined) continue;
    throw invalid(
      `${param}.${name}`,
      `${foreign} is not a token of the base (0 to ${vocabSize - 1})`,
    );
  }
  return { inputIds, targets, inputs };
}

function readTokens({ modelInput }: Datum, param: string): Int32Array {
  const parts = modelInput.map(({ chunk }) => {
    if (chunk.case === 'encodedText') return toArray(Int32Array, chunk.value.tokens, param);
    throw invalid(param, 'contains a chunk that is not text; this base reads only text');
  });
  return Int32Array.from(parts.flatMap((part) => [...part]));
}

/** Reads a dense tensor [length]. */
function readNumbers({ layout, dtype, shape }: Tensor, param: string, length: number): number[] {
  if (layout.case !== 'dense' || shape.length > 1) {
    throw invalid(param, 'must be dense and have one dimension: one value for each token');
  }
  const values = decode(dtype, layout.value, param);
  if (values.length === length) return values;
  throw invalid(param, `has ${values.length} values for ${length} tokens of model_input`);
}

function decode(dtype: DType, bytes: Uint8Array, param: string): number[] {
  switch (dtype) {
    case DType.DTYPE_FLOAT32:
      return [...toArray(Float32Array, bytes, param)];
    case DType.DTYPE_INT32:
      return [...toArray(Int32Array, bytes, param)];
    case DType.DTYPE_INT64:
      return Array.from(toArray(BigInt64Array, bytes, param), Number);
    default:
      throw invalid(param, 'must have the type float32, int32 or int64');
  }
}

/** Copies little-endian bytes, which need not be aligned. */
function toArray<A extends Float32Array | Int32Array | BigInt64Array>(
  type: { new (buffer: ArrayBuffer): A; readonly BYTES_PER_ELEMENT: number },
  bytes: Uint8Array,
  param: string,
): A {
  if (bytes.length % type.BYTES_PER_ELEMENT !== 0) throw invalid(param, 'ends inside a value');
  return new type(new Uint8Array(bytes).buffer);
}

function invalid(param: string, fault: string): ServeError {
  return new ServeError('invalid_request', `${param}: ${fault}`, { param });
}

/** Writes the result of a pass. */
export function writePassResult({ logProbs, loss }: PassResult): Uint8Array {
  const offsets = new BigInt64Array(logProbs.length + 1);
  for (const [i, { byteLength }] of logProbs.entries())
    offsets[i + 1] = offsets[i]! + BigInt(byteLength);
  return toBinary(
    ForwardBackwardOutputSchema,
    create(ForwardBackwardOutputSchema, {
      lossFnOutputType: 'TorchLossReturn',
      lossFnOutputs: [
        {
          numDatums: logProbs.length,
          fields: {
            logprobs: {
              data: new Uint8Array(Buffer.concat(logProbs.map(asBytes))),
              offsets: asBytes(offsets),
              dtype: DType.DTYPE_FLOAT32,
            },
          },
        },
      ],
      metrics: { 'loss:sum': loss },
    }),
  );
}

// Tinker's protobuf messages: reads the sequences of a pass, and writes results. Checks everything that a client sends.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { fieldError, ServeError } from '../common/errors.ts';
import { asBytes } from '../common/tensor.ts';
import {
  type PassResult,
  TOKEN_LOSS_NAMES,
  TOKEN_LOSS_SHAPES,
  type TokenDatum,
  type TokenLossChoice,
  type TokenLossName,
} from '../contracts/training-service.ts';
import { boundParts } from './message-parts.ts';
import {
  type Datum,
  DType,
  ForwardBackwardOutputSchema,
  type ForwardBackwardRequest,
  ForwardBackwardRequestSchema,
} from './proto/tinker_pb.js';
import { readMatrix, toArray } from './tensors.ts';

/** The bounds of a sequence. */
export interface DatumBounds {
  readonly vocabSize: number;
  /** The most tokens of a sequence. */
  readonly maxLength: number;
}

/** The work of a pass. */
export interface Pass {
  /** A sequence with several targets per token is as many sequences with one. */
  readonly data: readonly TokenDatum[];
  /** The targets per token of each sequence of the request. */
  readonly columns: readonly number[];
  readonly loss: TokenLossChoice;
  readonly isForwardOnly: boolean;
}

/**
 * The most tokens of a pass. Each of several targets counts. A body of 1 MB holds no more in dense tensors; sparse ones
 * could ask for hours of computing.
 */
const MAX_TOKENS = 2 ** 17;
/** The client sends at most 1,024 sequences at a time, of about 30 parts each. */
const MAX_PARTS = 2 ** 17;
const requireFewParts = boundParts(ForwardBackwardRequestSchema, MAX_PARTS);

/** Parses a request. Throws `ServeError` if it is not one. Its content is read by `toPass`. */
export function parsePassRequest(bytes: Uint8Array): ForwardBackwardRequest {
  try {
    requireFewParts(bytes);
    return fromBinary(ForwardBackwardRequestSchema, bytes);
  } catch (cause) {
    if (cause instanceof ServeError) throw cause;
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
    const fault = OTHER_LOSSES[lossFn] ?? `must be one of ${TOKEN_LOSS_NAMES.join(', ')}`;
    throw fieldError('loss_fn', fault);
  }
  if (data.length === 0) throw fieldError('data', 'is empty');
  const { inputs, parameters } = TOKEN_LOSS_SHAPES[lossFn];
  const names = new Set<string>([...inputs, ...Object.keys(parameters)]);
  for (const [name, value] of Object.entries(config)) {
    const param = `loss_fn_config.${name.slice(0, 64)}`;
    if (!Object.hasOwn(parameters, name))
      throw fieldError(param, `is not a parameter of ${lossFn}`);
    if (!Number.isFinite(value)) throw fieldError(param, 'is not finite');
  }
  let tokens = 0;
  const sequences = data.map((datum, i) => {
    const missing = inputs.find((name) => !Object.hasOwn(datum.lossFnInputs, name));
    if (missing) throw fieldError(`data[${i}].${missing}`, `is required by ${lossFn}`);
    const columns = toData(datum, `data[${i}]`, { ...bounds, names });
    tokens += columns.length * columns[0]!.inputIds.length;
    if (tokens > MAX_TOKENS) {
      const fault = `has more than ${MAX_TOKENS} tokens, counting each target. Send fewer sequences at a time`;
      throw fieldError('data', fault);
    }
    if (columns.length === 1 || lossFn === 'cross_entropy') return columns;
    const fault = `may have several targets per token only for cross_entropy`;
    throw fieldError(`data[${i}].${TARGETS}`, fault);
  });
  return {
    data: sequences.flat(),
    columns: sequences.map(({ length }) => length),
    loss: { name: lossFn, config },
    isForwardOnly,
  };
}

function isLoss(name: string): name is TokenLossName {
  return Object.hasOwn(TOKEN_LOSS_SHAPES, name);
}

const TARGETS = 'target_tokens';

/** Reads a sequence: one datum for each column of its targets, with the inputs of these names. */
function toData(
  datum: Datum,
  param: string,
  { vocabSize, maxLength, names }: DatumBounds & { readonly names: ReadonlySet<string> },
): TokenDatum[] {
  const inputIds = readTokens(datum, `${param}.model_input`);
  const { length } = inputIds;
  if (length === 0) throw fieldError(`${param}.model_input`, 'has no tokens');
  if (length > maxLength) {
    throw fieldError(`${param}.model_input`, `has ${length} tokens; the limit is ${maxLength}`);
  }
  const { [TARGETS]: given, ...rest } = datum.lossFnInputs;
  if (!given) throw fieldError(`${param}.${TARGETS}`, 'is required');
  const targets = readMatrix(given, `${param}.${TARGETS}`, length);
  const { columns } = targets;
  const used = Object.entries(rest).filter(([name]) => names.has(name));
  const inputs = used.map(([name, tensor]) => {
    const matrix = readMatrix(tensor, `${param}.${name}`, length);
    if (!matrix.values.every(Number.isFinite))
      throw fieldError(`${param}.${name}`, 'is not finite');
    if (matrix.columns === columns) return [name, matrix] as const;
    const fault = `has ${matrix.columns} values per token, but ${TARGETS} has ${columns}`;
    throw fieldError(`${param}.${name}`, fault);
  });
  for (const [name, ids] of Object.entries({ model_input: inputIds, [TARGETS]: targets.values })) {
    const foreign = ids.find((id) => id < 0 || id >= vocabSize);
    if (foreign === undefined) continue;
    const fault = `${foreign} is not a token of the base (0 to ${vocabSize - 1})`;
    throw fieldError(`${param}.${name}`, fault);
  }
  return Array.from({ length: columns }, (_, column) => ({
    inputIds,
    targets: Int32Array.from({ length }, (_, t) => targets.values[t * columns + column]!),
    inputs: Object.fromEntries(
      inputs.map(([name, { values }]) => [
        name,
        Float32Array.from({ length }, (_, t) => values[t * columns + column]!),
      ]),
    ),
  }));
}

function readTokens({ modelInput }: Datum, param: string): Int32Array {
  const parts = modelInput.map(({ chunk }) => {
    if (chunk.case === 'encodedText') return toArray(Int32Array, chunk.value.tokens, param);
    throw fieldError(param, 'contains a chunk that is not text; this base reads only text');
  });
  return Int32Array.from(parts.flatMap((part) => [...part]));
}

/** Writes the result of a pass. @param columns as in `Pass` */
export function writePassResult(
  { logProbs, loss }: PassResult,
  columns: readonly number[],
): Uint8Array {
  const sequences: Float32Array[] = [];
  let first = 0;
  for (const count of columns) {
    sequences.push(toRows(logProbs.slice(first, first + count)));
    first += count;
  }
  return toBinary(
    ForwardBackwardOutputSchema,
    create(ForwardBackwardOutputSchema, {
      lossFnOutputType: 'TorchLossReturn',
      lossFnOutputs: runsOf(columns).map(({ begin, end }) =>
        toRecord(sequences.slice(begin, end), columns[begin]!),
      ),
      metrics: { 'loss:sum': loss },
    }),
  );
}

/** Interleaves columns of the same length. */
function toRows(columns: readonly Float32Array[]): Float32Array {
  const count = columns.length;
  return Float32Array.from({ length: columns[0]!.length * count }, (_, i) => {
    return columns[i % count]![Math.floor(i / count)]!;
  });
}

/** Finds the runs of equal numbers: the sequences of a record have the same shape but for their lengths. */
function runsOf(numbers: readonly number[]): { readonly begin: number; readonly end: number }[] {
  const begins = numbers.flatMap((number, i) => (number === numbers[i - 1] ? [] : [i]));
  return begins.map((begin, i) => ({ begin, end: begins[i + 1] ?? numbers.length }));
}

function toRecord(sequences: readonly Float32Array[], columns: number) {
  const offsets = new BigInt64Array(sequences.length + 1);
  for (const [i, { byteLength }] of sequences.entries())
    offsets[i + 1] = offsets[i]! + BigInt(byteLength);
  return {
    numDatums: sequences.length,
    fields: {
      logprobs: {
        data: new Uint8Array(Buffer.concat(sequences.map(asBytes))),
        offsets: asBytes(offsets),
        dtype: DType.DTYPE_FLOAT32,
        trailingShape: columns === 1 ? [] : [BigInt(columns)],
      },
    },
  };
}

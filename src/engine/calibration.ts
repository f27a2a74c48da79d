// Runs a served model over token ids and measures its values: the largest keys and values, for the scales of an int8 cache, and
// the inputs of the linears, for their per-token form.
import type { DecoderConfig } from '../model/config.ts';
import { keyFactor } from '../model/kv-attention.ts';
import type { KvMaxima } from '../model/kv-scales.ts';
import { rowLinears } from '../model/row-weights.ts';
import { observation } from '../model/serving-graph.ts';
import { separateLargeBlocks } from '../ort/libc.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import type { LinearInputs } from '../quant/smoothing.ts';
import { AdapterSlots } from './adapters/adapter-slots.ts';
import { GraphSessions, type RuntimeOptions } from './graph-sessions.ts';
import { KvCache, type KvLayer } from './kv-cache.ts';
import { ModelRunner } from './model-runner.ts';
import { openServingFolder, type ServingModel } from './serving-folder.ts';
import { explainFailure } from './trial-run.ts';

/** The tokens are read in windows of this length, each like a prompt, and the windows in chunks. */
const WINDOW_TOKENS = 512;
const CHUNK_TOKENS = 256;
/** How often a run checks the signal. A chunk of a large base takes many seconds. */
const STOP_POLL_MS = 100;

/** How a model reads the tokens. */
interface ReadingOptions {
  readonly runtime?: RuntimeOptions;
  /** Ends the reading, even during a run, which rejects with an `AbortError`. */
  readonly signal?: AbortSignal;
  /** Called after each chunk with the share of the text that was read. */
  readonly onRead?: (share: number) => void;
}

/**
 * Returns the maxima of each layer over the tokens. They are measured on a cache of floats, so they describe the cached values
 * in every form of the weights. Tokens at the end that fill no window are left out. Throws `FileError` if the folder is
 * invalid.
 */
export async function measureKvMaxima(
  servingDir: string,
  tokenIds: readonly number[],
  options: ReadingOptions = {},
): Promise<KvMaxima[]> {
  const served = openServingFolder(servingDir);
  const { config } = served;
  const layers = Array.from({ length: config.layerCount }, () => emptyMaxima(config));
  const reading = { tokenIds, ...options };
  await readWindows(served, reading, {
    afterWindow: (cache) => {
      cache.range(0, 1).forEach((layer, i) => {
        raise(layers[i]!, layer, { config, factor: keyFactor(config, config.layers[i]!.rope) });
      });
    },
  });
  return layers;
}

/**
 * Observes the inputs of each linear, in the order of `rowLinears`. The samples are the last rows of chunks. Throws `FileError` if
 * the folder is invalid.
 */
export async function measureInputs(
  servingDir: string,
  tokenIds: readonly number[],
  options: ReadingOptions = {},
): Promise<LinearInputs[]> {
  const served = openServingFolder(servingDir);
  const linears = rowLinears(served.config);
  const tensors = linears.map(({ inputs }) => hostTensor('float32', [2, inputs]));
  const observed = new Map(linears.map((linear, i) => [observation(linear), tensors[i]!]));
  const seen = linears.map(({ inputs }) => ({
    maxima: new Float32Array(inputs),
    samples: [] as Float32Array[],
  }));
  const reading = { tokenIds, ...options };
  await readWindows(served, reading, {
    observed,
    afterChunk: () => {
      for (const [i, { maxima, samples }] of seen.entries()) {
        const { data } = tensors[i]!;
        raiseEach(maxima, data);
        samples.push(data.slice(maxima.length));
      }
    },
  });
  return seen;
}

/** Observes a model while it reads a text. */
interface Observer {
  /** The outputs that observe linears, written by each run. */
  readonly observed?: ReadonlyMap<string, OrtTensor>;
  afterChunk?(): void;
  /** Called when the cache holds a whole window. */
  afterWindow?(cache: KvCache): void;
}

async function readWindows(
  served: ServingModel,
  {
    tokenIds,
    runtime = {},
    signal,
    onRead,
  }: ReadingOptions & { readonly tokenIds: readonly number[] },
  { observed, afterChunk, afterWindow }: Observer,
): Promise<void> {
  const { config, file } = served;
  separateLargeBlocks(); // this process continues without the model
  const maxSeqLength = Math.min(WINDOW_TOKENS, config.maxPositions, tokenIds.length);
  const cache = new KvCache(config, { slotCount: 1, maxSeqLength });
  const slots = new AdapterSlots(config, { capacity: 1, capacityBytes: 0 });
  const observes = observed !== undefined;
  const sessions = new GraphSessions(served, maxSeqLength, { runtime, observes });
  const runner = new ModelRunner({ config, sessions, cache, slots, observed });
  const readChunk = (chunk: readonly number[], past: number) =>
    runner.runHidden({
      tokenIds: chunk,
      firstSlot: 0,
      pastLengths: [past],
      logitRows: [chunk.length - 1],
      slots: [0],
    });
  // Terminates repeatedly, because a run that still waits for its session would miss a single call.
  const stopping = setInterval(() => signal?.aborted && runner.terminate(), STOP_POLL_MS);
  try {
    for (let start = 0; start + maxSeqLength <= tokenIds.length; start += maxSeqLength) {
      for (let past = 0; past < maxSeqLength; past += CHUNK_TOKENS) {
        const end = Math.min(past + CHUNK_TOKENS, maxSeqLength);
        const chunk = tokenIds.slice(start + past, start + end);
        signal?.throwIfAborted();
        await explainFailure(() => readChunk(chunk, past), signal);
        afterChunk?.();
        onRead?.((start + end) / tokenIds.length);
      }
      afterWindow?.(cache);
    }
  } finally {
    clearInterval(stopping);
    await sessions.release();
    file.dropPages();
  }
}

function raiseEach(maxima: Float32Array, values: Float32Array): void {
  for (let i = 0; i < maxima.length; i++) maxima[i] = Math.max(maxima[i]!, values[i]!);
}

function emptyMaxima({ kvHeadCount, headDim }: DecoderConfig): KvMaxima {
  const width = kvHeadCount * headDim;
  return { key: new Float32Array(width), value: new Float32Array(width) };
}

/** Raises the maxima to the magnitudes of a full slot [1, kvHeads, positions, headDim], whose keys have a factor. */
function raise(
  maxima: KvMaxima,
  layer: KvLayer,
  { config, factor }: { readonly config: DecoderConfig; readonly factor: number },
): void {
  const { kvHeadCount, headDim, rotaryDim } = config;
  const keys = layer.key.data as Float32Array;
  const values = layer.value.data as Float32Array;
  const perHead = keys.length / kvHeadCount;
  for (let i = 0; i < keys.length; i++) {
    const element = i % headDim;
    const channel = Math.floor(i / perHead) * headDim + element;
    const partner = i + (element < rotaryDim / 2 ? rotaryDim / 2 : -rotaryDim / 2);
    const length = element < rotaryDim ? Math.hypot(keys[i]!, keys[partner]!) : Math.abs(keys[i]!);
    maxima.key[channel] = Math.max(maxima.key[channel]!, length / factor);
    maxima.value[channel] = Math.max(maxima.value[channel]!, Math.abs(values[i]!));
  }
}

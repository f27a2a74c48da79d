// Runs a served model over token ids with a float cache, and finds the largest keys and values. The scales of an int8 cache
// come from what is really cached, whatever the form of the weights.
import type { DecoderConfig } from '../model/config.ts';
import type { KvMaxima } from '../model/kv-scales.ts';
import { AdapterSlots } from './adapters/adapter-slots.ts';
import { GraphSessions, type RuntimeOptions } from './graph-sessions.ts';
import { KvCache, type KvLayer } from './kv-cache.ts';
import { ModelRunner } from './model-runner.ts';
import { openServingFolder } from './serving-folder.ts';

/** The tokens are read in windows of this length, as if each were a prompt, and those in chunks. */
const WINDOW_TOKENS = 512;
const CHUNK_TOKENS = 256;

/**
 * Returns the maxima of each layer over the tokens; the last tokens that fill no window are left out.
 * Throws `FileError` if the folder is invalid.
 */
export async function measureKvMaxima(
  servingDir: string,
  tokenIds: readonly number[],
  runtime: RuntimeOptions = {},
): Promise<KvMaxima[]> {
  const served = openServingFolder(servingDir);
  const { config } = served;
  const maxSeqLength = Math.min(WINDOW_TOKENS, config.maxPositions, tokenIds.length);
  const cache = new KvCache(config, { slotCount: 1, maxSeqLength });
  const slots = new AdapterSlots(config, { capacity: 1, capacityBytes: 0 });
  const sessions = new GraphSessions(served, maxSeqLength, { runtime });
  const runner = new ModelRunner({ config, sessions, cache, slots });
  const layers = Array.from({ length: config.layerCount }, () => emptyMaxima(config));
  try {
    for (let start = 0; start + maxSeqLength <= tokenIds.length; start += maxSeqLength) {
      await fillSlot(runner, tokenIds.slice(start, start + maxSeqLength));
      cache.range(0, 1).forEach((layer, i) => {
        raise(layers[i]!, layer, config);
      });
    }
  } finally {
    await sessions.release();
  }
  return layers;
}

function emptyMaxima({ kvHeadCount, headDim }: DecoderConfig): KvMaxima {
  const width = kvHeadCount * headDim;
  return { key: new Float32Array(width), value: new Float32Array(width) };
}

async function fillSlot(runner: ModelRunner, tokenIds: readonly number[]): Promise<void> {
  for (let past = 0; past < tokenIds.length; past += CHUNK_TOKENS) {
    const chunk = tokenIds.slice(past, past + CHUNK_TOKENS);
    await runner.run({
      tokenIds: chunk,
      firstSlot: 0,
      pastLengths: [past],
      logitRows: [chunk.length - 1],
      lora: { kind: 'none' },
    });
  }
}

/** Raises the maxima to the magnitudes of a full slot [1, kvHeads, positions, headDim]. */
function raise(maxima: KvMaxima, layer: KvLayer, { kvHeadCount, headDim }: DecoderConfig): void {
  const keys = layer.key.data as Float32Array;
  const values = layer.value.data as Float32Array;
  const perHead = keys.length / kvHeadCount;
  for (let i = 0; i < keys.length; i++) {
    const element = i % headDim;
    const channel = Math.floor(i / perHead) * headDim + element;
    const partner = i + (element < headDim / 2 ? headDim / 2 : -headDim / 2);
    const length = Math.hypot(keys[i]!, keys[partner]!);
    maxima.key[channel] = Math.max(maxima.key[channel]!, length);
    maxima.value[channel] = Math.max(maxima.value[channel]!, Math.abs(values[i]!));
  }
}

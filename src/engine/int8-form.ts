// Decides how weights in per-token form are packed for the hardware of a machine, and rounds them to 4 bits.
import { availableParallelism } from 'node:os';
import { describeProcessor, type ProcessorFeature } from '../common/processor.ts';
import type { DecoderConfig } from '../model/config.ts';
import type { KvType } from '../model/kv-attention.ts';
import { canPack, RECORD, type RowPacking } from '../model/row-weights.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import { ownInstructions, roundBlocks } from '../ort/own-operators.ts';
import { PROVIDERS, type Provider } from '../settings/provider.ts';

/** The hardware that decides. */
export interface Int8Hardware {
  /** The CPU's instruction sets; undefined if the system does not report them. */
  readonly features: readonly ProcessorFeature[] | undefined;
  /** The instruction set of our own operator on this CPU; undefined if it does not run here. */
  readonly ownInstructions: string | undefined;
}

function int8Hardware(): Int8Hardware {
  return { features: describeProcessor().features, ownInstructions: ownInstructions() };
}

/** Returns the elements of the cache. Only our own operators read floats of 16 bits. */
export function cacheType(wanted: KvType, packing: RowPacking | undefined): KvType {
  return wanted === 'f16' && packing !== 'packed' ? 'f32' : wanted;
}

/** A base as it is served. */
interface ServedBase {
  readonly config: DecoderConfig;
  readonly weights: WeightsMode;
  readonly provider: Provider;
}

/**
 * Returns the packings in which a machine can compute a base, the faster one first; none if the base has no per-token form. Our own
 * operator does not use AMX, which the runtime's product does.
 */
export function usablePackings(
  { config, weights, provider }: ServedBase,
  { features, ownInstructions }: Int8Hardware = int8Hardware(),
): readonly RowPacking[] {
  if (PROVIDERS[provider].memory !== 'host') return [];
  if (weights === 'int4') return ownInstructions && canPack(config, 4) ? ['packed'] : [];
  if (weights !== 'int8') return [];
  if (ownInstructions === undefined || !canPack(config)) return ['plain'];
  return features?.includes('amx') ? ['plain', 'packed'] : ['packed', 'plain'];
}

/**
 * Rounds values [outputs, inputs] to records [outputs / 16, inputs / 32, 320] on all cores. Sizes are whole records. Our own
 * operators can run here.
 */
export async function roundOnAllCores(
  values: Float32Array,
  inputs: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const rowBytes = (inputs / RECORD.inputs) * (RECORD.bytes / RECORD.outputs);
  const outputs = values.length / inputs;
  const records = new Uint8Array(outputs * rowBytes);
  const shares = availableParallelism();
  const step = RECORD.outputs * Math.ceil(outputs / RECORD.outputs / shares);
  const parts = Array.from({ length: Math.ceil(outputs / step) }, (_, i) => {
    const [first, last] = [i * step, Math.min(outputs, (i + 1) * step)];
    const from = values.subarray(first * inputs, last * inputs);
    return roundBlocks(from, inputs, records.subarray(first * rowBytes, last * rowBytes));
  });
  await Promise.all(parts);
  return records;
}

// Adapters whose content is a number. Every weight has the same value, so that bytes of two adapters cannot be mixed up
// unnoticed.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { adapterDigest } from '../../adapters/peft/files.ts';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { configBytes, sampleTensors } from '../adapters/sample.ts';

const SCALE = 1024;

interface Files {
  readonly config: Uint8Array;
  readonly weights: Uint8Array;
  readonly digest: string;
}

const made = new Map<number, Files>();
const codes = new Map<string, number>();

function filesOf(code: number): Files {
  const known = made.get(code);
  if (known) return known;
  const config = configBytes();
  const weights = serializeSafetensors(
    sampleTensors({ targets: ['q_proj', 'v_proj'], value: () => code / SCALE }),
  );
  const files = { config, weights, digest: adapterDigest(config, weights) };
  made.set(code, files);
  codes.set(files.digest, code);
  return files;
}

/** Writes the PEFT folder of a code, an integer from 1 to 1023. Returns its digest. */
export function writeAdapter(directory: string, code: number): string {
  const { config, weights, digest } = filesOf(code);
  mkdirSync(directory, { recursive: true });
  writeFileSync(path.join(directory, 'adapter_config.json'), config);
  writeFileSync(path.join(directory, 'adapter_model.safetensors'), weights);
  return digest;
}

/** The digest of an adapter's files. */
export function digestOf(code: number): string {
  return filesOf(code).digest;
}

/** The code of files that were made here. */
export function codeOfDigest(digest: string): number | undefined {
  return codes.get(digest);
}

/** The code of loaded weights; undefined if they are a mixture. */
export function codeOfWeights({ layers }: Pick<AdapterWeights, 'layers'>): number | undefined {
  const values = layers.flatMap((layer) => Object.values(layer).map(({ a }) => a));
  const first = values[0]?.[0];
  if (first === undefined) return undefined;
  const isPure = values.every((matrix) => matrix.every((value) => value === first));
  return isPure ? Math.round(first * SCALE) : undefined;
}

// Creates a tiny seeded decoder and adapters for it. Nothing is stored between tests.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import {
  type AdapterWeights,
  type LoraPair,
  type OtherChanges,
  toWeights,
} from '../adapters/peft/weights.ts';
import { elementCount, fromFloat32, type Tensor } from '../src/common/tensor.ts';
import { BASE_LIMITS, memorySource, parseSafetensors } from '../src/formats/safetensors.ts';
import type { Artifact } from '../src/import/artifact.ts';
import { normVector, outputVector, type VectorName } from '../src/model/adapter-vectors.ts';
import { type DecoderConfig, parseDecoderConfig } from '../src/model/config.ts';
import { KV_SCALES_FILE, kvScaleCount, scaleOf } from '../src/model/kv-scales.ts';
import { expectedTensors } from '../src/model/names.ts';
import { normVectors, type WeightsMode } from '../src/model/serving-weights.ts';
import { TARGET_MODULES, type TargetName, targetNames } from '../src/model/target-modules.ts';
import type { TableChange } from '../src/model/vocabulary-changes.ts';
import { ensureServingFiles } from './ensure-serving-files.ts';

const TINY_CONFIG = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 96,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  tie_word_embeddings: true,
  eos_token_id: 2,
};

/** mulberry32: uniform in [-1, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

export interface TinyModel {
  config: DecoderConfig;
  artifact: Artifact;
  /** The checkpoint's values by name. */
  weights: (name: string) => Float32Array;
}

export function tinyModel(changes: Record<string, unknown> = {}, seed = 1): TinyModel {
  const configJson = { ...TINY_CONFIG, ...changes };
  const config = parseDecoderConfig(configJson);
  const random = seededRandom(seed);
  const values = new Map<string, Float32Array>();
  const tensors = new Map<string, Tensor>();
  for (const [name, shape] of expectedTensors(config)) {
    const mean = name.includes('norm') && !config.normAddsOne ? 1 : 0;
    const data = new Float32Array(elementCount(shape)).map(() => mean + 0.3 * random());
    values.set(name, data);
    tensors.set(name, fromFloat32(data, shape, 'F32'));
  }
  const artifact: Artifact = {
    dir: '',
    info: {
      format: 1,
      name: 'tiny',
      source: 'tiny',
      digest: `tiny-${seed}-${JSON.stringify(changes)}`.replace(/[^a-z0-9]/gi, '_').padEnd(64, '0'),
      quantization: 'none',
    } as Artifact['info'],
    configJson,
    config,
    tensors: memorySource(tensors),
    [Symbol.dispose]() {},
  };
  return { config, artifact, weights: (name) => values.get(name)! };
}

/** SmolLM2-135M's config.json, for tests that need a real shape but no weights. */
export const SMOLLM2 = {
  model_type: 'llama',
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: 49_152,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
};

/** Creates a temporary folder that is removed when the test `t` ends, or the file if there is none. */
export function temporaryFolder(t: { after(fn: () => void): void } = { after }): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-test-'));
  t.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }));
  return dir;
}

/** Reads a safetensors file. */
export function readTensors(file: string): ReadonlyMap<string, Tensor> {
  return parseSafetensors(readFileSync(file), BASE_LIMITS).tensors;
}

export async function servingFolder(
  t: { after(fn: () => void): void },
  model: TinyModel,
  weights: WeightsMode,
): Promise<string> {
  return ensureServingFiles(model.artifact, { weights, cacheDir: temporaryFolder(t) });
}

/** Gives a serving folder scales that cover magnitudes up to `max` in every channel. */
export function writeKvScales(dir: string, config: DecoderConfig, max: number): void {
  const scales = new Float32Array(kvScaleCount(config)).fill(scaleOf(max));
  writeFileSync(path.join(dir, KV_SCALES_FILE), scales);
}

/** Creates an adapter of these targets with seeded weights that are large enough to change the output. */
export function tinyAdapter(
  config: DecoderConfig,
  options: {
    seed: number;
    rank: number;
    targets: readonly TargetName[];
    layers?: readonly number[];
    changes?: OtherChanges;
  },
): AdapterWeights {
  const { seed, rank, targets } = options;
  const random = seededRandom(seed);
  const fill = (count: number) => new Float32Array(count).map(() => 0.3 * random());
  const pair = (target: TargetName): LoraPair => ({
    rank,
    a: fill(TARGET_MODULES[target].inFeatures(config) * rank),
    b: fill(rank * TARGET_MODULES[target].outFeatures(config)),
  });
  const layers = Array.from({ length: config.layerCount }, (_, layer) =>
    options.layers && !options.layers.includes(layer)
      ? {}
      : Object.fromEntries(targets.map((target) => [target, pair(target)])),
  );
  return { ...toWeights(`adapter-${seed}`, layers, options.changes), rank, targets };
}

/** An adapter that changes everything that an adapter can change. */
export function wideAdapter({ config }: TinyModel, seed: number): AdapterWeights {
  const targets = targetNames(config);
  const random = seededRandom(1000 + seed);
  const fill = (length: number) => new Float32Array(length).map(() => 0.3 * random());
  const vectors = new Map<VectorName, Float32Array>();
  for (const target of targets) {
    const length = TARGET_MODULES[target].outFeatures(config);
    for (const kind of ['scale', 'bias'] as const)
      vectors.set(outputVector(kind, seed % 2, target), fill(length));
  }
  for (const { name, dims } of normVectors(config)) vectors.set(normVector(name), fill(dims[0]!));
  const { vocabSize, hiddenSize } = config;
  const rows = (count: number) => fill(count * hiddenSize);
  const ids = [seed, 11];
  const changes: TableChange[] = [
    { kind: 'update', weight: 0.5, rank: 2, a: fill(2 * vocabSize), b: rows(2) },
    { kind: 'whole', weight: 0.7, rows: rows(vocabSize) },
    { kind: 'tokens', weight: 1, ids, rows: rows(ids.length) },
  ];
  // A head whose logits are capped cannot be changed.
  const vocabulary = { embedding: changes, head: config.logitsSoftcap ? [] : changes };
  const options = { seed, rank: 2, targets };
  return tinyAdapter(config, { ...options, changes: { vectors, vocabulary } });
}

/** An adapter of linears with a vocabulary of so many tokens, which also changes tokens of the base. */
export function ownVocabulary({ config }: TinyModel, size: number, seed: number): AdapterWeights {
  const random = seededRandom(2000 + seed);
  const { vocabSize, hiddenSize } = config;
  const fill = (length: number) => new Float32Array(length).map(() => 0.3 * random());
  const common = Math.min(size, vocabSize);
  const added = fill(Math.max(0, size - vocabSize) * hiddenSize);
  const changes: TableChange[] = [
    { kind: 'update', weight: 0.5, rank: 2, a: fill(2 * common), b: fill(2 * hiddenSize) },
    { kind: 'whole', weight: 0.7, rows: fill(common * hiddenSize) },
    { kind: 'tokens', weight: 1, ids: [3, 11], rows: fill(2 * hiddenSize) },
  ];
  const own = { size, embedding: added, head: fill(added.length) };
  const vocabulary = { embedding: changes, head: changes, own };
  return tinyAdapter(config, {
    seed: 50 + seed,
    rank: 2,
    targets: ['q_proj'],
    changes: { vocabulary },
  });
}

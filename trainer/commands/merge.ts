// `lorikeet merge`: adds an adapter to its base's tensors, and writes a whole model in 16 or 32 bits. NF4 is not offered: its
// 16 values are coarser than an adapter's changes, so quantizing again would round most of them away.
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { invalidAdapter } from '../../adapters/peft/refusal.ts';
import type { AdapterWeights, LoraPair } from '../../adapters/peft/weights.ts';
import { trainableBaseOf } from '../../src/adapted-base/adapted-base.ts';
import { ConfigError } from '../../src/common/errors.ts';
import {
  type FloatDType,
  fromFloat32,
  type Matrix,
  type Tensor,
  type TensorInfo,
  toFloat32,
  transposed,
} from '../../src/common/tensor.ts';
import type { WritableTensors } from '../../src/formats/safetensors.ts';
import { type Artifact, denseValues, readLinear } from '../../src/import/artifact.ts';
import { normVector, outputVector } from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import {
  biasName,
  embeddingName,
  expectedTensors,
  hasBias,
  headName,
  weightName,
} from '../../src/model/names.ts';
import { linearsOf, moduleName } from '../../src/model/target-modules.ts';
import { changedRow, type TableChange, tableArrays } from '../../src/model/vocabulary-changes.ts';
import { writeModel } from '../run/result-files.ts';

const DTYPES: Readonly<Record<string, FloatDType>> = {
  bf16: 'BF16',
  bfloat16: 'BF16',
  fp16: 'F16',
  float16: 'F16',
  fp32: 'F32',
  float32: 'F32',
};

/** Parses --dtype. @throws ConfigError if it is not bf16, fp16 or fp32 */
export function parseDtype(text: string | undefined): FloatDType | undefined {
  if (text === undefined) return undefined;
  const dtype = DTYPES[text.toLowerCase()];
  if (dtype) return dtype;
  const isPacked = /nf4|4.?bit|int8|8.?bit/i.test(text);
  throw new ConfigError(
    isPacked
      ? `--dtype: an adapter cannot be merged into ${text}, because quantizing W + BA again would round away most of BA. Use bf16, or serve base and adapter without merging them.`
      : `--dtype: must be bf16, fp16 or fp32`,
  );
}

/**
 * Writes the merged model to `outDir`, one tensor at a time.
 * @param dtype undefined: each tensor keeps the base's dtype (NF4 linears get the embedding's)
 * @throws ServeError if the adapter does not fit the base, or is not a change of its tensors
 */
export async function mergeModel(
  artifact: Artifact,
  adapterDir: string,
  { outDir, dtype }: { outDir: string; dtype: FloatDType | undefined },
): Promise<void> {
  const { config } = artifact;
  const files = await readAdapterFiles(adapterDir);
  const adapter = await parseAdapter(files, config, trainableBaseOf(artifact));
  refuseUnmergeable(adapter, config);
  const tensors = mergedTensors(artifact, adapter, dtype);
  const linears = tensors.infos.get(weightName(0, 'o_proj'))!.dtype as FloatDType;
  await writeModel(outDir, { baseDir: artifact.dir, tensors, dtype: linears });
}

function refuseUnmergeable(adapter: AdapterWeights, config: DecoderConfig): void {
  const refuse = (field: string, reason: string): never => {
    throw invalidAdapter(field, `cannot be merged: ${reason}`);
  };
  if (adapter.classifier) refuse('task_type', "a classifier's head is not a part of the model");
  if (adapter.invocation) {
    refuse('alora_invocation_tokens', 'the adapter is not used for all tokens');
  }
  const { embedding, head } = adapter.vocabulary;
  const arrays = (changes: readonly TableChange[]) => changes.flatMap(tableArrays);
  const isShared = arrays(embedding).every((array, i) => array === arrays(head)[i]);
  if (config.tiedEmbeddings && !(isShared && embedding.length === head.length)) {
    refuse('lm_head', 'the base has one table for embedding and head, which would differ');
  }
  for (const [layer, target] of linearsOf(config)) {
    if (hasBias(config, target) || !adapter.vectors.has(outputVector('bias', layer, target)))
      continue;
    refuse('lora_bias', `${moduleName(layer, target)} has no bias in the base`);
  }
}

/** Computes the merged values of a tensor of the base. */
type Merging = () => Float32Array;

function mergedTensors(
  artifact: Artifact,
  adapter: AdapterWeights,
  dtype: FloatDType | undefined,
): WritableTensors {
  const { config, tensors } = artifact;
  const merging = mergings(artifact, adapter);
  const infos = new Map<string, TensorInfo>();
  for (const [name, shape] of expectedTensors(config)) {
    const own = tensors.infos.get(name)!.dtype;
    const unpacked = own === 'U8' ? tensors.infos.get(embeddingName)!.dtype : own;
    infos.set(name, { dtype: dtype ?? unpacked, shape });
  }
  return {
    infos,
    read(name) {
      const info = infos.get(name)!;
      const merged = merging.get(name)?.();
      if (merged) return convert(merged, info);
      const tensor = tensors.read(name);
      return tensor.dtype === info.dtype ? tensor : convert(toFloat32(tensor), info);
    },
  };
}

/** Returns the computation for each tensor that may change, by name. */
function mergings(artifact: Artifact, adapter: AdapterWeights): ReadonlyMap<string, Merging> {
  const { config, tensors } = artifact;
  const { vectors, vocabulary, layers } = adapter;
  const own = (name: string) => toFloat32(tensors.read(name));
  const byName = new Map<string, Merging>();
  for (const [layer, target] of linearsOf(config)) {
    const scale = vectors.get(outputVector('scale', layer, target));
    const pair = layers[layer]![target];
    const module = moduleName(layer, target);
    byName.set(weightName(layer, target), () => mergedLinear(artifact, module, { pair, scale }));
    const bias = vectors.get(outputVector('bias', layer, target));
    if (!bias) continue;
    const scaleOf = (output: number) => 1 + (scale?.[output] ?? 0);
    byName.set(biasName(layer, target), () =>
      own(biasName(layer, target)).map((value, output) => value * scaleOf(output) + bias[output]!),
    );
  }
  for (const name of expectedTensors(config).keys()) {
    const added = vectors.get(normVector(name));
    if (added) byName.set(name, () => own(name).map((value, i) => value + added[i]!));
  }
  const tables = { [embeddingName]: vocabulary.embedding, [headName]: vocabulary.head };
  for (const [name, changes] of Object.entries(tables)) {
    if (changes.length > 0)
      byName.set(name, () => mergedTable(own(name), config.hiddenSize, changes));
  }
  return byName;
}

/** Returns W [out, in] with its rows multiplied by 1 + scale, plus the update. */
function mergedLinear(
  artifact: Artifact,
  module: string,
  { pair, scale }: { pair: LoraPair | undefined; scale: Float32Array | undefined },
): Float32Array {
  const linear = readLinear(artifact, module);
  const { rows, cols } = linear;
  const values = denseValues(linear).slice();
  if (scale) for (let i = 0; i < values.length; i++) values[i]! *= 1 + scale[Math.floor(i / cols)]!;
  if (pair) {
    const { rank } = pair;
    const a = transposed(pair.a, [cols, rank]);
    const b = transposed(pair.b, [rank, rows]);
    addProduct({ values, rows, cols }, { rank, a, b });
  }
  return values;
}

/** W [rows, cols] += B A, with A [rank, cols] and B [rows, rank]. */
function addProduct({ values, rows, cols }: Matrix, { rank, a, b }: LoraPair): void {
  const sum = new Float32Array(cols);
  for (let row = 0; row < rows; row++) {
    sum.fill(0);
    for (let k = 0; k < rank; k++) {
      const scale = b[row * rank + k]!;
      for (let i = 0, from = k * cols; i < cols; i++) sum[i]! += scale * a[from + i]!;
    }
    for (let i = 0, to = row * cols; i < cols; i++) values[to + i]! += sum[i]!;
  }
}

/** Returns the embedding or the output head [vocabulary, hidden] with the adapter's changes. */
function mergedTable(
  values: Float32Array,
  width: number,
  changes: readonly TableChange[],
): Float32Array {
  const added = new Float32Array(width);
  const merged = values.slice();
  for (let id = 0, at = 0; at < values.length; id++, at += width) {
    const keep = changedRow(changes, id, added);
    for (let i = 0; i < width; i++) merged[at + i] = keep * values[at + i]! + added[i]!;
  }
  return merged;
}

function convert(values: Float32Array, { shape, dtype }: TensorInfo): Tensor {
  return fromFloat32(values, shape, dtype as FloatDType);
}

// `lorikeet merge`: adds an adapter to its base's weights, W + B A, and writes a whole model in 16 or 32 bits. It never writes
// NF4: its 16 values are coarser than an adapter's changes, so quantizing again would round most of them away.
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { invalidAdapter } from '../../adapters/peft/refusal.ts';
import type { AdapterWeights, LoraPair } from '../../adapters/peft/weights.ts';
import { ConfigError } from '../../src/common/errors.ts';
import {
  type FloatDType,
  fromFloat32,
  type Tensor,
  type TensorInfo,
  toFloat32,
} from '../../src/common/tensor.ts';
import type { WritableTensors } from '../../src/formats/safetensors.ts';
import { type Artifact, denseValues, readLinear } from '../../src/import/artifact.ts';
import { embeddingName, expectedTensors, weightName } from '../../src/model/names.ts';
import { targetNames } from '../../src/model/target-modules.ts';
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
  throw new ConfigError([
    isPacked
      ? `--dtype: an adapter cannot be merged into ${text}, because quantizing W + BA again would round away most of BA. Use bf16, or serve base and adapter without merging them.`
      : `--dtype: must be bf16, fp16 or fp32`,
  ]);
}

/**
 * Writes the merged model to `outDir`, one tensor at a time.
 * @param dtype undefined: each tensor keeps the base's own (NF4 linears get the embedding's)
 * @throws ServeError if the adapter does not fit the base
 */
export async function mergeModel(
  artifact: Artifact,
  adapterDir: string,
  { outDir, dtype }: { outDir: string; dtype: FloatDType | undefined },
): Promise<void> {
  const adapter = await parseAdapter(await readAdapterFiles(adapterDir), artifact.config);
  if (adapter.classifier) {
    throw invalidAdapter(
      'task_type',
      'a classifier cannot be merged: its head is not a part of the model',
    );
  }
  const tensors = mergedTensors(artifact, adapter, dtype);
  const linears = tensors.infos.get(weightName(0, 'o_proj'))!.dtype as FloatDType;
  await writeModel(outDir, { baseDir: artifact.dir, tensors, dtype: linears });
}

function mergedTensors(
  artifact: Artifact,
  adapter: AdapterWeights,
  dtype: FloatDType | undefined,
): WritableTensors {
  const { config, tensors } = artifact;
  const pairs = new Map<string, LoraPair | undefined>();
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const target of targetNames(config)) {
      pairs.set(weightName(layer, target), adapter.layers[layer]?.[target]);
    }
  }
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
      if (pairs.has(name)) return mergedLinear(artifact, name, { pair: pairs.get(name), info });
      const tensor = tensors.read(name);
      return tensor.dtype === info.dtype ? tensor : convert(toFloat32(tensor), info);
    },
  };
}

function mergedLinear(
  artifact: Artifact,
  name: string,
  { pair, info }: { pair: LoraPair | undefined; info: TensorInfo },
): Tensor {
  const linear = readLinear(artifact, name.slice(0, -'.weight'.length));
  const { rows, cols } = linear; // [out, in]
  const values = denseValues(linear);
  if (pair) addProduct(values, pair, { rows, cols });
  return convert(values, info);
}

/** W [out, in] += (A [in, r] B [r, out])ᵀ; B includes the scaling. */
function addProduct(
  values: Float32Array,
  { rank, a, b }: LoraPair,
  { rows, cols }: { rows: number; cols: number },
): void {
  const factors = new Float32Array(rank * cols); // [r, in]: its rows are read below
  for (let i = 0; i < cols; i++) {
    for (let k = 0; k < rank; k++) factors[k * cols + i] = a[i * rank + k]!;
  }
  const delta = new Float32Array(cols);
  for (let row = 0; row < rows; row++) {
    delta.fill(0);
    for (let k = 0; k < rank; k++) {
      const scale = b[k * rows + row]!;
      for (let i = 0, from = k * cols; i < cols; i++) delta[i]! += scale * factors[from + i]!;
    }
    for (let i = 0, to = row * cols; i < cols; i++) values[to + i]! += delta[i]!;
  }
}

function convert(values: Float32Array, { shape, dtype }: TensorInfo): Tensor {
  return fromFloat32(values, shape, dtype as FloatDType);
}

// Which weight tensors a serving graph reads, by name, type and shape: the one table behind the graph, the
// file that `lorikeet` builds from an artifact, and the session that is handed its mapped pages.
import { assert } from '../common/assert.ts';
import { elementCount } from '../common/tensor.ts';
import type { ElementType } from '../onnx/graph-builder.ts';
import type { DecoderConfig } from './config.ts';
import { expectedTensors, hasBias } from './names.ts';
import { SITE_NAMES, SITES, type Site, TARGET_MODULES } from './target-modules.ts';

/** `int8`: NF4 expanded to 8 bits; `nf4`: 4 bits, small and slow; `f32`: the exact reference. */
export const WEIGHTS_MODES = ['int8', 'nf4', 'f32'] as const;
export type WeightsMode = (typeof WEIGHTS_MODES)[number];

/** How one matrix is held at run time. */
export type MatrixForm = 'q8' | 'nf4' | 'f32';

/** Both quantized forms hold one scale per 64 values. */
export const BLOCK_SIZE = 64;

export interface ServingTensor {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly number[];
}

/** A matrix [rows, cols] = [out, in] as its run-time tensors. */
export interface ServingMatrix {
  readonly form: MatrixForm;
  readonly rows: number;
  readonly cols: number;
  readonly values: ServingTensor;
  /** One scale per block; absent for `f32`. */
  readonly scales: ServingTensor | undefined;
}

/** The linears of a site, stacked along their outputs into one matrix. */
export function siteMatrix(
  config: DecoderConfig,
  mode: WeightsMode,
  layer: number,
  site: Site,
): ServingMatrix {
  const targets = SITES[site];
  const cols = TARGET_MODULES[targets[0]!].inFeatures(config);
  const widths = targets.map((target) => TARGET_MODULES[target].outFeatures(config));
  const rows = widths.reduce((sum, width) => sum + width, 0);
  return matrix(`layers.${layer}.${site}`, siteForm(mode, cols, widths), rows, cols);
}

export function siteBias(
  config: DecoderConfig,
  layer: number,
  site: Site,
): ServingTensor | undefined {
  const targets = SITES[site];
  if (!hasBias(config, targets[0]!)) return undefined;
  const rows = targets.reduce((sum, t) => sum + TARGET_MODULES[t].outFeatures(config), 0);
  return { name: `layers.${layer}.${site}.bias`, type: 'float32', dims: [rows] };
}

/** The token embedding; a tied head multiplies with the same tensor. */
export function embeddingMatrix(config: DecoderConfig, mode: WeightsMode): ServingMatrix {
  return matrix('embed', tableForm(config, mode), config.vocabSize, config.hiddenSize);
}

export function headMatrix(config: DecoderConfig, mode: WeightsMode): ServingMatrix {
  if (config.tiedEmbeddings) return embeddingMatrix(config, mode);
  return matrix('head', tableForm(config, mode), config.vocabSize, config.hiddenSize);
}

/** A tensor that is served as it stands, widened to float32: norms. Same name as in the checkpoint. */
export function vectorTensor(name: string, length: number): ServingTensor {
  return { name, type: 'float32', dims: [length] };
}

/** The checkpoint's norm vectors: what is neither a linear's nor a table. */
export function normVectors(config: DecoderConfig): ServingTensor[] {
  return [...expectedTensors(config)]
    .filter(([name, shape]) => shape.length === 1 && !name.endsWith('.bias'))
    .map(([name, shape]) => vectorTensor(name, shape[0]!));
}

/**
 * `MatMulNBits` has its blocks along each row; NF4 blocks run over the flat matrix. They are the same only
 * where a row is whole blocks. A stack of flat matrices is one flat matrix only where each is whole blocks.
 */
function siteForm(mode: WeightsMode, cols: number, widths: readonly number[]): MatrixForm {
  if (mode === 'int8' && cols % BLOCK_SIZE === 0) return 'q8';
  if (mode === 'nf4' && widths.every((width) => (width * cols) % BLOCK_SIZE === 0)) return 'nf4';
  return 'f32';
}

/** Embedding and head are not NF4 in the artifact: 8 bits wherever memory counts. */
function tableForm(config: DecoderConfig, mode: WeightsMode): MatrixForm {
  return mode !== 'f32' && config.hiddenSize % BLOCK_SIZE === 0 ? 'q8' : 'f32';
}

function matrix(name: string, form: MatrixForm, rows: number, cols: number): ServingMatrix {
  const blocks = cols / BLOCK_SIZE;
  const count = rows * cols;
  const shared = { form, rows, cols };
  switch (form) {
    case 'q8':
      return {
        ...shared,
        values: { name: `${name}.q8`, type: 'uint8', dims: [rows, blocks, BLOCK_SIZE] },
        scales: { name: `${name}.scales`, type: 'float32', dims: [rows, blocks] },
      };
    case 'nf4':
      return {
        ...shared,
        values: { name: `${name}.nf4`, type: 'uint8', dims: [count / 2] },
        scales: { name: `${name}.absmax`, type: 'float32', dims: [count / BLOCK_SIZE] },
      };
    case 'f32':
      return {
        ...shared,
        values: { name: `${name}.f32`, type: 'float32', dims: [rows, cols] },
        scales: undefined,
      };
  }
}

/** Every tensor of a serving graph's weights, in the order of the file. */
export function servingTensors(config: DecoderConfig, mode: WeightsMode): ServingTensor[] {
  const tensors = new Map<string, ServingTensor>();
  const add = (tensor: ServingTensor | undefined) => tensor && tensors.set(tensor.name, tensor);
  const addMatrix = (m: ServingMatrix) => [m.values, m.scales].forEach(add);
  addMatrix(embeddingMatrix(config, mode));
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const site of SITE_NAMES) {
      addMatrix(siteMatrix(config, mode, layer, site));
      add(siteBias(config, layer, site));
    }
  }
  normVectors(config).forEach(add);
  addMatrix(headMatrix(config, mode));
  return [...tensors.values()];
}

const ELEMENT_BYTES: Partial<Record<ElementType, number>> = { uint8: 1, float32: 4 };

/** Bytes of a tensor of the weights file. */
export function tensorBytes({ type, dims }: ServingTensor): number {
  const bytes = ELEMENT_BYTES[type];
  assert(bytes, `a serving tensor is not ${type}`);
  return bytes * elementCount(dims);
}

/** Raised whenever the bytes of the weights file change meaning: older caches are built anew. */
export const LAYOUT_VERSION = 1;

/** What stands beside the weights file: enough to serve it without the artifact. */
export interface ServingLayout {
  readonly version: typeof LAYOUT_VERSION;
  readonly baseDigest: string;
  readonly weights: WeightsMode;
  /** The artifact's `config.json`. */
  readonly config: unknown;
  readonly tensors: readonly (ServingTensor & { readonly offset: number })[];
}

export const LAYOUT_FILE = 'layout.json';
export const WEIGHTS_FILE = 'weights.bin';

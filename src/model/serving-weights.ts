// The weight tensors of a serving graph: names, types and shapes. The graph, the weights file built from an artifact, and the
// sessions that map the file share this table.
import { assert } from '../common/assert.ts';
import { elementCount } from '../common/tensor.ts';
import type { ElementType } from '../onnx/graph-builder.ts';
import type { DecoderConfig } from './config.ts';
import { expectedTensors, hasBias } from './names.ts';
import {
  fusedLinear,
  headLinear,
  type RowForm,
  rowTensors,
  type ServingTensor,
} from './row-weights.ts';
import {
  FUSED_LINEAR_NAMES,
  type FusedLinear,
  fusedTargets,
  TARGET_MODULES,
} from './target-modules.ts';

/**
 * `int8`: NF4 expanded to 8 bits. `int4`: rounded to sixteen even levels, for bases of 1B parameters or more; with our own operator
 * the linears that lose most keep 8 bits. `nf4`: 4 bits, small and slow. `f32`: the exact reference.
 */
export const WEIGHTS_MODES = ['int8', 'int4', 'nf4', 'f32'] as const;
/** The serving form of a base's weights. */
export type WeightsMode = (typeof WEIGHTS_MODES)[number];

/** The format of a matrix at run time. */
type MatrixForm = 'q8' | 'q4' | 'nf4' | 'f32';

/** The values of `nf4` that share a scale. */
export const BLOCK_SIZE = 64;

/** The forms with evenly spaced levels: the bits of a value, and the values that share a scale, in `q4` also a zero point. */
export const EVEN_FORMS = { q8: { bits: 8, block: 64 }, q4: { bits: 4, block: 32 } } as const;

/** A matrix [rows, cols] = [out, in], stored as tensors. */
export interface ServingMatrix {
  readonly form: MatrixForm;
  readonly rows: number;
  readonly cols: number;
  readonly values: ServingTensor;
  /** One scale per quantization block; undefined for `f32`. */
  readonly scales: ServingTensor | undefined;
  /** 4 bits per quantization block, for `q4` only. */
  readonly zeroPoints?: ServingTensor;
}

/** Returns a fused linear: its targets stacked along their outputs. */
export function fusedMatrix(
  config: DecoderConfig,
  mode: WeightsMode,
  layer: number,
  fused: FusedLinear,
): ServingMatrix {
  const { name, inputs, outputs } = fusedLinear(config, layer, fused);
  const widths = fusedTargets(config, fused).map((t) => TARGET_MODULES[t].outFeatures(config));
  return matrix(name, fusedForm(mode, inputs, widths), outputs, inputs);
}

/** Returns the bias of a fused linear, if the family has one. */
export function fusedBias(
  config: DecoderConfig,
  layer: number,
  fused: FusedLinear,
): ServingTensor | undefined {
  const targets = fusedTargets(config, fused);
  if (!hasBias(config, targets[0]!)) return undefined;
  const rows = targets.reduce((sum, t) => sum + TARGET_MODULES[t].outFeatures(config), 0);
  return { name: `layers.${layer}.${fused}.bias`, type: 'float32', dims: [rows] };
}

/** Returns the token embedding. A tied output head uses the same tensor. */
export function embeddingMatrix(config: DecoderConfig, mode: WeightsMode): ServingMatrix {
  return matrix('embed', vocabularyForm(config, mode), config.vocabSize, config.hiddenSize);
}

/** Returns the output head. */
export function headMatrix(config: DecoderConfig, mode: WeightsMode): ServingMatrix {
  if (config.tiedEmbeddings) return embeddingMatrix(config, mode);
  return matrix('head', vocabularyForm(config, mode), config.vocabSize, config.hiddenSize);
}

/** Returns a vector, such as a norm, in float32 under its checkpoint name. */
export function vectorTensor(name: string, length: number): ServingTensor {
  return { name, type: 'float32', dims: [length] };
}

/** The norm vectors of a checkpoint. */
export function normVectors(config: DecoderConfig): ServingTensor[] {
  return [...expectedTensors(config)]
    .filter(([name, shape]) => shape.length === 1 && !name.endsWith('.bias'))
    .map(([name, shape]) => vectorTensor(name, shape[0]!));
}

/**
 * `MatMulNBits` has blocks along each row, NF4 over the flattened matrix. They agree only if a row is a whole number of blocks.
 * Flattened matrices can be stacked only if each is a whole number of blocks.
 */
function fusedForm(mode: WeightsMode, cols: number, widths: readonly number[]): MatrixForm {
  if (mode === 'int8' && cols % EVEN_FORMS.q8.block === 0) return 'q8';
  if (mode === 'int4' && cols % EVEN_FORMS.q4.block === 0) return 'q4';
  if (mode === 'nf4' && widths.every((width) => (width * cols) % BLOCK_SIZE === 0)) return 'nf4';
  return 'f32';
}

/** The artifact does not store embedding and output head as NF4. Except in the exact mode they have 8 bits, to save memory. */
function vocabularyForm(config: DecoderConfig, mode: WeightsMode): MatrixForm {
  return mode !== 'f32' && config.hiddenSize % EVEN_FORMS.q8.block === 0 ? 'q8' : 'f32';
}

function matrix(name: string, form: MatrixForm, rows: number, cols: number): ServingMatrix {
  const count = rows * cols;
  const shared = { form, rows, cols };
  switch (form) {
    case 'q8':
    case 'q4': {
      const { bits, block } = EVEN_FORMS[form];
      const dims = [rows, cols / block];
      const prefix = form === 'q8' ? name : `${name}.q4`;
      const zeroDims = [rows, Math.ceil(cols / block / 2)];
      return {
        ...shared,
        values: { name: `${name}.${form}`, type: 'uint8', dims: [...dims, (block * bits) / 8] },
        scales: { name: `${prefix}.scales`, type: 'float32', dims },
        ...(form === 'q4' && {
          zeroPoints: { name: `${prefix}.zeros`, type: 'uint8', dims: zeroDims },
        }),
      };
    }
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

/** Lists all weight tensors of a serving graph, in file order. `rowForm` is for `int8` and `int4` on the CPU. */
export function servingTensors(
  config: DecoderConfig,
  mode: WeightsMode,
  rowForm?: RowForm,
): ServingTensor[] {
  const tensors = new Map<string, ServingTensor>();
  const add = (tensor: ServingTensor | undefined) => tensor && tensors.set(tensor.name, tensor);
  const addMatrix = (m: ServingMatrix) => [m.values, m.scales, m.zeroPoints].forEach(add);
  addMatrix(embeddingMatrix(config, mode));
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of FUSED_LINEAR_NAMES) {
      if (rowForm) rowTensors(fusedLinear(config, layer, fused), rowForm).forEach(add);
      else addMatrix(fusedMatrix(config, mode, layer, fused));
      add(fusedBias(config, layer, fused));
    }
  }
  normVectors(config).forEach(add);
  if (rowForm) rowTensors(headLinear(config), rowForm).forEach(add);
  else addMatrix(headMatrix(config, mode));
  return [...tensors.values()];
}

const ELEMENT_BYTES: Partial<Record<ElementType, number>> = {
  uint8: 1,
  int8: 1,
  float32: 4,
  int64: 8,
};

/** Returns a tensor's size in the weights file, in bytes. */
export function servingTensorBytes({ type, dims }: ServingTensor): number {
  const bytes = ELEMENT_BYTES[type];
  assert(bytes, `a serving tensor is not ${type}`);
  return bytes * elementCount(dims);
}

/** Raise this when the content of the weights file changes. Older serving folders are then rebuilt. */
export const LAYOUT_VERSION = 5;

/** A per-token form, and the SHA-256 of the observations that it was computed from, if there were any. */
export interface CalibratedForm extends RowForm {
  readonly calibration?: string;
}

/** The table of contents of the weights file, with everything needed to serve it without the artifact. */
export interface ServingLayout {
  readonly version: typeof LAYOUT_VERSION;
  readonly baseDigest: string;
  readonly weights: WeightsMode;
  /** The artifact's `config.json`. */
  readonly config: unknown;
  /** The per-token form of the linears and the head. Null if they have the form of the mode. */
  readonly rowForm: CalibratedForm | null;
  readonly tensors: readonly (ServingTensor & { readonly offset: number })[];
}

export const LAYOUT_FILE = 'layout.json';
export const WEIGHTS_FILE = 'weights.bin';

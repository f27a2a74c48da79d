// The form of the adapter slots: one rank and one set of linears for all of them, and the operands that follow. Shapes only:
// allocates nothing and holds no values.
import type { AdapterShape } from '../../../adapters/peft/weights.ts';
import { largest } from '../../common/long-arrays.ts';
import { elementCount } from '../../common/tensor.ts';
import {
  normVector,
  outputVector,
  unionOfParts,
  type VectorName,
} from '../../model/adapter-vectors.ts';
import type { DecoderConfig } from '../../model/config.ts';
import { codeShapes, type LoraCodes } from '../../model/lora-codes.ts';
import { type AdapterForm, columnsAtOnce, LORA_INPUTS } from '../../model/lora-graph.ts';
import type { RowPacking } from '../../model/row-weights.ts';
import { normVectors } from '../../model/serving-weights.ts';
import {
  FUSED_LINEAR_NAMES,
  type FusedLinear,
  fusedTargets,
  fusedWidth,
  TARGET_MODULES,
  type TargetName,
} from '../../model/target-modules.ts';

/** A target of a fused linear and its outputs. */
interface Part {
  readonly target: TargetName;
  readonly width: number;
}

/**
 * The values of an operand: the A of the targets of a fused linear, the B of a target, the updates of a fused linear with 8 bits,
 * or vectors one after the other.
 */
type OperandSource =
  | { readonly layer: number; readonly a: readonly TargetName[] }
  | { readonly layer: number; readonly b: TargetName }
  | { readonly layer: number; readonly codes: LoraCodes; readonly parts: readonly Part[] }
  | { readonly vectors: readonly { readonly name: VectorName; readonly length: number }[] };

/** An operand of one slot, whose shape `LORA_INPUTS` explains. A product broadcasts A and B over the dimensions of length 1. */
export interface SlotOperand {
  /** The graph input that it is bound to. */
  readonly input: string;
  readonly source: OperandSource;
  readonly shape: readonly number[];
  /** Default: the memory's float type. */
  readonly type?: 'int8';
}

/** The rank R of every slot, and the linears and other parts that it covers. */
export interface SlotForm extends AdapterForm {
  readonly rank: number;
}

/** The form of slots that hold nothing. */
export const NO_FORM: SlotForm = { rank: 0, linears: [], parts: [] };

const SMALLEST_RANK = 4;

/** How many of the fused linears an adapter graph can cover. There are few choices, which bounds the number of sessions. */
const COVERED_LINEARS = [1, 2, 4];

/** Returns the smallest form that is as wide as `least` and holds these adapters. They have zeros for what they do not change. */
export function formOf(adapters: readonly AdapterShape[], least: SlotForm = NO_FORM): SlotForm {
  const counts = adapters
    .flatMap(({ targets }) => targets)
    .map((target) => FUSED_LINEAR_NAMES.indexOf(TARGET_MODULES[target].fused) + 1);
  const needed = Math.max(least.linears.length, largest(counts));
  return {
    rank: Math.max(least.rank, rankBucket(largest(adapters.map(({ rank }) => rank)))),
    linears: FUSED_LINEAR_NAMES.slice(
      0,
      COVERED_LINEARS.find((count) => count >= needed),
    ),
    parts: unionOfParts(least.parts, ...adapters.map(({ parts }) => parts)),
  };
}

/** Whether two forms are equal. */
export function isSameForm(a: SlotForm, b: SlotForm): boolean {
  const hasSameParts = a.parts.join() === b.parts.join();
  return hasSameParts && a.rank === b.rank && a.linears.length === b.linears.length;
}

/**
 * The operands of one slot: its vectors, the A of each covered fused linear, and the B of each of its targets. Our own operator takes
 * both with 8 bits, for all targets of the linear.
 */
export function* slotOperands(
  config: DecoderConfig,
  { rank, linears, parts }: SlotForm,
  packing: RowPacking = 'plain',
): Generator<SlotOperand> {
  if (parts.includes('outputs')) yield* outputOperands(config);
  if (parts.includes('norms')) yield* normOperands(config);
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of linears) {
      if (packing === 'packed') yield* codeOperands(config, { layer, fused, rank });
      else yield* floatOperands(config, { layer, fused, rank });
    }
  }
}

interface LayerUpdate {
  readonly layer: number;
  readonly fused: FusedLinear;
  readonly rank: number;
}

function* floatOperands(
  config: DecoderConfig,
  { layer, fused, rank }: LayerUpdate,
): Generator<SlotOperand> {
  const targets = fusedTargets(config, fused);
  const inFeatures = TARGET_MODULES[targets[0]!].inFeatures(config);
  const columns = columnsAtOnce(rank);
  const shape = [1, (rank * targets.length) / columns, inFeatures, columns];
  yield { input: LORA_INPUTS.a(layer, fused), source: { layer, a: targets }, shape };
  for (const b of targets) {
    const shape = [1, 1, rank, TARGET_MODULES[b].outFeatures(config)];
    yield { input: LORA_INPUTS.b(layer, b), source: { layer, b }, shape };
  }
}

function* codeOperands(
  config: DecoderConfig,
  { layer, fused, rank }: LayerUpdate,
): Generator<SlotOperand> {
  const parts = fusedTargets(config, fused).map((target) => ({
    target,
    width: TARGET_MODULES[target].outFeatures(config),
  }));
  const shapes = codeShapes(config, fused, rank);
  for (const codes of ['codesA', 'scales', 'codesB'] as const) {
    const operand = { input: LORA_INPUTS[codes](layer, fused), shape: shapes[codes] };
    const source = { layer, codes, parts };
    yield codes === 'scales' ? { ...operand, source } : { ...operand, source, type: 'int8' };
  }
}

function* normOperands(config: DecoderConfig): Generator<SlotOperand> {
  for (const { name, dims } of normVectors(config)) {
    const [length] = dims as [number];
    const vectors = [{ name: normVector(name), length }];
    yield { input: LORA_INPUTS.norm(name), source: { vectors }, shape: [length] };
  }
}

function* outputOperands(config: DecoderConfig): Generator<SlotOperand> {
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of FUSED_LINEAR_NAMES) {
      for (const kind of ['scale', 'bias'] as const) {
        const vectors = fusedTargets(config, fused).map((target) => ({
          name: outputVector(kind, layer, target),
          length: TARGET_MODULES[target].outFeatures(config),
        }));
        const shape = [fusedWidth(config, fused)];
        yield { input: LORA_INPUTS[kind](layer, fused), source: { vectors }, shape };
      }
    }
  }
}

/** The bytes of one slot, with floats of 32 bits. The scheduler asks in each step, so a layer stands for all: they are alike. */
export function slotBytes(
  config: DecoderConfig,
  { parts, ...form }: SlotForm,
  packing: RowPacking = 'plain',
): number {
  const inLayers = { ...form, parts: parts.filter((part) => part !== 'norms') };
  const layer = slotOperands({ ...config, layerCount: 1 }, inLayers, packing);
  const norms = parts.includes('norms') ? normOperands(config) : [];
  return config.layerCount * bytesOf(layer) + bytesOf(norms);
}

function bytesOf(operands: Iterable<SlotOperand>): number {
  let bytes = 0;
  for (const { shape, type } of operands)
    bytes += elementCount(shape) * (type === 'int8' ? 1 : Float32Array.BYTES_PER_ELEMENT);
  return bytes;
}

/** Rounds up to a power of two, so that adapters of similar rank share operands and a new rank rarely requires new ones. */
function rankBucket(rank: number): number {
  return Math.max(SMALLEST_RANK, 2 ** Math.ceil(Math.log2(rank)));
}

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
import { adaptedTargets, LORA_INPUTS } from '../../model/lora-graph.ts';
import type { RowPacking } from '../../model/row-weights.ts';
import { normVectors } from '../../model/serving-weights.ts';
import {
  FUSED_LINEAR_NAMES,
  type FusedLinear,
  fusedTargets,
  fusedWidth,
  TARGET_MODULES,
  TARGETS_OF,
  type TargetName,
} from '../../model/target-modules.ts';

/** A target of a fused linear and its outputs. */
interface Part {
  readonly target: TargetName;
  readonly width: number;
}

/**
 * The values of an operand: the shared A of a fused linear, the B of a target, the updates of a fused linear with 8 bits, or
 * vectors one after the other.
 */
type OperandSource =
  | { readonly layer: number; readonly a: FusedLinear }
  | { readonly layer: number; readonly b: TargetName }
  | { readonly layer: number; readonly codes: LoraCodes; readonly parts: readonly Part[] }
  | { readonly vectors: readonly { readonly name: VectorName; readonly length: number }[] };

/**
 * An operand of one slot: A [1, in, R * k], B [1, R, out], or a vector [width]. A product broadcasts a matrix over the first
 * dimension.
 */
export interface SlotOperand {
  /** The graph input that it is bound to. */
  readonly input: string;
  readonly source: OperandSource;
  readonly shape: readonly number[];
  /** Default: the memory's float type. */
  readonly type?: 'int8';
}

/** The rank R of every slot, the linears that it covers, and its other parts. */
export type SlotForm = AdapterShape;

const SMALLEST_RANK = 4;

/** The sets of linears that an adapter graph can cover. There are few, which bounds the number of sessions. */
const TARGET_PROFILES: readonly (readonly TargetName[])[] = [
  ['q_proj', 'v_proj'],
  ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
  TARGETS_OF.separate,
  ['qkv_proj'],
  ['qkv_proj', 'o_proj'],
  TARGETS_OF.stacked,
];

/** Returns the smallest profile with all these linears. An adapter has zeros for linears that it does not adapt. */
function coveringTargets(targets: readonly TargetName[]): readonly TargetName[] {
  return TARGET_PROFILES.find((profile) => targets.every((target) => profile.includes(target)))!;
}

/** The smallest form for these adapters. */
export function formOf(adapters: readonly AdapterShape[]): SlotForm {
  return {
    rank: rankBucket(largest(adapters.map(({ rank }) => rank))),
    targets: coveringTargets(adapters.flatMap(({ targets }) => targets)),
    parts: unionOfParts(...adapters.map(({ parts }) => parts)),
  };
}

/** Returns the smallest form that is as wide as both. */
export function widerForm(a: SlotForm, b: SlotForm): SlotForm {
  return {
    rank: Math.max(a.rank, b.rank),
    targets: coveringTargets([...a.targets, ...b.targets]),
    parts: unionOfParts(a.parts, b.parts),
  };
}

/** Whether two forms are equal. Comparing lengths of targets is enough, because profiles differ in length. */
export function isSameForm(a: SlotForm, b: SlotForm): boolean {
  const hasSameParts = a.parts.join() === b.parts.join();
  return hasSameParts && a.rank === b.rank && a.targets.length === b.targets.length;
}

/**
 * The operands of one slot: its vectors, the A of each adapted fused linear, and the B of each of its k targets. Our own operator
 * takes both with 8 bits, for all targets of the linear.
 */
export function* slotOperands(
  config: DecoderConfig,
  { rank, targets, parts }: SlotForm,
  packing: RowPacking = 'plain',
): Generator<SlotOperand> {
  yield* vectorOperands(config, parts);
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of FUSED_LINEAR_NAMES) {
      const adapted = adaptedTargets(targets, fused);
      if (adapted.length === 0) continue;
      if (packing === 'packed') {
        yield* codeOperands(config, { layer, fused, rank });
        continue;
      }
      const inFeatures = TARGET_MODULES[adapted[0]!].inFeatures(config);
      const shape = [1, inFeatures, rank * adapted.length];
      yield { input: LORA_INPUTS.a(layer, fused), source: { layer, a: fused }, shape };
      for (const target of adapted) {
        const outFeatures = TARGET_MODULES[target].outFeatures(config);
        const shape = [1, rank, outFeatures];
        yield { input: LORA_INPUTS.b(layer, target), source: { layer, b: target }, shape };
      }
    }
  }
}

function* codeOperands(
  config: DecoderConfig,
  { layer, fused, rank }: { layer: number; fused: FusedLinear; rank: number },
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

/** The vectors of one slot. */
function* vectorOperands(config: DecoderConfig, parts: SlotForm['parts']): Generator<SlotOperand> {
  if (parts.includes('outputs')) yield* outputOperands(config);
  if (parts.includes('norms')) yield* normOperands(config);
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

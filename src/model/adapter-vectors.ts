// The vectors of a model that an adapter can add to: factors and biases of a linear's outputs, and norms. In a batch, each
// token row uses the vectors of its adapter.
import type { TargetName } from './target-modules.ts';

/**
 * Names a vector. `scale` is added to the factors of a linear's outputs, which are 1: [out]. `bias` is added to the outputs:
 * [out]. A linear's output y, which includes the base's bias, becomes y + y * scale + bias, and then gets the LoRA update.
 * `norm` is added to a norm's weight, and is named as in the checkpoint.
 */
export type VectorName = `${'scale' | 'bias'} ${number} ${TargetName}` | `norm ${string}`;

/** Returns the name of a linear's vector. */
export function outputVector(
  kind: 'scale' | 'bias',
  layer: number,
  target: TargetName,
): VectorName {
  return `${kind} ${layer} ${target}`;
}

/** Returns the name of the vector of a norm such as `model.norm.weight`. */
export function normVector(weight: string): VectorName {
  return `norm ${weight}`;
}

/** The parts of an adapter other than LoRA updates. A graph contains a part's nodes only if an attached adapter needs them. */
const CHANGED_PARTS = ['outputs', 'norms', 'embedding', 'head'] as const;
/**
 * `outputs`: factors and biases of linears' outputs. `norms`: weights of norms. `embedding` and `head`: the vocabulary tables.
 */
export type ChangedPart = (typeof CHANGED_PARTS)[number];

/** Returns the part that a vector belongs to. */
export function partOf(name: VectorName): 'outputs' | 'norms' {
  return name.startsWith('norm ') ? 'norms' : 'outputs';
}

/** Returns the union of the parts, in the order of the table. */
export function unionOfParts(...sets: readonly (readonly ChangedPart[])[]): ChangedPart[] {
  return CHANGED_PARTS.filter((part) => sets.some((set) => set.includes(part)));
}

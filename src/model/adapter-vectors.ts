// The vectors of a model to which an adapter can add: factors and biases of a linear's outputs, and norms. Every row of a batch
// gets those of its own adapter. Knows no graph and no memory.
import type { TargetName } from './target-modules.ts';

/**
 * Names a vector. `scale`: what is added to the factors of a linear's outputs, which are 1, [out]. `bias`: what is added to its
 * outputs, [out]. A linear's output y, with the base's bias, becomes y + y * scale + bias, and then gets the LoRA update. `norm`:
 * what is added to the weight of a norm, by its name in the checkpoint.
 */
export type VectorName = `${'scale' | 'bias'} ${number} ${TargetName}` | `norm ${string}`;

/** Returns the name of a vector of a linear. */
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

/** Parts of an adapter other than LoRA updates. A graph has the nodes of a part only if an attached adapter needs them. */
const CHANGED_PARTS = ['outputs', 'norms', 'embedding', 'head'] as const;
/**
 * `outputs`: factors and biases of the outputs of linears. `norms`: weights of norms. `embedding` and `head`: the tables of the
 * vocabulary.
 */
export type ChangedPart = (typeof CHANGED_PARTS)[number];

/** Returns the part to which a vector belongs. */
export function partOf(name: VectorName): 'outputs' | 'norms' {
  return name.startsWith('norm ') ? 'norms' : 'outputs';
}

/** Returns the union of the parts, in the order of the table. */
export function unionOfParts(...sets: readonly (readonly ChangedPart[])[]): ChangedPart[] {
  return CHANGED_PARTS.filter((part) => sets.some((set) => set.includes(part)));
}

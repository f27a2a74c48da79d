// Several adapters as one: the sum of their weighted updates is their concatenation on the rank axis, exactly.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { TargetName } from '../src/model/target-modules.ts';
import type { AdapterWeights, LoraPair } from './weights.ts';

export interface WeightedAdapter {
  readonly weights: AdapterWeights;
  readonly weight: number;
}

/**
 * The same as adding each one's update times its weight. A single one of weight 1 is given back as it is. Yields to the
 * event loop after each layer.
 */
export async function composeAdapters(terms: readonly WeightedAdapter[]): Promise<AdapterWeights> {
  const [first] = terms;
  if (terms.length === 1 && first!.weight === 1) return first!.weights;
  const layers: Partial<Record<TargetName, LoraPair>>[] = [];
  for (const layer of first!.weights.layers.keys()) {
    const targets = new Set(terms.flatMap(({ weights }) => targetsOf(weights, layer)));
    const pairs = [...targets].map((target) => [target, concatenate(terms, layer, target)]);
    layers.push(Object.fromEntries(pairs));
    await nextTurn();
  }
  const pairs = layers.flatMap((layer) => Object.values(layer));
  return {
    digest: first!.weights.digest,
    rank: Math.max(...pairs.map(({ rank }) => rank)),
    targets: [...new Set(terms.flatMap(({ weights }) => weights.targets))],
    layers,
    byteSize: pairs.reduce((bytes, { a, b }) => bytes + a.byteLength + b.byteLength, 0),
  };
}

function targetsOf(weights: AdapterWeights, layer: number): TargetName[] {
  return Object.keys(weights.layers[layer]!) as TargetName[];
}

function concatenate(
  terms: readonly WeightedAdapter[],
  layer: number,
  target: TargetName,
): LoraPair {
  const present = terms.flatMap(({ weights, weight }) => {
    const pair = weights.layers[layer]![target];
    return pair ? [{ pair, weight }] : [];
  });
  const rank = present.reduce((sum, { pair }) => sum + pair.rank, 0);
  const inSize = present[0]!.pair.a.length / present[0]!.pair.rank;
  const outSize = present[0]!.pair.b.length / present[0]!.pair.rank;
  const a = new Float32Array(inSize * rank); // [in, rank]
  const b = new Float32Array(rank * outSize); // [rank, out]
  let column = 0;
  for (const { pair, weight } of present) {
    for (let row = 0; row < inSize; row++) {
      a.set(pair.a.subarray(row * pair.rank, (row + 1) * pair.rank), row * rank + column);
    }
    b.set(
      pair.b.map((value) => value * weight),
      column * outSize,
    );
    column += pair.rank;
  }
  return { rank, a, b };
}

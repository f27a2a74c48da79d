// Several adapters as one: the sum of their weighted updates is their concatenation on the rank axis, exactly. Each is
// read straight into its columns, so that a composition takes its own memory and one file's.
import type { DecoderConfig } from '../../src/model/config.ts';
import { moduleName } from '../../src/model/target-modules.ts';
import {
  createPair,
  emptyLayers,
  type PairShape,
  type PlacedAdapter,
  toWeights,
} from '../peft/peft.ts';
import type { AdapterWeights } from '../peft/weights.ts';

export class Composition {
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #layers: ReturnType<typeof emptyLayers>;
  /** Columns that are taken, by module. */
  readonly #columns = new Map<string, number>();

  /** @param terms each one's ranks by module name */
  constructor(model: DecoderConfig, terms: readonly ReadonlyMap<string, number>[]) {
    const ranks = new Map<string, number>();
    for (const [module, rank] of terms.flatMap((term) => [...term])) {
      ranks.set(module, (ranks.get(module) ?? 0) + rank);
    }
    this.#ranks = ranks;
    this.#layers = emptyLayers(model);
  }

  /** Where the next term is written. Its ranks must be those that were promised, or it throws `RangeError`. */
  term(weight: number): PlacedAdapter {
    return {
      weight,
      place: (layer, target, shape: PairShape) => {
        const module = moduleName(layer, target);
        const column = this.#columns.get(module) ?? 0;
        const rank = this.#ranks.get(module) ?? 0;
        if (column + shape.rank > rank) throw new RangeError(`${module}: more than rank ${rank}`);
        this.#columns.set(module, column + shape.rank);
        const pair = this.#layers[layer]![target] ?? createPair({ ...shape, rank });
        this.#layers[layer]![target] = pair;
        return { pair, column };
      },
    };
  }

  /** To be called once every term was written. */
  weights(digest: string): AdapterWeights {
    return toWeights(digest, this.#layers);
  }
}

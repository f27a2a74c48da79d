// Sums several adapters: the sum of their weighted updates is their concatenation along the rank axis, exactly, and what they
// add to vectors is summed. Each one is read straight into its columns, so a composition takes its own memory and that of one file.
import type { ServeError } from '../../src/common/errors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { moduleName } from '../../src/model/target-modules.ts';
import type { AdapterSink } from '../peft/parse-adapter.ts';
import { invalidAdapter } from '../peft/refusal.ts';
import {
  type AdapterWeights,
  ChangeSums,
  createPair,
  emptyLayers,
  type MutableLayers,
  type PairShape,
  toWeights,
} from '../peft/weights.ts';

/** A composition that is being filled. */
export class Composition {
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #isSum: boolean;
  readonly #layers: MutableLayers;
  /** The number of filled columns, by module. */
  readonly #columns = new Map<string, number>();
  readonly #changes = new ChangeSums();
  readonly #vocabSize: number;

  /** @param terms the ranks of each term by module name */
  constructor(model: DecoderConfig, terms: readonly ReadonlyMap<string, number>[]) {
    const ranks = new Map<string, number>();
    for (const [module, rank] of terms.flatMap((term) => [...term])) {
      ranks.set(module, (ranks.get(module) ?? 0) + rank);
    }
    this.#ranks = ranks;
    this.#vocabSize = model.vocabSize;
    this.#isSum = terms.length > 1;
    this.#layers = emptyLayers(model);
  }

  /** Returns the memory for the next term. It throws `RangeError` if the term has higher ranks than announced. */
  term(weight: number): AdapterSink {
    return {
      weight,
      allocate: (layer, target, shape: PairShape) => {
        const module = moduleName(layer, target);
        const column = this.#columns.get(module) ?? 0;
        const rank = this.#ranks.get(module) ?? 0;
        if (column + shape.rank > rank) throw new RangeError(`${module}: more than rank ${rank}`);
        this.#columns.set(module, column + shape.rank);
        const pair = this.#layers[layer]![target] ?? createPair({ ...shape, rank });
        this.#layers[layer]![target] = pair;
        return { pair, column };
      },
      addVector: (name, values) => this.#changes.addVector(name, values, weight),
      activate: (invocation) => {
        if (this.#isSum)
          throw invalidAdapter('alora_invocation_tokens', 'cannot be part of a composition');
        this.#changes.invocation = invocation;
      },
      classify: (classifier) => {
        if (this.#isSum) throw invalidAdapter('task_type', 'cannot be part of a composition');
        this.#changes.classifier = classifier;
      },
      addTable: (table, change) => this.#changes.addTable(table, change, weight),
      setVocabulary: (own) => {
        const { vocabulary } = this.#changes;
        if (vocabulary.own) throw ofVocabulary('two adapters with vocabularies of their own');
        // Changes of the other terms would be for more tokens.
        if (this.#isSum && own.size < this.#vocabSize)
          throw ofVocabulary('an adapter with a shorter vocabulary than the base');
        vocabulary.own = own;
      },
    };
  }

  /** Returns the weights, after every term was written. */
  weights(digest: string): AdapterWeights {
    return toWeights(digest, this.#layers, this.#changes);
  }
}

function ofVocabulary(what: string): ServeError {
  return invalidAdapter('model', `${what} cannot be composed`);
}

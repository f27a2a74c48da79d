// The most used values of a label. A label with thousands of values would have as many series; the others are counted together.
import { LRUCache } from 'lru-cache';

/** The name of all values that are not shown. */
export const OTHER = 'other';

/** The number of other values to count for each shown one. */
const CANDIDATES_PER_PLACE = 8;
/** Counts are halved after this many uses per shown value, so values that are no longer used disappear. */
const USES_PER_PLACE = 256;
/**
 * A new value needs this many times the uses of the least used one. Otherwise two equally used values would keep replacing each
 * other.
 */
const LEAD = 2;

/** The number of shown values. */
interface TopLabelsOptions {
  /** The most values to show. */
  readonly places: number;
  /** Called when a value is no longer shown, because its series must be deleted. */
  onDrop(value: string): void;
}

/** The most used values of a label. */
export class TopLabels {
  readonly #options: TopLabelsOptions;
  readonly #top = new Map<string, number>();
  readonly #candidates: LRUCache<string, number>;
  #uses = 0;

  constructor(options: TopLabelsOptions) {
    this.#options = options;
    this.#candidates = new LRUCache({ max: options.places * CANDIDATES_PER_PLACE });
  }

  /** Counts a use of the value, and returns the label to show for it. */
  use(value: string): string {
    if (value === OTHER) return OTHER;
    if (++this.#uses >= this.#options.places * USES_PER_PLACE) this.#age();
    const count = this.#top.get(value);
    if (count !== undefined || this.#top.size < this.#options.places) {
      this.#top.set(value, (count ?? 0) + 1);
      return value;
    }
    const uses = (this.#candidates.get(value) ?? 0) + 1;
    const [last, least] = this.#least();
    if (uses < LEAD * (least + 1)) {
      this.#candidates.set(value, uses);
      return OTHER;
    }
    this.#top.delete(last);
    this.#options.onDrop(last);
    this.#candidates.delete(value);
    this.#top.set(value, uses);
    return value;
  }

  #least(): [value: string, uses: number] {
    let least: [string, number] = ['', Number.POSITIVE_INFINITY];
    for (const entry of this.#top) if (entry[1] < least[1]) least = entry;
    return least;
  }

  #age(): void {
    this.#uses = 0;
    for (const [value, count] of this.#top) this.#top.set(value, count / 2);
    for (const [value, count] of [...this.#candidates.entries()].reverse()) {
      this.#candidates.set(value, count / 2); // oldest first, to keep their order
    }
  }
}

// Which values of a label are shown by name: the most used ones, so many and no more, whatever clients send; the rest
// are `other`. Knows no metric: who shows a value is told when it has to go.
import { LRUCache } from 'lru-cache';

/** What a value is called that is not among the top. */
export const OTHER = 'other';

/** Values beside the top whose uses are counted, for each place of it. */
const CANDIDATES_PER_PLACE = 8;
/** All counts are halved after so many uses for each place, so that what was used once does not stay for ever. */
const USES_PER_PLACE = 256;
/** A newcomer needs so many times the uses of the least used: two that are even do not take turns. */
const LEAD = 2;

export interface TopLabelsOptions {
  /** Values that are shown at once. */
  readonly places: number;
  /** The value is shown no more: its series are to be forgotten. */
  onDrop(value: string): void;
}

export class TopLabels {
  readonly #options: TopLabelsOptions;
  readonly #top = new Map<string, number>();
  readonly #candidates: LRUCache<string, number>;
  #uses = 0;

  constructor(options: TopLabelsOptions) {
    this.#options = options;
    this.#candidates = new LRUCache({ max: options.places * CANDIDATES_PER_PLACE });
  }

  /** Counts a use of the value; what it is shown as. */
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
      this.#candidates.set(value, count / 2); // the oldest first, so that their order stays
    }
  }
}

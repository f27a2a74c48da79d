// Counts to large numbers with few nodes: a repeat becomes blocks of repeats, which share their nodes.
import {
  EMPTY,
  graph,
  type PatternNode,
  repeat,
  sequence,
  shared,
  type TextPattern,
} from './text-pattern.ts';

/** A block consists of at most this many smaller ones. */
const MAX_BASE = 128;

/**
 * Returns a pattern of the same texts, for counts above `MAX_BASE`. It counts in digits: a block of each size has the same number of
 * the next smaller blocks. It needs about three nodes for each of those.
 */
export function inBlocks({
  item,
  min,
  max,
}: Extract<TextPattern, { kind: 'repeat' }>): TextPattern {
  const isBounded = max < Number.POSITIVE_INFINITY;
  const largest = Math.max(min, isBounded ? max - min : 0);
  const levels = Math.max(2, Math.ceil(Math.log(largest) / Math.log(MAX_BASE)));
  const blocks = new Blocks(shared(item), Math.ceil(largest ** (1 / levels)), levels);
  const rest = isBounded ? blocks.upTo(max - min) : repeat(blocks.one, 0);
  return sequence(blocks.exactly(min), rest);
}

/** Blocks of 1, `base`, `base` ** 2 and so on. */
class Blocks {
  readonly one: TextPattern;
  readonly #sizes: {
    readonly size: number;
    readonly whole: TextPattern;
    readonly fewer: TextPattern;
  }[];

  constructor(one: TextPattern, base: number, levels: number) {
    this.one = one;
    this.#sizes = [{ size: 1, whole: one, fewer: EMPTY }];
    for (let level = 1; level < levels; level++) {
      const { size, whole } = this.#sizes[level - 1]!;
      const fewer = shared(this.upTo(size * base - 1));
      this.#sizes.push({ size: size * base, whole: shared(repeat(whole, base, base)), fewer });
    }
  }

  exactly(count: number): TextPattern {
    let left = count;
    const digits = this.#sizes.toReversed().map(({ size, whole }) => {
      const digit = Math.floor(left / size);
      left -= digit * size;
      return repeat(whole, digit, digit);
    });
    return sequence(...digits);
  }

  /** After some whole blocks, part of one more may follow. Every count is reached in one way. */
  upTo(count: number): TextPattern {
    if (count <= MAX_BASE) return repeat(this.one, 0, count);
    const { size, whole, fewer } = this.#sizes.findLast((block) => block.size <= count)!;
    const digit = Math.floor(count / size);
    const nodes: PatternNode[] = Array.from({ length: digit }, (_, i) => ({
      isEnd: false,
      edges: [
        { item: fewer, to: digit + 1 },
        { item: whole, to: i + 1 },
      ],
    }));
    nodes.push({ isEnd: false, edges: [{ item: this.upTo(count - digit * size), to: digit + 1 }] });
    nodes.push({ isEnd: true, edges: [] });
    return graph(nodes);
  }
}

// Counts to large numbers with few nodes: a repeat becomes blocks of repeats, which share their nodes.
import { type PatternNode, repeat, sequence, shared, type TextPattern } from './text-pattern.ts';

/** A count is divided into this many blocks, and each block again if it is large. */
const BLOCKS = 128;

/** Returns a pattern of the same texts that needs about 300 nodes for each factor of 128 in its counts. */
export function inBlocks({
  item,
  min,
  max,
}: Extract<TextPattern, { kind: 'repeat' }>): TextPattern {
  const one = shared(item);
  const first = exactly(one, min);
  if (max === Number.POSITIVE_INFINITY) return sequence(first, repeat(one, 0));
  return sequence(first, upTo(one, max - min));
}

function exactly(item: TextPattern, count: number): TextPattern {
  if (count <= BLOCKS) return repeat(item, count, count);
  const size = Math.ceil(count / BLOCKS);
  const blocks = Math.floor(count / size);
  const block = shared(exactly(item, size));
  return sequence(repeat(block, blocks, blocks), exactly(item, count - blocks * size));
}

/** After some whole blocks, part of one more may follow. Every count is reached in one way. */
function upTo(item: TextPattern, count: number): TextPattern {
  if (count <= BLOCKS) return repeat(item, 0, count);
  const size = Math.ceil(count / BLOCKS);
  const blocks = Math.floor(count / size);
  const block = shared(exactly(item, size));
  const part = shared(upTo(item, size - 1));
  const nodes: PatternNode[] = [];
  const end = blocks + 1;
  for (let i = 0; i < blocks; i++) {
    nodes.push({
      isEnd: false,
      edges: [
        { item: part, to: end },
        { item: block, to: i + 1 },
      ],
    });
  }
  nodes.push({ isEnd: false, edges: [{ item: upTo(item, count - blocks * size), to: end }] });
  nodes.push({ isEnd: true, edges: [] });
  return { kind: 'graph', nodes };
}

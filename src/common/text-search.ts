// The Aho-Corasick automaton: searches for many texts at the same time. Texts are sequences of numbers, such as bytes or UTF-16
// units.

/** The longest suffix of a text that is a prefix of a searched text. */
export interface SearchPosition {
  readonly next: Map<number, SearchPosition>;
  /** The length of the suffix. */
  readonly depth: number;
  /** The position of the next shorter suffix. */
  fallback: SearchPosition | undefined;
  /** The index of the longest text that ends here. */
  match: number | undefined;
}

/** Builds the automaton, in time and memory proportional to the length of all texts. Returns its positions, the start first. */
export function buildSearch(
  texts: readonly Iterable<number>[],
): [start: SearchPosition, ...others: SearchPosition[]] {
  const start = createPosition(0);
  for (const [i, text] of texts.entries()) {
    let position = start;
    for (const symbol of text) {
      const next = position.next.get(symbol) ?? createPosition(position.depth + 1);
      position.next.set(symbol, next);
      position = next;
    }
    position.match ??= i;
  }
  const positions: [SearchPosition, ...SearchPosition[]] = [start];
  // Breadth first: a position's fallback is closer to the start and must be complete first.
  for (const position of positions) {
    for (const [symbol, next] of position.next) {
      next.fallback = position.fallback ? searchStep(start, position.fallback, symbol) : start;
      next.match ??= next.fallback.match;
      positions.push(next);
    }
  }
  return positions;
}

/** Returns the position after another symbol. */
export function searchStep(
  start: SearchPosition,
  from: SearchPosition,
  symbol: number,
): SearchPosition {
  for (let position: SearchPosition | undefined = from; position; position = position.fallback) {
    const next = position.next.get(symbol);
    if (next) return next;
  }
  return start;
}

function createPosition(depth: number): SearchPosition {
  return { next: new Map(), depth, fallback: undefined, match: undefined };
}

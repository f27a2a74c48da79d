// The Aho-Corasick automaton: searches for many texts at the same time. Texts are sequences of numbers, usually bytes.

/** The longest suffix of a text that is a prefix of a searched text. */
export interface SearchPlace {
  readonly next: Map<number, SearchPlace>;
  /** The position of the next shorter suffix. */
  fail: SearchPlace | undefined;
  /** The index of the longest text that ends here. */
  found: number | undefined;
}

/** Builds the automaton. Returns its positions, the start first. */
export function buildSearch(texts: readonly Iterable<number>[]): SearchPlace[] {
  const root: SearchPlace = { next: new Map(), fail: undefined, found: undefined };
  const places = [root];
  for (const [i, text] of texts.entries()) {
    let place = root;
    for (const symbol of text) {
      let next = place.next.get(symbol);
      if (!next) {
        next = { next: new Map(), fail: undefined, found: undefined };
        place.next.set(symbol, next);
        places.push(next);
      }
      place = next;
    }
    place.found ??= i;
  }
  const queue = [root];
  for (const place of queue) {
    for (const [symbol, next] of place.next) {
      next.fail = place.fail ? searchStep(root, place.fail, symbol) : root;
      next.found ??= next.fail.found;
      queue.push(next);
    }
  }
  return places;
}

/** Returns the position after another symbol. */
export function searchStep(root: SearchPlace, from: SearchPlace, symbol: number): SearchPlace {
  for (let place: SearchPlace | undefined = from; place; place = place.fail) {
    const next = place.next.get(symbol);
    if (next) return next;
  }
  return root;
}

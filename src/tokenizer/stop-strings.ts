// Finds any of several strings in a text that arrives in pieces, with an Aho-Corasick automaton over UTF-16 units. The cost per
// unit does not depend on the number of strings.

/** The automaton's state after some text. */
export type StopState = number & { readonly __stopState: true };

/** An automaton that recognizes a set of strings. */
export interface StopStrings {
  readonly start: StopState;
  /** Returns the state after one more UTF-16 unit. */
  next(state: StopState, unit: number): StopState;
  /** Returns the length of the longest string that ends here, or 0. */
  completed(state: StopState): number;
  /** Returns the length of the longest suffix of the text that may be the start of a string. */
  open(state: StopState): number;
}

/** Builds the automaton, in time and memory proportional to the total length of the strings. No string may be empty. */
export function createStopStrings(strings: readonly string[]): StopStrings {
  const edges: Map<number, number>[] = [new Map()]; // per node, unit → node
  const depths = [0];
  const completed = [0]; // per node, the length of the longest string that ends there
  for (const text of strings) {
    let node = 0;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      let child = edges[node]!.get(unit);
      if (child === undefined) {
        child = edges.push(new Map()) - 1;
        depths.push(i + 1);
        completed.push(0);
        edges[node]!.set(unit, child);
      }
      node = child;
    }
    completed[node] = text.length;
  }
  const fallbacks = new Int32Array(edges.length);
  const follow = (from: number, unit: number): number => {
    for (let node = from; ; node = fallbacks[node]!) {
      const child = edges[node]!.get(unit);
      if (child !== undefined) return child;
      if (node === 0) return 0;
    }
  };
  // Breadth first: a node's fallback is closer to the root and must be complete first.
  const queue = [...edges[0]!.values()];
  for (const node of queue) {
    for (const [unit, child] of edges[node]!) {
      fallbacks[child] = follow(fallbacks[node]!, unit);
      queue.push(child);
    }
    completed[node] ||= completed[fallbacks[node]!]!;
  }
  return {
    start: 0 as StopState,
    next: (state, unit) => follow(state, unit) as StopState,
    completed: (state) => completed[state]!,
    open: (state) => depths[state]!,
  };
}

// Finds any of several strings in a text that comes in pieces: Aho and Corasick's automaton over UTF-16 units. A unit costs
// the same however many strings there are. Knows no tokens.

/** An automaton's place after some text. */
export type StopState = number & { readonly __stopState: true };

export interface StopStrings {
  readonly start: StopState;
  /** The state after one more UTF-16 unit. */
  next(state: StopState, unit: number): StopState;
  /** Units of the longest string that the text ends with; 0: none. */
  completed(state: StopState): number;
  /** Units at the text's end that a string may begin with, at most: none before them can belong to one. */
  open(state: StopState): number;
}

/** Builds the automaton in time and memory proportional to the strings' total length. None may be empty. */
export function createStopStrings(strings: readonly string[]): StopStrings {
  const edges: Map<number, number>[] = [new Map()]; // per node, unit → node
  const depths = [0];
  const completed = [0]; // per node, the longest string that ends there
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
  // Breadth first, so that a fallback, which is always nearer to the root, is complete when it is needed.
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

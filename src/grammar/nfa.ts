// A grammar as an NFA of nodes. An edge consumes a byte, is empty, or calls a rule and returns. All of it is numbers, so it
// crosses to another process as it is.

/** The bits of a node and of a rule: an NFA has at most 30,000 of either. */
const INDEX_BITS = 16;
const INDEX_MASK = 0xffff;

/** Edges, grouped by a node or a rule: those of `i` are in `edges` from `at[i]` to `at[i + 1]`, exclusive. */
export interface GroupedEdges {
  readonly at: Uint32Array;
  readonly edges: Uint32Array;
}

/** A grammar's nodes and rules. A rule matches the texts along the paths from its start to its end. Rule 0 is the root. */
export interface Nfa {
  /** The number of nodes. */
  readonly nodes: number;
  /** Each consumes a byte of a range. */
  readonly bytes: GroupedEdges;
  readonly skips: GroupedEdges;
  /** Each matches a rule. */
  readonly calls: GroupedEdges;
  /** The nodes at which the rules start and end. */
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
}

/** Returns the edge that consumes a byte in [first, last]. */
export function byteEdge(first: number, last: number, to: number): number {
  return (first << 24) | (last << 16) | to;
}

/** Returns the edge that matches a rule. */
export function callEdge(rule: number, to: number): number {
  return (rule << INDEX_BITS) | to;
}

/** Returns the node that an edge of any kind leads to. */
export function targetOf(edge: number): number {
  return edge & INDEX_MASK;
}

/** Returns the rule that an edge matches. */
export function ruleOf(edge: number): number {
  return edge >>> INDEX_BITS;
}

/** Returns the smallest byte that an edge consumes. */
export function firstByte(edge: number): number {
  return edge >>> 24;
}

/** Returns the largest byte that an edge consumes. */
export function lastByte(edge: number): number {
  return (edge >>> 16) & 0xff;
}

/** Groups edges by the index of each in `by`, in [0, groups), and leaves out some. Edges of one group keep their order. */
export function groupEdges(
  edges: readonly number[],
  by: readonly number[],
  groups: number,
  isKept?: (edge: number) => boolean,
): GroupedEdges {
  const at = new Uint32Array(groups + 1);
  for (let i = 0; i < edges.length; i++) if (!isKept || isKept(edges[i]!)) at[by[i]! + 1]!++;
  for (let i = 0; i < groups; i++) at[i + 1]! += at[i]!;
  const next = at.slice();
  const grouped = new Uint32Array(at[groups]!);
  for (let i = 0; i < edges.length; i++)
    if (!isKept || isKept(edges[i]!)) grouped[next[by[i]!]!++] = edges[i]!;
  return { at, edges: grouped };
}

/** Packs an NFA: the number of nodes, of rules, and of edges of each kind, then all its arrays. */
export function packNfa({ nodes, bytes, skips, calls, starts, ends }: Nfa): Uint32Array {
  const kinds = [bytes, skips, calls];
  const counts = [nodes, starts.length, ...kinds.map(({ edges }) => edges.length)];
  const arrays = [counts, starts, ends, ...kinds.flatMap(({ at, edges }) => [at, edges])];
  const packed = new Uint32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    packed.set(array, at);
    at += array.length;
  }
  return packed;
}

/** Returns the NFA that was packed, which uses the same memory. */
export function unpackNfa(packed: Uint32Array): Nfa {
  let at = 0;
  const take = (length: number) => {
    at += length;
    return packed.subarray(at - length, at);
  };
  const [nodes = 0, rules = 0, ...edgeCounts] = take(5);
  const [starts, ends] = [take(rules), take(rules)];
  const [bytes, skips, calls] = edgeCounts.map((count) => ({
    at: take(nodes + 1),
    edges: take(count),
  })) as [GroupedEdges, GroupedEdges, GroupedEdges];
  return { nodes, starts, ends, bytes, skips, calls };
}

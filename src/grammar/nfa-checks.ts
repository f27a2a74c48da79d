// Removes what no text passes from an NFA, and finds rules that begin with themselves.

import { GrammarError } from './grammar-error.ts';
import { groupEdges, type Nfa, ruleOf, targetOf } from './nfa.ts';

/** Edges in any order, and the node that each one leaves. */
interface EdgeList {
  readonly from: readonly number[];
  readonly edges: readonly number[];
}

/** An NFA whose edges are not grouped yet. */
export interface NfaEdges extends Pick<Nfa, 'nodes' | 'starts' | 'ends'> {
  readonly bytes: EdgeList;
  readonly skips: EdgeList;
  readonly calls: EdgeList;
}

/** Returns the NFA without edges to nodes that cannot reach the end of their rule with a finite text. */
export function withoutDeadEnds(nfa: NfaEdges): Nfa {
  const { nodes, starts, ends, bytes, skips, calls } = nfa;
  const isAlive = findAlive(nfa);
  const leadsOn = (edge: number) => isAlive[targetOf(edge)] === 1;
  const isUseful = (call: number) => leadsOn(call) && isAlive[starts[ruleOf(call)]!] === 1;
  const group = ({ from, edges }: EdgeList, isKept: (edge: number) => boolean) =>
    isAlive.includes(0) ? groupEdges(edges, from, nodes, isKept) : groupEdges(edges, from, nodes);
  return {
    nodes,
    starts,
    ends,
    bytes: group(bytes, leadsOn),
    skips: group(skips, leadsOn),
    calls: group(calls, isUseful),
  };
}

/** Returns whether each node can reach the end of its rule. */
function findAlive({ nodes, starts, ends, bytes, skips, calls }: NfaEdges): Uint8Array {
  const backward = [bytes, skips].map(({ from, edges }) =>
    groupEdges(from, edges.map(targetOf), nodes),
  );
  const indices = [...calls.edges.keys()];
  const returns = groupEdges(indices, calls.edges.map(targetOf), nodes);
  const callers = groupEdges(indices, calls.edges.map(ruleOf), starts.length);
  const isAlive = new Uint8Array(nodes);
  const ruleAt = new Map([...starts].map((start, rule) => [start, rule]));
  const queue = [...ends];
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    if (isAlive[node]) continue;
    isAlive[node] = 1;
    for (const { at, edges } of backward)
      for (let i = at[node]!; i < at[node + 1]!; i++) queue.push(edges[i]!);
    for (let i = returns.at[node]!; i < returns.at[node + 1]!; i++) {
      const call = returns.edges[i]!;
      if (isAlive[starts[ruleOf(calls.edges[call]!)]!]) queue.push(calls.from[call]!);
    }
    const rule = ruleAt.get(node);
    if (rule === undefined) continue;
    for (let i = callers.at[rule]!; i < callers.at[rule + 1]!; i++) {
      const call = callers.edges[i]!;
      if (isAlive[targetOf(calls.edges[call]!)]) queue.push(calls.from[call]!);
    }
  }
  return isAlive;
}

/** A rule that can start with itself would be expanded forever. */
export function refuseLeftRecursion(nfa: Nfa): void {
  const canBeEmpty = findEmptyRules(nfa);
  const firstCallsOf = (rule: number) => firstCalls(nfa, rule, canBeEmpty);
  if (hasCycle(nfa.starts.length, firstCallsOf))
    throw new GrammarError('a rule begins with itself (left recursion)');
}

/** Whether edges between nodes close a cycle. Paths may be longer than the stack is deep. */
function hasCycle(nodes: number, edgesOf: (node: number) => Iterable<number>): boolean {
  const isOnPath = new Map<number, boolean>(); // of the nodes that were entered
  for (let first = 0; first < nodes; first++) {
    const path: { node: number; edges: Iterator<number> }[] = [];
    const enter = (node: number) => {
      if (isOnPath.has(node)) return;
      isOnPath.set(node, true);
      path.push({ node, edges: edgesOf(node)[Symbol.iterator]() });
    };
    enter(first);
    for (let last = path.at(-1); last; last = path.at(-1)) {
      const next = last.edges.next();
      if (next.done) {
        isOnPath.set(last.node, false);
        path.pop();
      } else if (isOnPath.get(next.value)) return true;
      else enter(next.value);
    }
  }
  return false;
}

function findEmptyRules(nfa: Nfa): Uint8Array {
  const canBeEmpty = new Uint8Array(nfa.starts.length);
  for (let changed = true; changed; ) {
    changed = false;
    // Rules come before the rules that they call, so this order needs few rounds.
    for (let rule = nfa.starts.length - 1; rule >= 0; rule--) {
      if (canBeEmpty[rule] || !freeNodes(nfa, rule, canBeEmpty).has(nfa.ends[rule]!)) continue;
      canBeEmpty[rule] = 1;
      changed = true;
    }
  }
  return canBeEmpty;
}

/** Returns the nodes of a rule that can be reached without a byte. */
function freeNodes(nfa: Nfa, rule: number, canBeEmpty: Uint8Array): Set<number> {
  const { starts, skips, calls } = nfa;
  const reached = new Set([starts[rule]!]);
  for (const node of reached) {
    for (let i = skips.at[node]!; i < skips.at[node + 1]!; i++) reached.add(skips.edges[i]!);
    for (let i = calls.at[node]!; i < calls.at[node + 1]!; i++) {
      const call = calls.edges[i]!;
      if (canBeEmpty[ruleOf(call)]) reached.add(targetOf(call));
    }
  }
  return reached;
}

function firstCalls(nfa: Nfa, rule: number, canBeEmpty: Uint8Array): Set<number> {
  const { at, edges } = nfa.calls;
  const rules = new Set<number>();
  for (const node of freeNodes(nfa, rule, canBeEmpty)) {
    for (let i = at[node]!; i < at[node + 1]!; i++) rules.add(ruleOf(edges[i]!));
  }
  return rules;
}

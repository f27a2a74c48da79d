// Removes what no text passes from a network, and finds rules that begin with themselves.
import type { Network } from './network.ts';
import { GrammarError } from './text-pattern.ts';

/** Removes edges to nodes that cannot reach the end of their rule with a finite text. */
export function removeDeadEnds({ nodes, rules }: Network): void {
  const { backward, callers } = backwardEdges({ nodes, rules });
  const isAlive = new Uint8Array(nodes.length);
  const ruleOfStart = new Map(rules.map(({ start }, i) => [start, i]));
  const queue = rules.map(({ end }) => end);
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    if (isAlive[node]) continue;
    isAlive[node] = 1;
    for (const { from, rule } of backward[node]!) {
      if (rule === undefined || isAlive[rules[rule]!.start]) queue.push(from);
    }
    const started = ruleOfStart.get(node);
    if (started === undefined) continue;
    for (const { from, to } of callers[started]!) if (isAlive[to]) queue.push(from);
  }
  for (const node of nodes) {
    node.bytes = node.bytes.filter(({ to }) => isAlive[to]);
    node.skips = node.skips.filter((to) => isAlive[to]);
    node.calls = node.calls.filter(({ rule, to }) => isAlive[to] && isAlive[rules[rule]!.start]);
  }
}

function backwardEdges({ nodes, rules }: Network) {
  const backward: { from: number; rule?: number }[][] = nodes.map(() => []);
  const callers: { from: number; to: number }[][] = rules.map(() => []);
  for (const [from, { bytes, skips, calls }] of nodes.entries()) {
    for (const { to } of bytes) backward[to]!.push({ from });
    for (const to of skips) backward[to]!.push({ from });
    for (const { rule, to } of calls) {
      backward[to]!.push({ from, rule });
      callers[rule]!.push({ from, to });
    }
  }
  return { backward, callers };
}

/** A rule that can start with itself would be expanded forever. */
export function refuseLeftRecursion(network: Network): void {
  const canBeEmpty = findEmptyRules(network);
  const firstCallsOf = (rule: number) => firstCalls(network, rule, canBeEmpty);
  if (findCycle(network.rules.keys(), firstCallsOf, (rule) => rule) !== undefined)
    throw new GrammarError('a rule begins with itself (left recursion)');
}

/** Returns an edge that closes a cycle; undefined if there is no cycle. Paths may be longer than the stack is deep. */
function findCycle<Node, Edge>(
  nodes: Iterable<Node>,
  edgesOf: (node: Node) => Iterable<Edge>,
  targetOf: (edge: Edge) => Node,
): Edge | undefined {
  const isOnPath = new Map<Node, boolean>(); // of the nodes that were entered
  for (const first of nodes) {
    const path: { node: Node; edges: Iterator<Edge> }[] = [];
    const enter = (node: Node) => {
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
      } else if (isOnPath.get(targetOf(next.value))) return next.value;
      else enter(targetOf(next.value));
    }
  }
  return undefined;
}

function findEmptyRules(network: Network): Uint8Array {
  const canBeEmpty = new Uint8Array(network.rules.length);
  for (let changed = true; changed; ) {
    changed = false;
    // Rules come before the rules that they call, so this order needs few rounds.
    for (let rule = network.rules.length - 1; rule >= 0; rule--) {
      const { end } = network.rules[rule]!;
      if (canBeEmpty[rule] || !freeNodes(network, rule, canBeEmpty).has(end)) continue;
      canBeEmpty[rule] = 1;
      changed = true;
    }
  }
  return canBeEmpty;
}

/** Returns the nodes of a rule that can be reached without a byte. */
function freeNodes({ nodes, rules }: Network, rule: number, canBeEmpty: Uint8Array): Set<number> {
  const reached = new Set([rules[rule]!.start]);
  for (const node of reached) {
    for (const to of nodes[node]!.skips) reached.add(to);
    for (const call of nodes[node]!.calls) if (canBeEmpty[call.rule]) reached.add(call.to);
  }
  return reached;
}

function firstCalls(network: Network, rule: number, canBeEmpty: Uint8Array): Set<number> {
  const calls = new Set<number>();
  for (const node of freeNodes(network, rule, canBeEmpty)) {
    for (const call of network.nodes[node]!.calls) calls.add(call.rule);
  }
  return calls;
}

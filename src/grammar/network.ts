// Turns a grammar into a network of nodes. An edge consumes a byte, is empty, or calls a rule and returns. Nodes that cannot
// reach the end of a finite text are removed, so every match that has started can be completed.
import { buildSearch, searchStep } from '../common/text-search.ts';
import { GrammarError, type PatternRule, type TextPattern } from './text-pattern.ts';
import { controlTokenBytes, LAST_TEXT_BYTE, toByteRanges } from './utf8-ranges.ts';

/** Consumes a byte in [first, last]. */
interface ByteEdge {
  readonly first: number;
  readonly last: number;
  readonly to: number;
}

/** Matches a rule, then continues at `to`. */
interface CallEdge {
  readonly rule: number;
  readonly to: number;
}

/** A node inside a rule. */
export interface NetworkNode {
  bytes: ByteEdge[];
  skips: number[];
  calls: CallEdge[];
}

/** A rule matches the texts along the paths from its start to its end. */
interface NetworkRule {
  readonly start: number;
  readonly end: number;
}

/** A grammar's nodes and rules. Rule 0 is the root. */
export interface Network {
  readonly nodes: readonly NetworkNode[];
  readonly rules: readonly NetworkRule[];
}

/** Building a network of this size takes 50 ms. A schema with 100 properties has 2,000 nodes. */
const MAX_NODES = 30_000;
const TOO_LARGE = `is too large: it needs more than ${MAX_NODES} nodes. Lower the counts in patterns, maxItems and maxLength, or use fewer properties and constants`;

/** Builds the network. Throws `GrammarError` if the pattern is too large, left-recursive, or matches no finite text. */
export function buildNetwork(pattern: TextPattern): Network {
  const network = new NetworkBuilder().build(pattern);
  removeDeadEnds(network);
  const { start, end } = network.rules[0]!;
  if (start !== end && isBare(network.nodes[start]!))
    throw new GrammarError('matches no finite text');
  refuseLeftRecursion(network);
  return network;
}

class NetworkBuilder {
  readonly #nodes: NetworkNode[] = [];
  readonly #rules: NetworkRule[] = [];
  /** The nodes of rules and of repeated patterns, outside and inside of `spaced` patterns. */
  readonly #ruleOf = [false, true].map(() => new Map<PatternRule | TextPattern, number>());
  /** Rules whose edges are not built yet. */
  readonly #open: { pattern: TextPattern; rule: NetworkRule; isSpaced: boolean }[] = [];
  /** Whether the pattern that is being built is inside of a `spaced` one. */
  #isSpaced = false;

  build(root: TextPattern): Network {
    this.#rule(root, root);
    for (let next = this.#open.pop(); next; next = this.#open.pop()) {
      this.#isSpaced = next.isSpaced;
      this.#emit(next.pattern, next.rule.start, next.rule.end);
    }
    return { nodes: this.#nodes, rules: this.#rules };
  }

  #node(): number {
    if (this.#nodes.length >= MAX_NODES) throw new GrammarError(TOO_LARGE);
    return this.#nodes.push({ bytes: [], skips: [], calls: [] }) - 1;
  }

  #rule(key: PatternRule | TextPattern, pattern: TextPattern): number {
    const isSpaced = this.#isSpaced;
    const ruleOf = this.#ruleOf[Number(isSpaced)]!;
    const existing = ruleOf.get(key);
    if (existing !== undefined) return existing;
    const rule = { start: this.#node(), end: this.#node() };
    this.#open.push({ pattern, rule, isSpaced });
    const index = this.#rules.push(rule) - 1;
    ruleOf.set(key, index);
    return index;
  }

  #emit(pattern: TextPattern, from: number, to: number): void {
    switch (pattern.kind) {
      case 'text':
        this.#bytes(this.#bytesOf(pattern), from, to);
        return;
      case 'token':
        this.#bytes(controlTokenBytes(pattern.id), from, to);
        return;
      case 'chars':
        for (const range of pattern.ranges) {
          for (const bytes of toByteRanges(range)) this.#chain(bytes, from, to);
        }
        return;
      case 'sequence':
        this.#sequence(pattern.items, from, to);
        return;
      case 'choice':
        this.#options(pattern.options, from, to);
        return;
      case 'repeat':
        this.#repeat(pattern, from, to);
        return;
      case 'rule': {
        const { rule } = pattern;
        this.#nodes[from]!.calls.push({ rule: this.#rule(rule, rule.body), to });
        return;
      }
      case 'until':
        this.#search(
          pattern.exits.map(({ text }) => text),
          from,
          (node, match) => this.#emit(pattern.exits[match]!.next, node, to),
        );
        return;
      case 'without':
        for (const node of this.#search(pattern.texts, from, () => {})) {
          this.#nodes[node]!.skips.push(to);
        }
        return;
      case 'spaced': {
        const isOuterSpaced = this.#isSpaced;
        this.#isSpaced = true;
        this.#emit(pattern.item, from, to);
        this.#isSpaced = isOuterSpaced;
        return;
      }
    }
  }

  #bytesOf({ text, spaced = text }: Extract<TextPattern, { kind: 'text' }>): number[] {
    return [...Buffer.from(this.#isSpaced ? spaced : text)];
  }

  #bytes(bytes: readonly number[], from: number, to: number): void {
    const ranges = bytes.map((byte) => [byte, byte] as const);
    this.#chain(ranges, from, to);
  }

  #chain(bytes: readonly (readonly [number, number])[], from: number, to: number): void {
    if (bytes.length === 0) this.#nodes[from]!.skips.push(to);
    let at = from;
    for (const [i, [first, last]] of bytes.entries()) {
      const next = i === bytes.length - 1 ? to : this.#node();
      this.#nodes[at]!.bytes.push({ first, last, to: next });
      at = next;
    }
  }

  /** Texts with a common prefix share nodes, because an enum may contain thousands of texts. */
  #options(options: readonly TextPattern[], from: number, to: number): void {
    const children = new Map<number, number>(); // node · 256 + byte → node
    for (const option of options) {
      if (option.kind !== 'text') continue;
      const bytes = this.#bytesOf(option);
      let at = from;
      for (const byte of bytes.slice(0, -1)) {
        const key = at * 256 + byte;
        const node = children.get(key) ?? this.#node();
        if (!children.has(key)) this.#bytes([byte], at, node);
        children.set(key, node);
        at = node;
      }
      this.#bytes(bytes.slice(-1), at, to);
    }
    for (const option of options) if (option.kind !== 'text') this.#emit(option, from, to);
  }

  #sequence(items: readonly TextPattern[], from: number, to: number): void {
    if (items.length === 0) this.#nodes[from]!.skips.push(to);
    let at = from;
    for (const [i, item] of items.entries()) {
      const next = i === items.length - 1 ? to : this.#node();
      this.#emit(item, at, next);
      at = next;
    }
  }

  #repeat({ item, min, max }: Extract<TextPattern, { kind: 'repeat' }>, from: number, to: number) {
    const copies = max === Number.POSITIVE_INFINITY ? min + 1 : max;
    const emit = (start: number, end: number) => {
      if (copies <= 1) this.#emit(item, start, end);
      else this.#nodes[start]!.calls.push({ rule: this.#rule(item, item), to: end });
    };
    let at = from;
    const advance = () => {
      const next = this.#node();
      emit(at, next);
      at = next;
    };
    for (let i = 0; i < min; i++) advance();
    if (max === Number.POSITIVE_INFINITY) {
      const loop = this.#node();
      this.#nodes[at]!.skips.push(loop);
      emit(loop, loop);
      at = loop;
    }
    for (let i = min; i < max && max !== Number.POSITIVE_INFINITY; i++) {
      this.#nodes[at]!.skips.push(to);
      advance();
    }
    this.#nodes[at]!.skips.push(to);
  }

  /**
   * Adds a search for texts inside any text. `onMatch` continues at the node after a text. Returns the nodes before a match.
   */
  #search(texts: readonly string[], from: number, onMatch: (node: number, match: number) => void) {
    const positions = buildSearch(texts.map((text) => Buffer.from(text)));
    const nodeOf = new Map(positions.map((position) => [position, this.#node()]));
    this.#nodes[from]!.skips.push(nodeOf.get(positions[0])!);
    const open: number[] = [];
    for (const [position, at] of nodeOf) {
      if (position.match !== undefined) continue;
      open.push(at);
      const { bytes } = this.#nodes[at]!;
      for (let byte = 0; byte <= LAST_TEXT_BYTE; byte++) {
        const to = nodeOf.get(searchStep(positions[0], position, byte))!;
        const last = bytes.at(-1);
        if (last?.to === to && last.last === byte - 1)
          bytes[bytes.length - 1] = { ...last, last: byte };
        else bytes.push({ first: byte, last: byte, to });
      }
    }
    for (const [{ match }, node] of nodeOf) if (match !== undefined) onMatch(node, match);
    return open;
  }
}

function isBare({ bytes, skips, calls }: NetworkNode): boolean {
  return bytes.length + skips.length + calls.length === 0;
}

/** Removes edges to nodes that cannot reach the end of their rule with a finite text. */
function removeDeadEnds({ nodes, rules }: Network): void {
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
function refuseLeftRecursion(network: Network): void {
  const canBeEmpty = findEmptyRules(network);
  const firstCallsOf = (rule: number) => firstCalls(network, rule, canBeEmpty);
  if (findCycle(network.rules.keys(), firstCallsOf, (rule) => rule) !== undefined)
    throw new GrammarError('a rule begins with itself (left recursion)');
}

/** Returns an edge that closes a cycle; undefined if there is no cycle. Paths may be longer than the stack is deep. */
export function findCycle<Node, Edge>(
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

// Turns a grammar into a network of nodes. An edge consumes a byte, is empty, or calls a rule and returns. Nodes that cannot
// reach the end of a finite text are removed, so every match that has started can be completed.
import { buildSearch, searchStep } from '../common/text-search.ts';
import { inBlocks } from './counted-repeat.ts';
import { refuseLeftRecursion, removeDeadEnds } from './network-checks.ts';
import { findSingleUses } from './single-uses.ts';
import {
  ContradictionError,
  GrammarError,
  type PatternNode,
  type PatternRule,
  type TextPattern,
} from './text-pattern.ts';
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

/** More copies of a pattern are counted in blocks. */
const MAX_COPIES = 256;
/** Building is recursive. */
const MAX_INLINE_DEPTH = 100;

/** Builds the network. Throws `GrammarError` if the pattern is too large, left-recursive, or matches no finite text. */
export function buildNetwork(pattern: TextPattern): Network {
  const network = new NetworkBuilder().build(pattern);
  removeDeadEnds(network);
  const { start, end } = network.rules[0]!;
  if (start !== end && isBare(network.nodes[start]!))
    throw new ContradictionError('matches no finite text');
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
  /** Rules that are referred to once. Their nodes become part of the rule that refers to them. */
  #single: ReadonlySet<PatternRule> = new Set();
  #depth = 0;

  build(root: TextPattern): Network {
    this.#single = findSingleUses(root);
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
        if (this.#single.has(rule) && this.#depth < MAX_INLINE_DEPTH) {
          this.#depth++;
          this.#emit(rule.body, from, to);
          this.#depth--;
        } else this.#nodes[from]!.calls.push({ rule: this.#rule(rule, rule.body), to });
        return;
      }
      case 'graph':
        this.#graph(pattern.nodes, from, to);
        return;
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

  #graph(nodes: readonly PatternNode[], from: number, to: number): void {
    const own = nodes.map(() => this.#node());
    this.#nodes[from]!.skips.push(own[0]!);
    for (const [i, { isEnd, edges }] of nodes.entries()) {
      for (const edge of edges) this.#emit(edge.item, own[i]!, own[edge.to]!);
      if (isEnd) this.#nodes[own[i]!]!.skips.push(to);
    }
  }

  #repeat(pattern: Extract<TextPattern, { kind: 'repeat' }>, from: number, to: number) {
    const { item, min, max } = pattern;
    const copies = max === Number.POSITIVE_INFINITY ? min + 1 : max;
    if (copies > MAX_COPIES) {
      this.#emit(inBlocks(pattern), from, to);
      return;
    }
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

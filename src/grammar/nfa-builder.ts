// Turns a pattern into an NFA. Edges that cannot reach the end of a finite text are removed, so every match that has started
// can be completed.
import { buildSearch, searchStep } from '../common/text-search.ts';
import { charge } from './budget.ts';
import { inBlocks } from './counted-repeat.ts';
import { ContradictionError, GrammarError } from './grammar-error.ts';
import { byteEdge, callEdge, type Nfa } from './nfa.ts';
import { type NfaEdges, refuseLeftRecursion, withoutDeadEnds } from './nfa-checks.ts';
import { findSingleUses } from './single-uses.ts';
import type { CharRange, PatternNode, PatternRule, TextPattern } from './text-pattern.ts';
import { controlTokenBytes, LAST_TEXT_BYTE, toByteRanges } from './utf8-ranges.ts';

type Text = Extract<TextPattern, { kind: 'text' }>;

/** Building an NFA of this size takes 50 ms. A schema with 100 properties has 2,000 nodes. */
const MAX_NODES = 30_000;
const TOO_LARGE = `is too large: it needs more than ${MAX_NODES} nodes. Lower the counts in patterns, maxItems and maxLength, or use fewer properties and constants`;

/** More copies of a pattern are counted in blocks. */
const MAX_COPIES = 256;
/** Building is recursive. */
const MAX_INLINE_DEPTH = 100;

/** Builds the NFA. Throws `GrammarError` if the pattern is too large, left-recursive, or matches no finite text. */
export function buildNfa(pattern: TextPattern): Nfa {
  const nfa = withoutDeadEnds(new NfaBuilder().build(pattern));
  const start = nfa.starts[0]!;
  const isBare = [nfa.bytes, nfa.skips, nfa.calls].every(({ at }) => at[start] === at[start + 1]);
  if (isBare) throw new ContradictionError('matches no finite text');
  refuseLeftRecursion(nfa);
  return nfa;
}

/** The memory of an edge here, grouped, and while dead ends are searched. */
const EDGE_BYTES = 48;

function addEdge({ from, edges }: { from: number[]; edges: number[] }, node: number, edge: number) {
  charge('nfa', EDGE_BYTES);
  from.push(node);
  edges.push(edge);
}

class NfaBuilder {
  #nodes = 0;
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  readonly #bytes = { from: [] as number[], edges: [] as number[] };
  readonly #skips = { from: [] as number[], edges: [] as number[] };
  readonly #calls = { from: [] as number[], edges: [] as number[] };
  /** The nodes of rules and of repeated patterns, outside and inside of `spaced` patterns. */
  readonly #ruleOf = [false, true].map(() => new Map<PatternRule | TextPattern, number>());
  /** Rules whose edges are not built yet. */
  readonly #open: { pattern: TextPattern; rule: number; isSpaced: boolean }[] = [];
  /** Whether the pattern that is being built is inside of a `spaced` one. */
  #isSpaced = false;
  /** Rules that are referred to once. Their nodes become part of the rule that refers to them. */
  #single: ReadonlySet<PatternRule> = new Set();
  #depth = 0;

  build(root: TextPattern): NfaEdges {
    this.#single = findSingleUses(root);
    this.#rule(root, root);
    for (let next = this.#open.pop(); next; next = this.#open.pop()) {
      this.#isSpaced = next.isSpaced;
      this.#emit(next.pattern, this.#starts[next.rule]!, this.#ends[next.rule]!);
    }
    return {
      nodes: this.#nodes,
      starts: Uint32Array.from(this.#starts),
      ends: Uint32Array.from(this.#ends),
      bytes: this.#bytes,
      skips: this.#skips,
      calls: this.#calls,
    };
  }

  #node(): number {
    if (this.#nodes >= MAX_NODES) throw new GrammarError(TOO_LARGE);
    return this.#nodes++;
  }

  #byte(from: number, first: number, last: number, to: number): void {
    addEdge(this.#bytes, from, byteEdge(first, last, to));
  }

  #skip(from: number, to: number): void {
    addEdge(this.#skips, from, to);
  }

  #call(from: number, rule: number, to: number): void {
    addEdge(this.#calls, from, callEdge(rule, to));
  }

  #rule(key: PatternRule | TextPattern, pattern: TextPattern): number {
    const isSpaced = this.#isSpaced;
    const ruleOf = this.#ruleOf[Number(isSpaced)]!;
    const existing = ruleOf.get(key);
    if (existing !== undefined) return existing;
    const rule = this.#starts.push(this.#node()) - 1;
    this.#ends.push(this.#node());
    this.#open.push({ pattern, rule, isSpaced });
    ruleOf.set(key, rule);
    return rule;
  }

  #emit(pattern: TextPattern, from: number, to: number): void {
    switch (pattern.kind) {
      case 'text':
        this.#text(this.#bytesOf(pattern), from, to);
        return;
      case 'token':
        this.#text(controlTokenBytes(pattern.id), from, to);
        return;
      case 'chars':
        this.#chars(pattern.ranges, from, to);
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
        } else this.#call(from, this.#rule(rule, rule.body), to);
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
          this.#skip(node, to);
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

  #bytesOf({ text, spaced = text }: Text): Uint8Array {
    return Buffer.from(this.#isSpaced ? spaced : text);
  }

  #text(bytes: readonly number[] | Uint8Array, from: number, to: number): void {
    if (bytes.length === 0) this.#skip(from, to);
    let at = from;
    for (let i = 0; i < bytes.length; i++) {
      const next = i === bytes.length - 1 ? to : this.#node();
      this.#byte(at, bytes[i]!, bytes[i]!, next);
      at = next;
    }
  }

  #chars(ranges: readonly CharRange[], from: number, to: number): void {
    for (const range of ranges) {
      for (const bytes of toByteRanges(range)) {
        let at = from;
        for (const [i, [first, last]] of bytes.entries()) {
          const next = i === bytes.length - 1 ? to : this.#node();
          this.#byte(at, first, last, next);
          at = next;
        }
      }
    }
  }

  /** Texts with a common prefix share nodes, because an enum may contain thousands of texts. */
  #options(options: readonly TextPattern[], from: number, to: number): void {
    const texts = options.filter((option) => option.kind === 'text');
    if (texts.length > 0) this.#texts(texts, from, to);
    for (const option of options) if (option.kind !== 'text') this.#emit(option, from, to);
  }

  #texts(texts: readonly Text[], from: number, to: number): void {
    const children = new Map<number, number>(); // node · 256 + byte → node
    for (const text of texts) {
      const bytes = this.#bytesOf(text);
      let at = from;
      for (const byte of bytes.subarray(0, -1)) {
        const key = at * 256 + byte;
        const node = children.get(key) ?? this.#node();
        if (!children.has(key)) this.#byte(at, byte, byte, node);
        children.set(key, node);
        at = node;
      }
      this.#text(bytes.subarray(-1), at, to);
    }
  }

  #sequence(items: readonly TextPattern[], from: number, to: number): void {
    if (items.length === 0) this.#skip(from, to);
    let at = from;
    for (const [i, item] of items.entries()) {
      const next = i === items.length - 1 ? to : this.#node();
      this.#emit(item, at, next);
      at = next;
    }
  }

  #graph(nodes: readonly PatternNode[], from: number, to: number): void {
    const own = nodes.map(() => this.#node());
    this.#skip(from, own[0]!);
    for (const [i, { isEnd, edges }] of nodes.entries()) {
      for (const edge of edges) this.#emit(edge.item, own[i]!, own[edge.to]!);
      if (isEnd) this.#skip(own[i]!, to);
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
      else this.#call(start, this.#rule(item, item), end);
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
      this.#skip(at, loop);
      emit(loop, loop);
      at = loop;
    }
    for (let i = min; i < max && max !== Number.POSITIVE_INFINITY; i++) {
      this.#skip(at, to);
      advance();
    }
    this.#skip(at, to);
  }

  /**
   * Adds a search for texts inside any text. `onMatch` continues at the node after a text. Returns the nodes before a match.
   */
  #search(texts: readonly string[], from: number, onMatch: (node: number, match: number) => void) {
    const positions = buildSearch(texts.map((text) => Buffer.from(text)));
    const nodeOf = new Map(positions.map((position) => [position, this.#node()]));
    this.#skip(from, nodeOf.get(positions[0])!);
    const open: number[] = [];
    for (const [position, at] of nodeOf) {
      if (position.match !== undefined) continue;
      open.push(at);
      const after = (byte: number) => nodeOf.get(searchStep(positions[0], position, byte))!;
      for (let first = 0, byte = 0; byte <= LAST_TEXT_BYTE; byte++) {
        if (byte < LAST_TEXT_BYTE && after(byte + 1) === after(first)) continue;
        this.#byte(at, first, byte, after(first));
        first = byte + 1;
      }
    }
    for (const [{ match }, node] of nodeOf) if (match !== undefined) onMatch(node, match);
    return open;
  }
}

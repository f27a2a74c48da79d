// Patterns of text as data. JSON schemas, regular expressions and grammars are all converted to these.
import { charge } from './budget.ts';

/** A range of code points, including both ends. */
export type CharRange = readonly [first: number, last: number];

/** The largest code point. */
export const MAX_CODE_POINT = 0x10ffff;

/** A pattern of text, as a tree. */
export type TextPattern =
  /** Exactly this text. `spaced` is the text within a `spaced` pattern, if it differs. */
  | { kind: 'text'; text: string; spaced?: string }
  /** A control token. */
  | { kind: 'token'; id: number }
  /** One character of these ranges. Without ranges it matches nothing. */
  | { kind: 'chars'; ranges: readonly CharRange[] }
  | { kind: 'sequence'; items: readonly TextPattern[] }
  /** Without options it matches nothing. */
  | { kind: 'choice'; options: readonly TextPattern[] }
  /** `max` may be Infinity. */
  | { kind: 'repeat'; item: TextPattern; min: number; max: number }
  | { kind: 'rule'; rule: PatternRule }
  /** The texts along the paths from the first node to an end. */
  | { kind: 'graph'; nodes: readonly PatternNode[] }
  /** Any text up to the first occurrence of an exit's text, that text, and then `next`. */
  | { kind: 'until'; exits: readonly { text: string; next: TextPattern }[] }
  /** Any text that contains none of these texts. */
  | { kind: 'without'; texts: readonly string[] }
  /**
   * The item, with the spaces that Python's JSON writer puts after commas and colons. Models that call tools were trained on such
   * JSON.
   */
  | { kind: 'spaced'; item: TextPattern };

/** A node of a graph of patterns. */
export interface PatternNode {
  readonly isEnd: boolean;
  readonly edges: readonly PatternEdge[];
}

/** Matches the item, then continues at the node `to`. */
export interface PatternEdge {
  readonly item: TextPattern;
  readonly to: number;
}

/** A pattern that may refer to itself. */
export interface PatternRule {
  body: TextPattern;
}

/** Matches only the empty text. */
export const EMPTY: TextPattern = { kind: 'sequence', items: [] };

/** The memory of a pattern, of each part that it lists, and of an edge of a graph. */
const PATTERN_BYTES = 96;
const PART_BYTES = 8;
const EDGE_BYTES = 40;

/** Matches exactly this text. */
export function text(value: string): TextPattern {
  charge('pattern', PATTERN_BYTES + value.length);
  return { kind: 'text', text: value };
}

/** Matches the items one after the other. */
export function sequence(...items: readonly TextPattern[]): TextPattern {
  if (items.length === 1) return items[0]!;
  charge('pattern', PATTERN_BYTES + PART_BYTES * items.length);
  return { kind: 'sequence', items };
}

/** Matches any of the options. */
export function choice(...options: readonly TextPattern[]): TextPattern {
  if (options.length === 1) return options[0]!;
  charge('pattern', PATTERN_BYTES + PART_BYTES * options.length);
  return { kind: 'choice', options };
}

/** Matches the item `min` to `max` times. */
export function repeat(
  item: TextPattern,
  min: number,
  max = Number.POSITIVE_INFINITY,
): TextPattern {
  charge('pattern', PATTERN_BYTES);
  return { kind: 'repeat', item, min, max };
}

/** Matches the item or nothing. */
export function optional(item: TextPattern): TextPattern {
  return repeat(item, 0, 1);
}

/** Returns a pattern for use in many places. They share its nodes. */
export function shared(body: TextPattern): TextPattern {
  charge('pattern', PATTERN_BYTES);
  return { kind: 'rule', rule: { body } };
}

/** Returns the pattern that `define` builds, given a reference to that same pattern. */
export function recursive(define: (self: TextPattern) => TextPattern): TextPattern {
  const rule: PatternRule = { body: EMPTY };
  const self: TextPattern = { kind: 'rule', rule };
  rule.body = define(self);
  return self;
}

/** Matches the texts along the paths from the first node to an end. */
export function graph(nodes: readonly PatternNode[]): TextPattern {
  const edges = nodes.reduce((sum, node) => sum + node.edges.length, 0);
  charge('pattern', PATTERN_BYTES * nodes.length + EDGE_BYTES * edges);
  return { kind: 'graph', nodes };
}

/** Matches one character of a set, written as pairs of first and last character, such as `09AF`. */
export function chars(pairs: string): TextPattern {
  const points = [...pairs].map((character) => character.codePointAt(0)!);
  const ranges: CharRange[] = [];
  for (let i = 0; i < points.length; i += 2) ranges.push([points[i]!, points[i + 1]!]);
  return { kind: 'chars', ranges };
}

/** Returns all characters that are not in these ranges. */
export function complement(ranges: readonly CharRange[]): CharRange[] {
  const sorted = [...ranges].sort(([a], [b]) => a - b);
  const rest: CharRange[] = [];
  let next = 0;
  for (const [first, last] of sorted) {
    if (first > next) rest.push([next, first - 1]);
    next = Math.max(next, last + 1);
  }
  if (next <= MAX_CODE_POINT) rest.push([next, MAX_CODE_POINT]);
  return rest;
}

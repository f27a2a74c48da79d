// Parses regular expressions in JavaScript's syntax, except for features that need more than a finite automaton.
import { append } from '../common/long-arrays.ts';
import { GrammarError } from './grammar-error.ts';
import {
  type CharRange,
  choice,
  complement,
  EMPTY,
  MAX_CODE_POINT,
  repeat,
  sequence,
  type TextPattern,
} from './text-pattern.ts';

/** The encoding of characters, and whether the expression is a search. */
interface RegexOptions {
  /** Default: characters are written unchanged. */
  toPattern?: (ranges: readonly CharRange[]) => TextPattern;
  /** Whether the expression may match a part of the text, unless it has anchors. Default: it must match the whole text. */
  isSearch?: boolean;
}

/** Useful expressions are not nested deeper. */
const MAX_DEPTH = 100;
const MAX_LENGTH = 20_000;
const ANYTHING: readonly CharRange[] = [[0, MAX_CODE_POINT]];

const CLASSES: Readonly<Record<string, readonly CharRange[]>> = {
  d: [[0x30, 0x39]],
  w: [
    [0x30, 0x39],
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ],
  s: [
    [0x09, 0x0d],
    [0x20, 0x20],
    [0xa0, 0xa0],
    [0x1680, 0x1680],
    [0x2000, 0x200a],
    [0x2028, 0x2029],
    [0x202f, 0x202f],
    [0x205f, 0x205f],
    [0x3000, 0x3000],
    [0xfeff, 0xfeff],
  ],
};
const LINE_ENDS: readonly CharRange[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, '0': 0 };

/** Parses a regular expression. Throws `GrammarError` if it is invalid or not supported. */
export function parseRegex(source: string, options: RegexOptions = {}): TextPattern {
  if (source.length > MAX_LENGTH) {
    throw new GrammarError(`has more than ${MAX_LENGTH} characters`);
  }
  // Some valid expressions contain escapes that only the older syntax allows.
  const isUnicode = isExpression(source, 'u');
  if (!isUnicode && !isExpression(source, ''))
    throw new GrammarError('is not a regular expression');
  return new RegexParser(source, isUnicode, options).parse();
}

function isExpression(source: string, flags: string): boolean {
  try {
    new RegExp(source, flags);
    return true;
  } catch {
    return false;
  }
}

/** Larger counts are not exact, and no text is so long. */
const MAX_COUNT = Number.MAX_SAFE_INTEGER;
/** Enough for two such counts. */
const MAX_COUNT_LENGTH = 40;

/**
 * Parses the quantifier that a text begins with, such as `*` or `{2,5}`. Undefined if there is none. Throws `GrammarError` if it
 * counts too far.
 */
export function parseCounts(
  text: string,
): { min: number; max: number; length: number } | undefined {
  const match = /^(?:([*+?])|\{(\d+)(,(\d*))?(\}|$))/.exec(text);
  if (!match) return undefined;
  const [{ length }, sign, first, comma, last, end] = match;
  const most = Number.POSITIVE_INFINITY;
  if (sign) return { min: sign === '+' ? 1 : 0, max: sign === '?' ? 1 : most, length };
  if (end === '' && length <= MAX_COUNT_LENGTH) return undefined;
  const counts = [first, last].filter(Boolean).map(Number);
  if (length > MAX_COUNT_LENGTH || counts.some((count) => count > MAX_COUNT))
    throw new GrammarError(`has a count above ${MAX_COUNT}`);
  const [min = 0, max = comma === undefined ? min : most] = counts;
  return { min, max, length };
}

/** Anchors, until `anchored` replaces them. */
const START: TextPattern = { kind: 'choice', options: [] };
const END: TextPattern = { kind: 'choice', options: [] };

/** The patterns that may come before and after a part of an expression. Undefined: the part is not at that end. */
interface Surroundings {
  readonly before?: TextPattern | undefined;
  readonly after?: TextPattern | undefined;
}

/**
 * Adds the surroundings of an expression, unless an anchor forbids them. Anchors may only be at the ends of the whole
 * expression.
 */
function anchored(pattern: TextPattern, { before, after }: Surroundings): TextPattern {
  if (pattern === START || pattern === END || pattern.kind === 'sequence') {
    const items = pattern.kind === 'sequence' ? [...pattern.items] : [pattern];
    const isStart = before !== undefined && items[0] === START;
    if (isStart) items.shift();
    const isEnd = after !== undefined && items.at(-1) === END;
    if (isEnd) items.pop();
    const last = items.length - 1;
    const inner = items.map((item, i) => {
      if (!hasAnchor(item)) return item;
      if (item === START || item === END) throw unsupported('an anchor inside');
      return anchored(item, {
        before: i === 0 && !isStart ? before : undefined,
        after: i === last && !isEnd ? after : undefined,
      });
    });
    const isOpen = (item: TextPattern | undefined, anchor: TextPattern) =>
      !item || !hasAnchor(item, anchor);
    return sequence(
      before && !isStart && isOpen(items[0], START) ? before : EMPTY,
      ...inner,
      after && !isEnd && isOpen(items[last], END) ? after : EMPTY,
    );
  }
  if (pattern.kind === 'choice' && hasAnchor(pattern))
    return choice(...pattern.options.map((option) => anchored(option, { before, after })));
  if (hasAnchor(pattern)) throw unsupported('an anchor inside');
  return sequence(before ?? EMPTY, pattern, after ?? EMPTY);
}

function hasAnchor(pattern: TextPattern, anchor?: TextPattern): boolean {
  if (pattern === START || pattern === END) return anchor === undefined || pattern === anchor;
  if (pattern.kind === 'sequence') return pattern.items.some((item) => hasAnchor(item, anchor));
  if (pattern.kind === 'choice') return pattern.options.some((item) => hasAnchor(item, anchor));
  return pattern.kind === 'repeat' && hasAnchor(pattern.item, anchor);
}

/** An expression, and whether texts must not match it. */
export interface RegexPart {
  readonly source: string;
  readonly isExcluded: boolean;
}

/** Splits an expression that begins with lookaheads into expressions for the same text. */
export function splitLookaheads(source: string): RegexPart[] {
  const start = /^\^\(\?([=!])/.exec(source);
  const end = start ? endOfGroup(source, start[0].length) : undefined;
  if (!start || end === undefined) return [{ source, isExcluded: false }];
  const inner = {
    source: `^(?:${source.slice(start[0].length, end)})`,
    isExcluded: start[1] === '!',
  };
  return [inner, ...splitLookaheads(`^${source.slice(end + 1)}`)];
}

/** Returns the position of the parenthesis that closes a group. Undefined if alternatives follow the group. */
function endOfGroup(source: string, from: number): number | undefined {
  let depth = 1;
  let end: number | undefined;
  for (let at = from; at < source.length; at++) {
    const next = source[at]!;
    if (next === '\\') at++;
    else if (next === '[') {
      for (at++; at < source.length && source[at] !== ']'; at++) if (source[at] === '\\') at++;
    } else if (next === '(') depth++;
    else if (next === ')' && --depth === 0) end ??= at;
    else if (next === '|' && depth === 0) return undefined;
  }
  return end;
}

class RegexParser {
  readonly #source: readonly string[];
  readonly #toPattern: (ranges: readonly CharRange[]) => TextPattern;
  readonly #isSearch: boolean;
  /** Whether `\u{1F600}` is a character. In the older syntax it is something else. */
  readonly #isUnicode: boolean;
  #at = 0;
  #depth = 0;
  #hasAnchors = false;

  constructor(source: string, isUnicode: boolean, { toPattern, isSearch = false }: RegexOptions) {
    this.#isUnicode = isUnicode;
    this.#source = [...source];
    this.#toPattern = toPattern ?? ((ranges) => ({ kind: 'chars', ranges }));
    this.#isSearch = isSearch;
  }

  /** Returns the pattern of the whole expression. */
  parse(): TextPattern {
    const pattern = this.#alternatives();
    const anything = this.#isSearch ? repeat(this.#toPattern(ANYTHING), 0) : EMPTY;
    return this.#hasAnchors
      ? anchored(pattern, { before: anything, after: anything })
      : sequence(anything, pattern, anything);
  }

  #alternatives(): TextPattern {
    if (++this.#depth > MAX_DEPTH)
      throw new GrammarError(`has more than ${MAX_DEPTH} nested groups`);
    const options = [this.#items()];
    while (this.#take('|')) options.push(this.#items());
    this.#depth--;
    return choice(...options);
  }

  /** Parses one alternative. */
  #items(): TextPattern {
    const items: TextPattern[] = [];
    for (let next = this.#peek(); next !== undefined && next !== '|'; next = this.#peek()) {
      if (next === ')' && this.#depth > 1) break;
      items.push(this.#quantified(this.#item()));
    }
    return sequence(...items);
  }

  #item(): TextPattern {
    const next = this.#source[this.#at++]!;
    if (next === '(') return this.#group();
    if (next === '[') return this.#toPattern(this.#class());
    if (next === '.') return this.#toPattern(complement(LINE_ENDS));
    if (next === '\\') return this.#toPattern(this.#escape(false));
    if (next === '^' || next === '$') {
      this.#hasAnchors = true;
      return next === '^' ? START : END;
    }
    const point = next.codePointAt(0)!;
    return this.#toPattern([[point, point]]);
  }

  #group(): TextPattern {
    if (this.#take('?')) {
      const kind = this.#source[this.#at++];
      if (kind === '<' && !'=!'.includes(this.#peek() ?? '=')) {
        while (this.#source[this.#at++] !== '>');
      } else if (kind !== ':') throw unsupported('a lookahead, a lookbehind or flags in a group');
    }
    const inner = this.#alternatives();
    this.#at++; // the library has verified that the group is closed
    return inner;
  }

  #quantified(item: TextPattern): TextPattern {
    const counts = parseCounts(
      this.#source.slice(this.#at, this.#at + MAX_COUNT_LENGTH + 1).join(''),
    );
    if (!counts) return item; // a brace may be a literal character
    this.#at += counts.length;
    this.#take('?'); // a lazy quantifier matches the same texts
    return repeat(item, counts.min, counts.max);
  }

  #class(): CharRange[] {
    const isNegated = this.#take('^');
    const ranges: CharRange[] = [];
    while (!this.#take(']')) {
      const first = this.#member();
      const isRange = this.#peek() === '-' && this.#source[this.#at + 1] !== ']';
      if (isRange && first.length === 1 && first[0]![0] === first[0]![1]) {
        this.#at++;
        const last = this.#member();
        if (last.length === 1 && last[0]![0] === last[0]![1]) {
          ranges.push([first[0]![0], last[0]![1]]);
          continue;
        }
        append(ranges, [[0x2d, 0x2d], ...last]);
      }
      append(ranges, first);
    }
    return isNegated ? complement(ranges) : ranges;
  }

  #member(): readonly CharRange[] {
    const next = this.#source[this.#at++]!;
    if (next === '\\') return this.#escape(true);
    const point = next.codePointAt(0)!;
    return [[point, point]];
  }

  #escape(isInClass: boolean): readonly CharRange[] {
    const next = this.#source[this.#at++]!;
    const ranges = CLASSES[next.toLowerCase()];
    if (ranges) return next === next.toLowerCase() ? ranges : complement(ranges);
    if (next === 'b' && isInClass) return [[8, 8]];
    const isOctal = next === '0' && /\d/.test(this.#peek() ?? '');
    if (isOctal || /[bBpPkc1-9]/.test(next)) throw unsupported(`the escape \\${next}`);
    const hex = { x: 2, u: 4 }[next];
    const point = hex ? this.#hex(hex) : (CONTROLS[next] ?? next.codePointAt(0)!);
    return [[point, point]];
  }

  #hex(digits: number): number {
    const isBraced = this.#isUnicode && this.#take('{');
    const end = isBraced ? this.#source.indexOf('}', this.#at) : this.#at + digits;
    const hex = this.#source.slice(this.#at, end).join('');
    this.#at = isBraced ? end + 1 : end;
    if (!/^[0-9a-f]{1,6}$/i.test(hex)) throw new GrammarError('has an escape without its digits');
    return Number.parseInt(hex, 16);
  }

  #peek(): string | undefined {
    return this.#source[this.#at];
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }
}

function unsupported(what: string): GrammarError {
  return new GrammarError(`has ${what}, which is not supported`);
}

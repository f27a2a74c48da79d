// Parses grammars in the notation of llama.cpp (GBNF) and XGrammar: `root ::= "yes" | "no"`, with # comments.

import { GrammarError } from './grammar-error.ts';
import { parseCounts } from './regex.ts';
import {
  type CharRange,
  choice,
  complement,
  EMPTY,
  type PatternRule,
  repeat,
  sequence,
  type TextPattern,
} from './text-pattern.ts';

const MAX_LENGTH = 100_000;
const MAX_DEPTH = 100;

/** Parses a grammar, whose rule `root` matches the whole text. Throws `GrammarError` with the line at fault. */
export function parseEbnf(source: string): TextPattern {
  if (source.length > MAX_LENGTH) {
    throw new GrammarError(`has more than ${MAX_LENGTH} characters`);
  }
  return new EbnfParser(tokenize(source)).parse();
}

type Token =
  | { kind: 'name' | 'sign'; text: string; line: number }
  | { kind: 'pattern'; pattern: TextPattern; text: string; line: number };

const TOKEN =
  /(?<space>(?:\s|#[^\n]*)+)|(?<name>[A-Za-z_][A-Za-z0-9_-]*)|(?<sign>::=|[|()*+?.]|\{\d+(?:,\d*)?\})|"(?<literal>(?:[^"\\\n]|\\.)*)"|\[(?<set>(?:[^\]\\]|\\.)*)\]/y;

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  const pattern = new RegExp(TOKEN);
  let line = 1;
  for (let at = 0; at < source.length; at = pattern.lastIndex) {
    const match = pattern.exec(source);
    if (!match)
      throw new GrammarError(`line ${line}: "${source.slice(at, at + 12)}" is not expected`);
    const [text] = match;
    const { space, name, literal, set } = match.groups!;
    const add = (pattern: TextPattern) => tokens.push({ kind: 'pattern', pattern, text, line });
    if (literal !== undefined) {
      const characters = codePoints(literal, line).map(({ point }) => String.fromCodePoint(point));
      add({ kind: 'text', text: characters.join('') });
    } else if (set !== undefined) add({ kind: 'chars', ranges: characterRanges(set, line) });
    else if (space === undefined) tokens.push({ kind: name ? 'name' : 'sign', text, line });
    else line += space.split('\n').length - 1;
  }
  return tokens;
}

/** Lists the characters of a literal or a class, and whether each was written with a backslash. */
function codePoints(source: string, line: number): { point: number; isEscaped: boolean }[] {
  const points: { point: number; isEscaped: boolean }[] = [];
  const pattern = /\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|([^\\])/gsu;
  for (const [, x, u, U, escaped, plain] of source.matchAll(pattern)) {
    const hex = x ?? u ?? U;
    const control = { n: 10, r: 13, t: 9, '0': 0, b: 8, f: 12, v: 11 }[escaped ?? ''];
    const point =
      hex === undefined
        ? (control ?? (escaped ?? plain!).codePointAt(0)!)
        : Number.parseInt(hex, 16);
    if (point > 0x10ffff) throw new GrammarError(`line ${line}: ${hex} is not a character`);
    points.push({ point, isEscaped: plain === undefined });
  }
  return points;
}

function characterRanges(source: string, line: number): CharRange[] {
  const isNegated = source.startsWith('^');
  const points = codePoints(isNegated ? source.slice(1) : source, line);
  const ranges: CharRange[] = [];
  for (let i = 0; i < points.length; i++) {
    const first = points[i]!.point;
    const dash = points[i + 1];
    const last = points[i + 2];
    if (last && dash?.point === 0x2d && !dash.isEscaped) {
      if (last.point < first)
        throw new GrammarError(`line ${line}: a range of [${source}] is reversed`);
      ranges.push([first, last.point]);
      i += 2;
    } else ranges.push([first, first]);
  }
  return isNegated ? complement(ranges) : ranges;
}

class EbnfParser {
  readonly #tokens: readonly Token[];
  readonly #rules = new Map<string, { rule: PatternRule; isDefined: boolean; line: number }>();
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  parse(): TextPattern {
    while (this.#at < this.#tokens.length) this.#definition();
    for (const [name, { isDefined, line }] of this.#rules) {
      if (!isDefined) throw new GrammarError(`line ${line}: rule "${name}" is not defined`);
    }
    const root = this.#rules.get('root');
    if (!root) throw new GrammarError('the rule "root" is missing');
    return { kind: 'rule', rule: root.rule };
  }

  #definition(): void {
    const name = this.#tokens[this.#at]!;
    if (name.kind !== 'name' || !this.#isDefinition(this.#at)) throw this.#unexpected();
    this.#at += 2;
    const entry = this.#entry(name.text, name.line);
    if (entry.isDefined) {
      throw new GrammarError(`line ${name.line}: rule "${name.text}" is defined twice`);
    }
    entry.isDefined = true;
    entry.rule.body = this.#alternatives();
  }

  #alternatives(): TextPattern {
    if (++this.#depth > MAX_DEPTH) {
      throw new GrammarError(`there are more than ${MAX_DEPTH} nested groups`);
    }
    const options = [this.#sequence()];
    while (this.#take('|')) options.push(this.#sequence());
    this.#depth--;
    return choice(...options);
  }

  #sequence(): TextPattern {
    const items: TextPattern[] = [];
    for (;;) {
      const token = this.#tokens[this.#at];
      if (!token || this.#isDefinition(this.#at)) break;
      if (token.kind === 'sign' && !['(', '.'].includes(token.text)) break;
      items.push(this.#repeated(this.#item(token)));
    }
    return sequence(...items);
  }

  #item(token: Token): TextPattern {
    this.#at++;
    if (token.kind === 'pattern') return token.pattern;
    if (token.kind === 'name') {
      return { kind: 'rule', rule: this.#entry(token.text, token.line).rule };
    }
    if (token.text === '.') return { kind: 'chars', ranges: complement([]) };
    const inner = this.#alternatives();
    if (!this.#take(')')) throw this.#unexpected();
    return inner;
  }

  #repeated(item: TextPattern): TextPattern {
    const next = this.#tokens[this.#at];
    const counts = next?.kind === 'sign' ? parseCounts(next.text) : undefined;
    if (!next || !counts) return item;
    const { min, max } = counts;
    if (min > max) throw new GrammarError(`line ${next.line}: ${next.text} is reversed`);
    this.#at++;
    return this.#repeated(repeat(item, min, max));
  }

  #entry(name: string, line: number) {
    const existing = this.#rules.get(name);
    if (existing) return existing;
    const entry = { rule: { body: EMPTY }, isDefined: false, line };
    this.#rules.set(name, entry);
    return entry;
  }

  #isDefinition(at: number): boolean {
    return this.#tokens[at]?.kind === 'name' && this.#tokens[at + 1]?.text === '::=';
  }

  #take(text: string): boolean {
    const token = this.#tokens[this.#at];
    if (token?.kind !== 'sign' || token.text !== text) return false;
    this.#at++;
    return true;
  }

  #unexpected(): GrammarError {
    const token = this.#tokens[this.#at];
    return token
      ? new GrammarError(`line ${token.line}: "${token.text}" is not expected`)
      : new GrammarError('the grammar ends too early');
  }
}

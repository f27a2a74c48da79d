// The patterns of JSON strings: with bounds of the length, expressions and formats, alone or together.
import { shortFormat, sourceOfFormat } from './formats.ts';
import { ContradictionError, located } from './grammar-error.ts';
import { ANY_STRING, insideString, stringOfLength } from './json-text.ts';
import type { Located, Normalized, StringRule } from './normalized-schema.ts';
import { parseRegex, splitLookaheads } from './regex.ts';
import { lengthsOf, TextLanguage, type TextLength, type TextRule } from './text-language.ts';
import {
  type CharRange,
  choice,
  repeat,
  sequence,
  shared,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** The states of a string whose length is counted along with an expression. Longer strings are left out. */
const MAX_COUNTED_STATES = 3000;

/** Returns the patterns of strings. Equal strings share one. */
export class StringPatterns {
  readonly #patterns = new Map<string, TextPattern>();

  /** Returns the pattern of the strings that satisfy the schema. Throws `GrammarError`, and `ContradictionError` if there are none. */
  of(normal: Normalized, path: string): TextPattern {
    const length = boundsOf(normal, 'Length');
    const excluded = normal.excluded.filter((value) => typeof value === 'string');
    const enforced = normal.strings.filter(isEnforced);
    const byKey = new Map(
      enforced.map((rule) => [`${rule.keyword} ${rule.isExcluded ?? false} ${rule.value}`, rule]),
    );
    const rules = [...byKey.values()];
    if (rules.length + excluded.length === 0)
      return isUnbounded(length) ? ANY_STRING : stringOfLength(length.min, length.max);
    const key = JSON.stringify([[...byKey.keys()], length.min, String(length.max), excluded]);
    const known = this.#patterns.get(key);
    const pattern =
      known ?? shared(located(rules[0]?.path ?? path, () => build(rules, length, excluded)));
    this.#patterns.set(key, pattern);
    return pattern;
  }
}

function build(
  rules: readonly StringRule[],
  length: TextLength,
  excluded: readonly string[],
): TextPattern {
  const [rule] = rules;
  const isAlone = rules.length === 1 && excluded.length === 0 && !rule!.isExcluded;
  const all = rules.map((one) => toTextRule(one));
  const [part, second] = all[0]?.parts ?? [];
  const single = isAlone && !second ? part!.pattern : undefined;
  if (single && isImplied(length, single)) return quoted(parsed(rule!, insideString));
  const short = isAlone && rule!.keyword === 'format' ? shortFormat(rule!.value) : undefined;
  if (short) {
    const bounds = { ...length, max: Math.min(length.max, short.max) };
    const texts: TextRule = { parts: [{ pattern: parseRegex(short.source) }], use: 'match' };
    return quoted(counted([texts], bounds).pattern(insideString));
  }
  const repeated = single && repeatedCharacter(single);
  if (repeated) {
    const [min, max] = [Math.max(length.min, repeated.min), Math.min(length.max, repeated.max)];
    if (min > max) throw new ContradictionError('allows no string of these lengths');
    return quoted(repeat(insideString(repeated.ranges), min, max));
  }
  if (excluded.length > 0)
    all.push({ parts: [{ pattern: choice(...excluded.map(text)) }], use: 'exclude' });
  return quoted(counted(all, length).pattern(insideString));
}

/** Returns the texts of these lengths. If they need too many states, the longest texts are left out. */
function counted(rules: readonly TextRule[], length: TextLength): TextLanguage {
  const isLengthImplied = ({ parts, use }: TextRule) =>
    use === 'match' &&
    parts.some(({ pattern, isExcluded }) => !isExcluded && isImplied(length, pattern));
  if (rules.some(isLengthImplied)) return new TextLanguage(rules);
  const { size } = new TextLanguage(rules);
  const max = Math.max(length.min, Math.floor(MAX_COUNTED_STATES / size));
  const isBounded = length.max < Number.POSITIVE_INFINITY;
  return new TextLanguage(rules, {
    min: length.min,
    max: isBounded ? Math.min(length.max, max) : length.max,
  });
}

/** Whether all texts of a pattern have such a length. */
function isImplied(length: TextLength, pattern: TextPattern): boolean {
  if (isUnbounded(length)) return true;
  const { min, max } = lengthsOf(pattern);
  return min >= length.min && max <= length.max;
}

/** Returns the repeat that a pattern consists of, if it repeats one set of characters. */
function repeatedCharacter(
  pattern: TextPattern,
): { ranges: readonly CharRange[]; min: number; max: number } | undefined {
  if (pattern.kind === 'repeat' && pattern.item.kind === 'chars')
    return { ...pattern, ranges: pattern.item.ranges };
  if (pattern.kind === 'chars') return { ranges: pattern.ranges, min: 1, max: 1 };
  if (pattern.kind !== 'sequence') return undefined;
  const items = pattern.items.filter((item) => item.kind !== 'sequence' || item.items.length > 0);
  return items.length === 1 ? repeatedCharacter(items[0]!) : undefined;
}

/** Returns the texts of a rule. Throws `GrammarError` if its expression is not supported. */
export function toTextRule(rule: StringRule): TextRule {
  const whole = rule.keyword === 'format' ? [{ source: rule.value, isExcluded: false }] : undefined;
  const parts = located(rule.path, () =>
    (whole ?? splitLookaheads(rule.value)).map(({ source, isExcluded }) => ({
      pattern: parsed({ ...rule, value: source }),
      isExcluded,
    })),
  );
  return { parts, use: rule.isExcluded ? 'exclude' : 'match' };
}

/** Whether a rule is more than a description. */
export function isEnforced({ keyword, value }: StringRule): boolean {
  return keyword === 'pattern' || sourceOfFormat(value) !== undefined;
}

/** An expression may match a part of a text. */
function parsed({ keyword, value }: StringRule, toPattern?: typeof insideString): TextPattern {
  const source = keyword === 'format' ? sourceOfFormat(value)! : value;
  return parseRegex(source, { isSearch: keyword === 'pattern', ...(toPattern && { toPattern }) });
}

function isUnbounded({ min, max }: TextLength): boolean {
  return min === 0 && max === Number.POSITIVE_INFINITY;
}

/** Matches a text between quotes. */
export function quoted(inner: TextPattern): TextPattern {
  return sequence(text('"'), inner, text('"'));
}

/** Returns the bounds of a length or of a number. Throws `ContradictionError` if the lower one is above the upper one. */
export function boundsOf(
  { limits }: Normalized,
  what: 'Length' | 'Items' | 'Properties',
): TextLength {
  const low: Located<number> | undefined = limits[`min${what}`];
  const max = limits[`max${what}`]?.value ?? Number.POSITIVE_INFINITY;
  if (low && low.value > max)
    throw new ContradictionError(`is above max${what}, which is ${max}`, low.path);
  return { min: low?.value ?? 0, max };
}

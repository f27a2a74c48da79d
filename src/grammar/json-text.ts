// The patterns of JSON values. There is no white space between tokens, because small models would otherwise emit blanks
// forever.
import { LRUCache } from 'lru-cache';
import { charge } from './budget.ts';
import {
  type CharRange,
  chars,
  choice,
  complement,
  MAX_CODE_POINT,
  optional,
  recursive,
  repeat,
  sequence,
  shared,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** Readers keep at least this many digits of a number. The limit also keeps a model from emitting digits forever. */
export const MAX_DIGITS = 15;
/** The digits of a number without bounds, before and after the point. They may be rounded. Python writes up to 17. */
const MAX_FREE_DIGITS = 20;

const DIGIT = chars('09');
const HEX = chars('09afAF');

/** Characters that a JSON string may contain unescaped: not the quote, not the backslash, no control character. */
const PLAIN: readonly CharRange[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, MAX_CODE_POINT],
];

/** Characters with a short escape, and the escape's letter. */
const ESCAPES: ReadonlyMap<number, string> = new Map([
  [0x22, '"'],
  [0x5c, '\\'],
  [0x08, 'b'],
  [0x09, 't'],
  [0x0a, 'n'],
  [0x0c, 'f'],
  [0x0d, 'r'],
]);

/** `\uXXXX` of any character except surrogates. */
const UNICODE_ESCAPE = sequence(
  text('\\u'),
  choice(
    sequence(chars('09acAC'), HEX, HEX, HEX),
    sequence(chars('efEF'), HEX, HEX, HEX),
    sequence(chars('ddDD'), chars('07'), HEX, HEX),
  ),
);

/** A character of a JSON string. */
const CHARACTER: TextPattern = choice(
  { kind: 'chars', ranges: PLAIN },
  sequence(text('\\'), chars('""\\\\//bbffnnrrtt')),
  UNICODE_ESCAPE,
);

/** The memory of a range of characters. */
const RANGE_BYTES = 48;

/** Matches a JSON string of any characters, with a length in code points. */
export function stringOfLength(min: number, max: number): TextPattern {
  return sequence(text('"'), repeat(CHARACTER, min, max), text('"'));
}

/** All characters outside of ASCII. Most sets contain all of them or none, so they share nodes. */
const WIDE: readonly CharRange[] = [[0x80, MAX_CODE_POINT]];
const ANY_WIDE = shared({ kind: 'chars', ranges: WIDE });
const ANY_ESCAPE = choice(...[...ESCAPES.values()].map((letter) => text(`\\${letter}`)));
const ANY_OTHER = shared(choice({ kind: 'chars', ranges: WIDE }, ANY_ESCAPE));

/**
 * Matches one character from these ranges as it appears in a JSON string. Control characters without a short escape are left
 * out.
 */
export function insideString(ranges: readonly CharRange[]): TextPattern {
  const plain = intersect(ranges, PLAIN);
  charge('pattern', RANGE_BYTES * plain.length);
  const wide = intersect(plain, WIDE);
  const hasAllWide = wide.some(([first, last]) => first === 0x80 && last === MAX_CODE_POINT);
  const escaped = [...ESCAPES].filter(([point]) => {
    return ranges.some(([first, last]) => first <= point && point <= last);
  });
  const own: TextPattern = {
    kind: 'chars',
    ranges: hasAllWide ? intersect(plain, [[0, 0x7f]]) : plain,
  };
  if (hasAllWide && escaped.length === ESCAPES.size) return choice(own, ANY_OTHER);
  return choice(
    own,
    ...(hasAllWide ? [ANY_WIDE] : []),
    ...escaped.map(([, letter]) => text(`\\${letter}`)),
  );
}

/** Most names consist of few characters. */
const ascii = Array.from({ length: 128 }, (_, point) => insideString([[point, point]]));
const exceptions = new LRUCache<string, TextPattern>({ max: 1000 });

/** Matches this character in a JSON string. */
export function oneCharacter(point: number): TextPattern {
  return ascii[point] ?? insideString([[point, point]]);
}

/** Matches one character in a JSON string other than these. */
export function characterExcept(points: readonly number[]): TextPattern {
  const key = points.join();
  const known = exceptions.get(key);
  if (known) return known;
  const pattern = insideString(complement(points.map((point) => [point, point])));
  exceptions.set(key, pattern);
  return pattern;
}

/** Returns the ranges that both sets contain. */
function intersect(one: readonly CharRange[], other: readonly CharRange[]): CharRange[] {
  return one.flatMap(([first, last]) =>
    other.flatMap(([from, to]): CharRange[] => {
      const range: CharRange = [Math.max(first, from), Math.min(last, to)];
      return range[0] <= range[1] ? [range] : [];
    }),
  );
}

/** An integer without bounds. */
export const ANY_INTEGER: TextPattern = shared(
  sequence(
    optional(text('-')),
    choice(text('0'), sequence(chars('19'), repeat(DIGIT, 0, MAX_FREE_DIGITS - 1))),
  ),
);

/** A number without bounds. */
export const ANY_NUMBER: TextPattern = shared(
  sequence(
    ANY_INTEGER,
    optional(sequence(text('.'), repeat(DIGIT, 1, MAX_FREE_DIGITS))),
    optional(sequence(chars('eeEE'), optional(chars('++--')), repeat(DIGIT, 1, 2))),
  ),
);

/** The punctuation between JSON tokens. */
export const COMMA: TextPattern = { kind: 'text', text: ',', spaced: ', ' };
const COLON: TextPattern = { kind: 'text', text: ':', spaced: ': ' };

/** Matches a list of expressions separated by commas. */
export function commaSeparated(item: TextPattern, min: number, max: number): TextPattern {
  if (max === 0) return sequence();
  const some = sequence(item, repeat(sequence(COMMA, item), Math.max(0, min - 1), max - 1));
  return min === 0 ? optional(some) : some;
}

/** Matches a member of an object. */
export function member(key: TextPattern, value: TextPattern): TextPattern {
  return sequence(key, COLON, value);
}

export const ANY_STRING = shared(stringOfLength(0, Number.POSITIVE_INFINITY));

/** Any JSON value. */
export const ANY_VALUE: TextPattern = recursive((value) =>
  choice(
    objectOf(value),
    arrayOf(value),
    ANY_STRING,
    ANY_NUMBER,
    text('true'),
    text('false'),
    text('null'),
  ),
);

function objectOf(value: TextPattern): TextPattern {
  const members = commaSeparated(member(ANY_STRING, value), 0, Number.POSITIVE_INFINITY);
  return sequence(text('{'), members, text('}'));
}

function arrayOf(value: TextPattern): TextPattern {
  return sequence(text('['), commaSeparated(value, 0, Number.POSITIVE_INFINITY), text(']'));
}

// The patterns of JSON objects: with declared members in a fixed order, or with arbitrary members.

import { ANY_STRING, COMMA, commaSeparated, member } from './json-text.ts';
import { complement } from './regex.ts';
import {
  type CharRange,
  choice,
  EMPTY,
  GrammarError,
  repeat,
  sequence,
  shared,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** A declared member of an object. */
interface Member {
  readonly name: string;
  readonly isRequired: boolean;
  readonly value: TextPattern;
}

/**
 * Matches an object with these members. `others` is the value of members with other names, which come last. Undefined: there
 * are none.
 */
export function objectPattern(
  members: readonly Member[],
  others: TextPattern | undefined,
): TextPattern {
  const parts = members.map(({ name, value }) => member(text(JSON.stringify(name)), value));
  const keys = members.map(({ name }) => name);
  const other = others && member(keys.length > 0 ? keyExcept(keys) : ANY_STRING, others);
  // Built from the last member to the first: the patterns that may follow once a member has been written, and before.
  let after: TextPattern = other ? repeat(sequence(COMMA, other), 0) : EMPTY;
  let before: TextPattern = other ? choice(EMPTY, sequence(other, after)) : EMPTY;
  for (let i = parts.length - 1; i >= 0; i--) {
    const rest = after === EMPTY ? EMPTY : shared(after);
    const part = parts[i]!;
    const { isRequired } = members[i]!;
    const continued = sequence(COMMA, part, rest);
    const begun = sequence(part, rest);
    before = isRequired ? begun : choice(begun, before);
    after = isRequired ? continued : choice(continued, rest);
  }
  return sequence(text('{'), before, text('}'));
}

/** Matches an object whose members may come in any order, even repeated. */
export function mapPattern(
  name: TextPattern,
  value: TextPattern,
  { min, max }: { min: number; max: number },
): TextPattern {
  return sequence(text('{'), commaSeparated(member(name, value), min, max), text('}'));
}

/** The names that other names must differ from become a tree, as deep as the names are long. */
const MAX_NAMES = { length: 1000, total: 20_000 };

/** Matches a string that is none of these names. It contains no escapes. */
function keyExcept(names: readonly string[]): TextPattern {
  const total = names.reduce((sum, { length }) => sum + length, 0);
  if (total > MAX_NAMES.total || names.some(({ length }) => length > MAX_NAMES.length)) {
    throw new GrammarError(
      `has properties with names of more than ${MAX_NAMES.length} characters, or ${MAX_NAMES.total} in all. Set additionalProperties to false`,
    );
  }
  return sequence(text('"'), textExcept(names.map((name) => [...name])), text('"'));
}

/**
 * Matches a text that differs from all of these, starting at this position. Before it, all of them have the same characters.
 */
function textExcept(texts: readonly (readonly string[])[], at = 0): TextPattern {
  const next = new Map<string, (readonly string[])[]>();
  for (const characters of texts) {
    const first = characters[at];
    if (first === undefined) continue;
    const alternatives = next.get(first);
    if (alternatives) alternatives.push(characters);
    else next.set(first, [characters]);
  }
  const initials = [...next.keys()].map((character): CharRange => {
    const point = character.codePointAt(0)!;
    return [point, point];
  });
  const anything = repeat(plainCharacter(complement([])), 0);
  // A quote or a backslash in a name would need an escape, and escapes are not generated.
  const usable = [...next].filter(([first]) => !/["\\\p{Cc}]/u.test(first));
  const options = usable.map(([first, rest]) => sequence(text(first), textExcept(rest, at + 1)));
  return choice(
    ...(texts.some(({ length }) => length === at) ? [] : [EMPTY]),
    sequence(plainCharacter(complement(initials)), anything),
    ...options,
  );
}

const QUOTED: readonly CharRange[] = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
];

function plainCharacter(ranges: readonly CharRange[]): TextPattern {
  return { kind: 'chars', ranges: complement([...complement(ranges), ...QUOTED]) };
}

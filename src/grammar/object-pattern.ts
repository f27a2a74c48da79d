// The pattern of a JSON object with declared members in a fixed order.

import { ANY_STRING, COMMA, member } from './json-text.ts';
import { complement } from './regex.ts';
import {
  type CharRange,
  choice,
  EMPTY,
  repeat,
  sequence,
  shared,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** A declared member of an object. */
export interface Member {
  readonly name: string;
  readonly isRequired: boolean;
  readonly value: TextPattern;
}

/** `others`: the value of members with other names, which come last. Undefined: there are none. */
export function objectPattern(
  members: readonly Member[],
  others: TextPattern | undefined,
): TextPattern {
  const parts = members.map(({ name, value }) => member(text(JSON.stringify(name)), value));
  const keys = members.map(({ name }) => name);
  const other = others && member(keys.length > 0 ? keyExcept(keys) : ANY_STRING, others);
  // Built from the last member to the first: what may follow once a member has been written, and before.
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

/** A string that is none of these names. It has no escapes. */
function keyExcept(names: readonly string[]): TextPattern {
  return sequence(text('"'), textExcept(names.map((name) => [...name])), text('"'));
}

/** A text that is none of these. All of them begin with the same characters, which are not part of them. */
function textExcept(texts: readonly (readonly string[])[]): TextPattern {
  const next = new Map<string, (readonly string[])[]>();
  for (const [first, ...rest] of texts) {
    if (first !== undefined) next.set(first, [...(next.get(first) ?? []), rest]);
  }
  const taken = [...next.keys()].map((character): CharRange => {
    const point = character.codePointAt(0)!;
    return [point, point];
  });
  const anything = repeat(plainCharacter(complement([])), 0);
  const options = [...next].map(([first, rest]) => sequence(text(first), textExcept(rest)));
  // A quote or a backslash in a name would be escaped, and escapes are not generated.
  const usable = options.filter((_, i) => ![...next.keys()][i]!.match(/["\\\p{Cc}]/u));
  return choice(
    ...(texts.some(({ length }) => length === 0) ? [] : [EMPTY]),
    sequence(plainCharacter(complement(taken)), anything),
    ...usable,
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

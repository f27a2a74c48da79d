// Compiles a request's constraint: to a pattern, an NFA and an automaton.
import { createHash } from 'node:crypto';
import type { CompiledConstraint, Constraint } from '../contracts/generation.ts';
import { Automaton, TOO_AMBIGUOUS } from './automaton.ts';
import { withinBudget } from './budget.ts';
import { parseEbnf } from './ebnf.ts';
import { ContradictionError, GrammarError, located } from './grammar-error.ts';
import { convertSchema } from './json-schema.ts';
import { type Nfa, packNfa, unpackNfa } from './nfa.ts';
import { buildNfa } from './nfa-builder.ts';
import { parseRegex } from './regex.ts';
import {
  choice,
  EMPTY,
  optional,
  repeat,
  sequence,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** Compiles a constraint for the engine. Throws `GrammarError` if it cannot be used. */
export function compileConstraint(constraint: Constraint): CompiledConstraint {
  const nfa = constraintNfa(constraint);
  located(rootPath(constraint), () => probe(new Automaton(nfa)));
  const packed = packNfa(nfa);
  const digest = createHash('sha256').update(packed).digest('hex');
  return { kind: constraint.kind, digest, nfa: packed };
}

/** The bytes with a choice that a probe reads. An expression that explodes does so within a few. */
const PROBE_BYTES = 48;
/**
 * The bytes that a probe reads in total. Bytes without a choice hide what comes after them: all texts contain them, or they
 * lead to the same state as others.
 */
const MAX_PROBE_BYTES = 4096;
/** Visited positions, which take 60 ms. Typical constraints need fewer than 70,000. */
const MAX_PROBE_WORK = 200_000;

/** Reads some text that the automaton allows. Throws `GrammarError` if that takes too long. */
function probe(automaton: Automaton): void {
  const work = { visits: 0 };
  let state = automaton.start;
  for (let read = 0, choices = 0; choices < PROBE_BYTES && read < MAX_PROBE_BYTES; read++) {
    const next = automaton.representatives.map((byte) => automaton.step(state, byte, work));
    if (work.visits > MAX_PROBE_WORK) throw new GrammarError(TOO_AMBIGUOUS);
    const open = [...new Set(next)].filter((found) => found !== null);
    if (open.length === 0) return;
    if (open.length > 1) choices++;
    // The state with the most positions is the most likely to explode.
    state = open.reduce((most, other) =>
      other.positions.length > most.positions.length ? other : most,
    );
  }
}

/** Returns the NFA of a constraint, which may be too ambiguous to be matched. Throws `GrammarError` if there is none. */
export function constraintNfa(constraint: Constraint): Nfa {
  return located(rootPath(constraint), () =>
    withinBudget(() =>
      constraint.kind === 'json_schema' ? schemaNfa(constraint) : buildNfa(patternOf(constraint)),
    ),
  );
}

/** Returns the automaton of a compiled constraint. */
export function automatonOf({ nfa }: CompiledConstraint): Automaton {
  return new Automaton(unpackNfa(nfa));
}

/** Returns the automaton of a constraint that is used in this process only. Throws `GrammarError` if it cannot be used. */
export function constraintAutomaton(constraint: Constraint): Automaton {
  return located(rootPath(constraint), () => new Automaton(constraintNfa(constraint)));
}

/** Returns the path for faults of the whole constraint. */
export function rootPath({ kind }: Constraint): string {
  return kind === 'json_schema' ? '#' : '';
}

type JsonSchema = Extract<Constraint, { kind: 'json_schema' }>;

/** Throws `GrammarError` if the schema allows no value. */
function schemaNfa(constraint: JsonSchema): Nfa {
  const { pattern, fault } = toPattern(constraint);
  try {
    return buildNfa(pattern);
  } catch (error) {
    throw error instanceof ContradictionError && fault ? fault : error;
  }
}

function toPattern(constraint: JsonSchema): ReturnType<typeof convertSchema> {
  const { pattern, fault } = convertSchema(constraint.schema, constraint);
  return { pattern: constraint.isSpaced ? { kind: 'spaced', item: pattern } : pattern, fault };
}

function patternOf(constraint: Constraint): TextPattern {
  switch (constraint.kind) {
    case 'json_schema': {
      const { pattern, fault } = toPattern(constraint);
      if (fault) schemaNfa(constraint);
      return pattern;
    }
    case 'regex':
      return parseRegex(constraint.pattern);
    case 'grammar':
      return parseEbnf(constraint.source);
    case 'choice':
      return choice(...constraint.texts.map(text));
    case 'text':
      return text(constraint.text);
    case 'token':
      return { kind: 'token', id: constraint.id };
    case 'any_text':
      return { kind: 'without', texts: [] };
    case 'sequence':
      return sequence(...constraint.parts.map(patternOf));
    case 'any_of':
      return choice(...constraint.options.map(patternOf));
    case 'repeat': {
      const item = patternOf(constraint.item);
      return sequence(item, repeat(sequence(text(constraint.separator), item), 0));
    }
    case 'tags':
      return tagsPattern(constraint);
  }
}

type Tags = Extract<Constraint, { kind: 'tags' }>;

function tagsPattern({
  triggers,
  tags,
  separator = '',
  isRequired = false,
  isSingle = false,
}: Tags) {
  if (triggers.length === 0) {
    const one = choice(...tags.map((tag) => sequence(text(tag.begin), contentPattern(tag))));
    const more = isSingle ? EMPTY : repeat(sequence(text(separator), one), 0);
    const some = sequence(one, more);
    return isRequired ? some : optional(some);
  }
  const exits = triggers.map((trigger) => {
    const triggered = tags.filter(({ begin }) => begin.startsWith(trigger));
    const options = triggered.map((tag) => {
      return sequence(text(tag.begin.slice(trigger.length)), contentPattern(tag));
    });
    return { text: trigger, next: choice(...options) };
  });
  const call: TextPattern = { kind: 'until', exits };
  const rest: TextPattern = { kind: 'without', texts: triggers };
  if (isSingle) return isRequired ? call : choice(call, rest);
  return sequence(repeat(call, isRequired ? 1 : 0), rest);
}

/** Returns the pattern of a tag's content. Free text extends to the first end. */
function contentPattern({ content, end }: Tags['tags'][number]): TextPattern {
  if (content.kind === 'any_text' && end !== '') {
    return { kind: 'until', exits: [{ text: end, next: EMPTY }] };
  }
  return sequence(patternOf(content), text(end));
}

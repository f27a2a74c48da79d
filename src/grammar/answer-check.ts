// Whether a finished answer is one that a constraint allows. Unlike a matcher it takes JSON as any program writes it.
import type { Constraint } from '../contracts/generation.ts';
import { type Automaton, found, type State, type Work } from './automaton.ts';
import { constraintAutomaton } from './constraint.ts';

/** The members that are tried in the wrong order before a value counts as not allowed. A usual answer needs less than 100. */
const MAX_TRIES = 10_000;

/** Checks answers against one constraint. */
export type AnswerCheck = (text: string) => boolean;

/**
 * Returns the check of a constraint. JSON may have any white space, and its members any order. Throws `GrammarError` if the
 * constraint cannot be used.
 */
export function createAnswerCheck(constraint: Constraint): AnswerCheck {
  const isJson = constraint.kind === 'json_schema';
  const automaton = constraintAutomaton(isJson ? compact(constraint) : constraint);
  return (text) => {
    const reader = new Reader(automaton);
    if (!isJson) return reader.read(automaton.start, text)?.canEnd === true;
    try {
      return reader.readValue(automaton.start, JSON.parse(text))?.canEnd === true;
    } catch (error) {
      if (error instanceof SyntaxError) return false;
      throw error;
    }
  };
}

function compact({ kind, schema }: Extract<Constraint, { kind: 'json_schema' }>): Constraint {
  return { kind, schema };
}

/** Reads one answer. Its methods return the state behind what they read, or undefined if it may not be there. */
class Reader {
  readonly #automaton: Automaton;
  readonly #work: Work = { places: 0 };
  #tries = 0;

  constructor(automaton: Automaton) {
    this.#automaton = automaton;
  }

  read(from: State, text: string): State | undefined {
    return found(this.#automaton.stepAll(from, Buffer.from(text), this.#work)) ?? undefined;
  }

  readValue(from: State, value: unknown): State | undefined {
    if (Array.isArray(value)) {
      let state = this.read(from, '[');
      for (const [i, item] of value.entries()) {
        state = state && this.read(state, i === 0 ? '' : ',');
        state = state && this.readValue(state, item);
      }
      return state && this.read(state, ']');
    }
    if (typeof value !== 'object' || value === null) return this.read(from, JSON.stringify(value));
    const state = this.read(from, '{');
    return state && this.#readMembers(state, Object.entries(value), '');
  }

  /** Tries the members in every order. The grammar leaves only one of them unless it takes all. */
  #readMembers(
    from: State,
    members: readonly [string, unknown][],
    separator: string,
  ): State | undefined {
    if (members.length === 0) return this.read(from, '}');
    for (const [i, [name, value]] of members.entries()) {
      if (++this.#tries > MAX_TRIES) return undefined;
      const named = this.read(from, `${separator}${JSON.stringify(name)}:`);
      const state = named && this.readValue(named, value);
      const end = state && this.#readMembers(state, members.toSpliced(i, 1), ',');
      if (end) return end;
    }
    return undefined;
  }
}

// Checks whether a constraint allows a finished completion. Unlike a matcher, it accepts JSON as any program writes it.
import type { Constraint } from '../contracts/generation.ts';
import { type Automaton, found, type State, type Work } from './automaton.ts';
import { constraintAutomaton } from './constraint.ts';

/** The members to try in a wrong order before a value counts as not allowed. A typical completion needs fewer than 100. */
const MAX_TRIES = 10_000;

/** Checks completions against one constraint. */
type AnswerCheck = (text: string) => boolean;

/**
 * Returns the check of a constraint. JSON may contain any white space, and its members may come in any order. Throws
 * `GrammarError` if the constraint cannot be used.
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

function compact(constraint: Extract<Constraint, { kind: 'json_schema' }>): Constraint {
  const { isSpaced: _, ...rest } = constraint;
  return rest;
}

/**
 * Reads one completion. Its methods return the state after the text that they read, or undefined if that text is not allowed
 * there.
 */
class Reader {
  readonly #automaton: Automaton;
  readonly #work: Work = { visits: 0 };
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

  /** Tries the members in every order. At each point the grammar allows only one, unless it accepts any member. */
  #readMembers(
    from: State,
    members: readonly [string, unknown][],
    separator: string,
  ): State | undefined {
    if (members.length === 0) return this.read(from, '}');
    for (const [i, [name, value]] of members.entries()) {
      if (++this.#tries > MAX_TRIES) return undefined;
      const afterName = this.read(from, `${separator}${JSON.stringify(name)}:`);
      const state = afterName && this.readValue(afterName, value);
      const end = state && this.#readMembers(state, members.toSpliced(i, 1), ',');
      if (end) return end;
    }
    return undefined;
  }
}

// Proposers for tests: they guess what they are told to guess.
import type { Proposer } from '../../src/scheduler/drafter.ts';

/** Guesses the tokens of a script, which may be right or wrong. `script[i]` is the guess at the generated token i. */
export class ScriptedProposer implements Proposer {
  readonly #script: readonly number[];
  #position = 0;

  constructor(script: readonly number[]) {
    this.#script = script;
  }

  append(): void {
    this.#position++;
  }

  propose(maxTokens: number): readonly number[] {
    return this.#script.slice(this.#position, this.#position + maxTokens);
  }
}

/** The script with every `nth` token changed into another one. */
export function spoil(script: readonly number[], nth: number, vocabSize: number): number[] {
  return script.map((id, i) => (i % nth === nth - 1 ? (id + 1) % vocabSize : id));
}

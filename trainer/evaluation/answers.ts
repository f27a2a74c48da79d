// Measures how often an adapter's answers are valid and correct, unconstrained and with the token mask that a server would
// apply. Rows and models are behind interfaces.
import { isDeepStrictEqual } from 'node:util';
import type { Constraint } from '../../src/contracts/generation.ts';
import type { Question } from '../data/questions.ts';

/** A greedy generation of one answer. */
export interface AnswerRequest {
  readonly promptIds: readonly number[];
  readonly maxTokens: number;
  /** Absent: any text. */
  readonly constraint?: Constraint | undefined;
}

/** A model that answers. Any number of questions may be in flight. */
export interface AnswerModel {
  /** Resolves with the answer's tokens; undefined if it did not end. */
  answer(request: AnswerRequest): Promise<readonly number[] | undefined>;
}

/**
 * Asks every question with and without the constraint, and returns figures for the evaluation card. Shares are between 0 and 1.
 */
export async function measureAnswers(
  questions: readonly Question[],
  model: AnswerModel,
): Promise<Record<string, number>> {
  const figures: Record<string, number> = { answers: questions.length };
  for (const [suffix, isMasked] of [
    ['without_mask', false],
    ['with_mask', true],
  ] as const) {
    const values = await Promise.all(
      questions.map(async ({ constraint, read, ...prompt }) => {
        const ids = await model.answer({ ...prompt, ...(isMasked && { constraint }) });

        return ids && read(ids);
      }),
    );
    for (const [name, value] of Object.entries(score(questions, values))) {
      figures[`${name}_${suffix}`] = value;
    }
  }
  return figures;
}

/** Scores the answers. An invalid answer is undefined. */
function score(questions: readonly Question[], values: readonly unknown[]) {
  const fields = { wanted: 0, found: 0, right: 0 };
  let [valid, exact] = [0, 0];
  for (const [i, { wanted }] of questions.entries()) {
    const value = values[i];
    const rest = [...leavesOf(wanted, '')];
    fields.wanted += rest.length;
    if (value === undefined) continue;
    valid++;
    if (isDeepStrictEqual(value, wanted)) exact++;
    for (const leaf of leavesOf(value, '')) {
      fields.found++;
      const at = rest.indexOf(leaf);
      if (at < 0) continue;
      rest.splice(at, 1);
      fields.right++;
    }
  }
  const count = questions.length;
  const f1 = (2 * fields.right) / (fields.wanted + fields.found);
  return { valid: valid / count, exact_match: exact / count, field_f1: f1 };
}

/** Yields each leaf of a value with its path. The order of lists does not matter. */
function* leavesOf(value: unknown, path: string): Generator<string> {
  if (typeof value !== 'object' || value === null) {
    yield `${path}=${JSON.stringify(value)}`;
    return;
  }
  for (const [key, part] of Object.entries(value)) {
    yield* leavesOf(part, Array.isArray(value) ? `${path}[]` : `${path}.${JSON.stringify(key)}`);
  }
}

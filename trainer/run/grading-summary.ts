// Sums what graders said about the completions of a step.
import type { GradingSummary } from '../../src/contracts/grading-summary.ts';
import type { Graded } from '../../src/graders/grade.ts';
import { meanOf } from '../policy.ts';

/** Returns the summary of completions. @param all each with the same graders */
export function summarizeGraders(all: readonly Pick<Graded, 'parts' | 'errors'>[]): GradingSummary {
  const graders = (all[0]?.parts ?? []).map(({ name, type, model }, g) => {
    const own = all.map(({ parts }) => parts[g]!);
    const sumOf = (key: 'promptTokens' | 'completionTokens') =>
      own.reduce((sum, part) => sum + part[key], 0);
    return {
      name,
      type,
      ...(model !== undefined && { model }),
      score: meanOf(own.map(({ score }) => score)),
      seconds: meanOf(own.map(({ seconds }) => seconds)),
      promptTokens: sumOf('promptTokens'),
      completionTokens: sumOf('completionTokens'),
      errors: countErrors(own),
    };
  });
  return { samples: all.length, errors: countErrors(all), graders };
}

/** Texts that describe an error are not counted. */
function countErrors(graded: readonly Pick<Graded, 'errors'>[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { errors } of graded) {
    for (const [name, error] of Object.entries(errors)) {
      if (error === true) counts[name] = (counts[name] ?? 0) + 1;
    }
  }
  return counts;
}

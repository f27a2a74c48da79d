// Sums what graders said about the completions of a step.
import type { GradingSummary } from '../../src/contracts/grading-summary.ts';
import type { GradedPart } from '../../src/graders/grade.ts';
import { meanOf } from '../policy.ts';

/** Returns the summary of completions. @param all the graders of each completion, always the same ones */
export function summarizeGraders(all: readonly (readonly GradedPart[])[]): GradingSummary {
  const graders = (all[0] ?? []).map(({ name, type, model }, g) => {
    const own = all.map((parts) => parts[g]!);
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
  return { samples: all.length, graders };
}

/** Texts that describe an error are not counted. */
function countErrors(parts: readonly GradedPart[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { errors } of parts) {
    for (const [name, error] of Object.entries(errors)) {
      if (error === true) counts[name] = (counts[name] ?? 0) + 1;
    }
  }
  return counts;
}

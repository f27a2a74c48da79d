// The reference for the sampler: every step is done on a full sort of the vocabulary.
import type { SamplingParams } from '../../src/contracts/generation.ts';

export function naiveDistribution(
  logits: Float32Array,
  params: SamplingParams,
  context: { promptIds: number[]; generatedIds: number[] },
): number[] {
  const { promptIds, generatedIds } = context;
  let scores = [...logits].map((logit, id) => {
    let score = logit;
    if ([...promptIds, ...generatedIds].includes(id)) {
      score = score > 0 ? score / params.repetitionPenalty : score * params.repetitionPenalty;
    }
    const count = generatedIds.filter((other) => other === id).length;
    if (count > 0) score -= params.frequencyPenalty * count + params.presencePenalty;
    return score + (params.logitBias.get(id) ?? 0);
  });
  scores = scores.map((score, id) => (isForbidden(id, params, generatedIds) ? -Infinity : score));
  if (scores.every((score) => score === -Infinity)) return scores.map(() => 0);
  if (params.temperature < 1e-6) {
    const best = scores.indexOf(Math.max(...scores));
    return scores.map((_, id) => (id === best ? 1 : 0));
  }
  scores = scores.map((score) => score / params.temperature);
  let kept = scores.map((_, id) => id).sort((a, b) => scores[b]! - scores[a]! || a - b);
  const edge = scores[kept[params.topK - 1] ?? -1];
  if (params.topK > 0 && edge !== undefined) kept = kept.filter((id) => scores[id]! >= edge);
  const weights = scores.map((score) => Math.exp(score - scores[kept[0]!]!));
  const sumOf = (ids: number[]) => ids.reduce((sum, id) => sum + weights[id]!, 0);
  if (params.topP < 1) {
    const target = params.topP * sumOf(kept);
    let sum = 0;
    kept = kept.filter((id) => {
      const isKept = sum < target;
      sum += weights[id]!;
      return isKept;
    });
  }
  kept = kept.filter((id) => weights[id]! >= params.minP && scores[id]! > -Infinity);
  const total = sumOf(kept);
  return scores.map((_, id) => (kept.includes(id) ? weights[id]! / total : 0));
}

/** Follows the definitions of allowed_token_ids and min_tokens. */
function isForbidden(id: number, params: SamplingParams, generatedIds: readonly number[]): boolean {
  const { allowedTokenIds, minTokens } = params;
  if (allowedTokenIds && !allowedTokenIds.includes(id)) return true;
  return (
    minTokens !== undefined &&
    generatedIds.length < minTokens.count &&
    minTokens.endings.includes(id)
  );
}

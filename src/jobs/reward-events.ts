// The metrics events of reinforcement, in the wording and with the fields of OpenAI's API. Pure.
import type { FineTuningJobEvent } from '../contracts/fine-tuning-api.ts';
import {
  type ErrorCounts,
  GRADING_ERRORS,
  type GradingSummary,
  type StepGrading,
} from '../contracts/grading-summary.ts';
import type { RewardMetrics } from '../contracts/metrics.ts';
import type { StepMessage } from '../contracts/training-messages.ts';

/** Returns a step's message: `Step 10/20 , train mean reward=0.42, full validation mean reward=0.68, …`. */
export function rewardText({ step, totalSteps, reward, ...message }: StepMessage): string {
  const { eval_reward: valid, validGrading } = message;
  const parts = [`Step ${step}/${totalSteps} `, `train mean reward=${reward?.toFixed(2)}`];
  if (valid !== undefined) parts.push(`full validation mean reward=${valid.toFixed(2)}`);
  if (validGrading) {
    const parse = errorMean(validGrading, 'sample_parse_error');
    parts.push(`full validation mean parse error=${parse.toFixed(2)}`);
  }
  return parts.join(', ');
}

/** The parts of an event that are stored as they are, and shown as `gradingFields` writes them. */
type StoredData = StepGrading & RewardMetrics & Readonly<Record<string, unknown>>;

/** Returns an event's data as clients see it. */
export function shownData(data: Readonly<Record<string, unknown>>): FineTuningJobEvent['data'] {
  const { trainGrading: train, validGrading: valid, ...rest } = data as StoredData;
  return train ? { ...rest, ...gradingFields(rest, { train, ...(valid && { valid }) }) } : rest;
}

/** The summaries of completions, by OpenAI's prefix. */
type Summaries = { readonly train: GradingSummary; readonly valid?: GradingSummary };

function gradingFields(data: RewardMetrics, summaries: Summaries) {
  const { train, valid } = summaries;
  const byGrader = (fields: (set: GradingSummary, g: number) => Record<string, number>) =>
    train.graders.map(({ name, type, model }, g) => ({
      ...{ name, type, ...(model !== undefined && { model }) },
      ...withPrefixes(summaries, (set) => fields(set, g)),
    }));
  return {
    mean_unresponsive_rewards: errorMean(train, 'unresponsive_reward_error'),
    ...(valid && { full_valid_mean_parse_error: errorMean(valid, 'sample_parse_error') }),
    // Thoughts are not counted apart from the rest of a completion.
    reasoning_tokens_mean: 0,
    ...(valid && { valid_reasoning_tokens_mean: 0 }),
    model_graders_token_usage: tokenUsage(summaries),
    scores: {
      train_reward_mean: data.reward,
      ...(valid && { valid_reward_mean: data.eval_reward }),
      graders: byGrader(({ graders }, g) => ({ reward_mean: graders[g]!.score })),
    },
    usage: {
      graders: byGrader((set, g) => usageFields(set, g)),
      samples: withPrefixes(summaries, () => ({
        reasoning_tokens_mean: 0,
        reasoning_tokens_count: 0,
      })),
    },
    errors: {
      ...withPrefixes(summaries, ({ errors, samples }) => errorFields(errors, samples)),
      graders: byGrader(({ graders, samples }, g) => errorFields(graders[g]!.errors, samples)),
    },
    timing: {
      step: timing(data, valid),
      graders: byGrader(({ graders }, g) => ({ execution_latency_mean: graders[g]!.seconds })),
    },
  };
}

/** Returns the fields of both sets: `train_…`, and `valid_…` after a validation. */
function withPrefixes(
  summaries: Summaries,
  fields: (set: GradingSummary) => Record<string, number>,
): Record<string, number> {
  const sets = Object.entries(summaries).flatMap(([prefix, set]) =>
    Object.entries(fields(set)).map(([name, value]) => [`${prefix}_${name}`, value]),
  );
  return Object.fromEntries(sets);
}

function usageFields({ graders, samples }: GradingSummary, g: number): Record<string, number> {
  const { model, promptTokens, completionTokens } = graders[g]!;
  if (model === undefined) return {};
  return {
    prompt_tokens_mean: promptTokens / samples,
    prompt_tokens_count: promptTokens,
    completion_tokens_mean: completionTokens / samples,
    completion_tokens_count: completionTokens,
  };
}

function errorFields(errors: ErrorCounts, samples: number): Record<string, number> {
  const fields = GRADING_ERRORS.map((name): [string, number][] => {
    const count = errors[name] ?? 0;
    return [
      [`${name}_mean`, count / samples],
      [`${name}_count`, count],
    ];
  });
  return Object.fromEntries(fields.flat());
}

/** Returns the share of completions with the error. */
function errorMean({ errors, samples }: GradingSummary, name: string): number {
  return (errors[name] ?? 0) / samples;
}

/** Sums the tokens of each asked model. */
function tokenUsage({ train, valid }: Summaries): Record<string, Record<string, number>> {
  const models = train.graders.flatMap(({ model }) => model ?? []);
  const sumOf = (
    set: GradingSummary | undefined,
    key: 'promptTokens' | 'completionTokens',
    model: string,
  ) => {
    const own = (set?.graders ?? []).filter((grader) => grader.model === model);
    return own.reduce((sum, grader) => sum + grader[key], 0);
  };
  const usage = models.map((model) => [
    model,
    {
      train_prompt_tokens: sumOf(train, 'promptTokens', model),
      train_completion_tokens: sumOf(train, 'completionTokens', model),
      train_cached_tokens: 0,
      eval_prompt_tokens: sumOf(valid, 'promptTokens', model),
      eval_completion_tokens: sumOf(valid, 'completionTokens', model),
      eval_cached_tokens: 0,
    },
  ]);
  return Object.fromEntries(usage);
}

/** In seconds. OpenAI counts grading as sampling. */
function timing(data: RewardMetrics, valid: GradingSummary | undefined): Record<string, number> {
  const sampling = (data['profiling/sampling'] ?? 0) + (data['profiling/grading'] ?? 0);
  const training = data['profiling/training'] ?? 0;
  const evaluation = valid?.seconds ?? 0;
  const full = sampling + training + evaluation;
  return { sampling, training, ...(valid && { eval: evaluation }), full_iteration: full };
}

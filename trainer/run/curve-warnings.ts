// Finds problems in a run's data and curves. Each warning gives a cause and a remedy. Pure; the run itself is not affected.
import { smallest } from '../../src/common/long-arrays.ts';
import type { StepMetrics } from '../../src/contracts/metrics.ts';
import type { Objective } from '../../src/contracts/preference-settings.ts';
import { countLabels, type Example } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';

/** The kinds of problems. */
type WarningCode =
  | 'few_examples'
  | 'nothing_to_learn'
  | 'duplicates'
  | 'validation_leak'
  | 'unknown_columns'
  | 'template_mismatch'
  | 'rate_too_high'
  | 'rate_too_low'
  | 'rank_too_small'
  | 'overfitting'
  | 'unequal_lengths'
  | 'preferred_unlikely'
  | 'length_collapse'
  | 'entropy_collapse'
  | 'reward_constant';

/** A problem and its remedy. */
export interface Warning {
  readonly code: WarningCode;
  readonly cause: string;
  readonly cure: string;
}

/** Facts needed to judge the curves. */
export interface RunContext {
  /** Undefined for a classifier, whose new head always guesses at first. */
  readonly vocabSize: number | undefined;
  /** Absent: supervised. */
  readonly objective?: Objective;
  /** Whether the rows were rendered by the base's own template. */
  readonly usesTemplate: boolean;
  readonly totalSteps: number;
  readonly peakRate: number;
  /** The adapter's smallest rank; undefined for `full`. */
  readonly rank: number | undefined;
  /** Present if the run learns from rewards. */
  readonly goal?: RewardGoal | undefined;
  /** The base's loss on plain English, in nats; undefined if it was not measured. */
  readonly baseTextLoss: number | undefined;
}

/** OpenAI's API requires at least this many examples. */
const MIN_EXAMPLES = 10;
/** A point of a curve is the mean of this many steps. */
const SPAN = 5;
/** A shorter curve proves nothing. */
const MIN_STEPS = 4 * SPAN;
/** Above this share of ln(vocabulary), the model is guessing. */
const GUESSING_SHARE = 0.75;
/**
 * Rows may be harder than plain English, but not by more than this factor. SmolLM2-Instruct has 3.8 nats on plain English, 3.7
 * on chats, 5.7 on questions with one-word answers, and 7.8 (2.1 times) to 11.7 on the same questions without its template.
 */
const STRANGE_RATIO = 1.9;
/** From this rank on, capacity rarely limits what a small data set teaches. */
const AMPLE_RANK = 16;
/** The share of repeated examples that causes a warning. */
const MANY_DUPLICATES = 0.05;

/** From this ratio of the outputs' lengths on, DPO's sums tell the outputs apart by length alone. */
const UNEQUAL_LENGTHS = 2;
/** If the preferred outputs have lost this share of their log-probability, the model has moved to other texts than both outputs. */
const UNLIKELY = 0.5;
/** If the length or the entropy of samples has fallen below this share of its start, all of them are about to be alike. */
const COLLAPSED = 0.25;

/** If the rewards of each prompt are equal for this many steps, the run learns nothing any more. */
const CONSTANT_STEPS = 10;
/** Rewards are equal up to rounding errors. */
const EQUAL_REWARDS = 1e-9;

/** Finds problems in the rows before training starts. */
export function examineData(train: Dataset, validation: Dataset | undefined): Warning[] {
  const { examples, masked, duplicates } = train.counts;
  const warnings: Warning[] = [];
  const add = (code: WarningCode, cause: string, cure: string) =>
    warnings.push({ code, cause, cure });
  if (masked > 0) {
    const cause = `${masked} of ${examples} examples have nothing to learn from: every label is masked or was cut off`;
    add('nothing_to_learn', cause, 'raise maxLength, or check weights and labels of these rows');
  }
  if (examples < MIN_EXAMPLES) {
    const cure = 'collect more, or the model will memorize them';
    add('few_examples', `there are ${examples} examples, fewer than ${MIN_EXAMPLES}`, cure);
  }
  if (duplicates > MANY_DUPLICATES * examples) {
    const cause = `${duplicates} of ${examples} examples are duplicates`;
    add(
      'duplicates',
      cause,
      'remove them; otherwise the run trains on them more than once per epoch',
    );
  }
  const trained = new Set(train.fingerprints);
  const leaked = (validation?.fingerprints ?? []).filter((print) => trained.has(print)).length;
  if (leaked > 0) {
    const cause = `${leaked} of ${validation?.counts.examples} validation examples are also trained on: the validation loss looks better than it is`;
    add('validation_leak', cause, 'remove them from one of the two files');
  }
  const ratio = lengthRatio(train.examples);
  if (Math.max(ratio, 1 / ratio) >= UNEQUAL_LENGTHS) {
    const cause = `the preferred outputs have ${rounded(ratio)} times the tokens of the others: the model may learn their length`;
    add('unequal_lengths', cause, 'balance the lengths, or set loss to ipo, which compares means');
  }
  return warnings;
}

/** Warns of keys that nothing reads: a misspelled one would otherwise be lost without a word. */
export function examineKeys(unknown: ReadonlySet<string>): Warning[] {
  if (unknown.size === 0) return [];
  const cause = `nothing reads these keys of the rows: ${[...unknown].join(', ')}`;
  return [{ code: 'unknown_columns', cause, cure: 'check their spelling, or leave them' }];
}

/** Returns the length of all chosen outputs, as a multiple of the rejected ones'; 1 if the examples are not pairs. */
function lengthRatio(examples: readonly Example[]): number {
  let [chosen, others] = [0, 0];
  for (const example of examples) {
    if (!example.rejected) return 1;
    chosen += countLabels(example);
    others += countLabels(example.rejected);
  }
  return chosen / others;
}

/** Finds problems in the curves so far. `rows` contains all steps until now. */
export function examineCurves(rows: readonly StepMetrics[], context: RunContext): Warning[] {
  const ofLosses = [templateMismatch, rateTooHigh, rateTooLow, rankTooSmall, overfitting];
  // The loss of rewarded samples says nothing.
  const isRewarded = context.objective === 'reinforcement';
  const checks = isRewarded
    ? [lengthCollapse, entropyCollapse, rewardConstant]
    : [...ofLosses, preferredUnlikely];
  return checks.flatMap((check) => check(rows, context) ?? []);
}

type CurveCheck = (rows: readonly StepMetrics[], context: RunContext) => Warning | undefined;

/**
 * A new adapter changes nothing, so the first loss is the base's. Rows in the base's own template prove nothing: a model of
 * 1.5B that would answer in sentences has a loss of 12 on labels of one word, as much as guessing gives.
 */
const templateMismatch: CurveCheck = (rows, { vocabSize, baseTextLoss, usesTemplate }) => {
  if (vocabSize === undefined) return undefined;
  const first = rows[0]?.loss ?? 0;
  const guessing = Math.log(vocabSize);
  const isGuessing = (loss: number) => loss >= GUESSING_SHARE * guessing;
  const compared = `guessing among ${vocabSize} tokens gives ${rounded(guessing)}`;
  if (baseTextLoss !== undefined && isGuessing(baseTextLoss)) {
    return {
      code: 'template_mismatch',
      cause: `the base has a loss of ${rounded(baseTextLoss)} on plain English; ${compared}`,
      cure: "it is untrained, or it has another model's tokenizer: check that it is the right base",
    };
  }
  if (usesTemplate) return undefined;
  const usual = baseTextLoss ?? Number.POSITIVE_INFINITY;
  if (!isGuessing(first) && first < STRANGE_RATIO * usual) return undefined;
  const onText =
    baseTextLoss === undefined ? '' : `the base has ${rounded(baseTextLoss)} on plain English, `;
  return {
    code: 'template_mismatch',
    cause: `the first loss is ${rounded(first)}; ${onText}${compared}`,
    cure: "the rows do not look like the base's training data: check that they use its chat template (messages), and that it is the right base",
  };
};

const rateTooHigh: CurveCheck = (rows, { peakRate }) => {
  if (rows.length < 2 * SPAN) return undefined;
  const means = movingMeans(rows);
  const lowest = smallest(means.slice(0, -1));
  const now = means.at(-1)!;
  // Steps vary: the lowest of many means is below the curve, and the last one may be above it.
  const chance = (3 * noise(rows)) / Math.sqrt(SPAN);
  if (now < 1.25 * lowest + 0.25 + chance) return undefined;
  return {
    code: 'rate_too_high',
    cause: `the loss has risen from ${rounded(lowest)} to ${rounded(now)}`,
    cure: `lower learningRate (${peakRate}) to a third, or warm up longer`,
  };
};

const rateTooLow: CurveCheck = (rows, { totalSteps, peakRate }) => {
  if (rows.length < totalSteps || rows.length < MIN_STEPS) return undefined;
  const quarter = Math.floor(rows.length / 4); // steps vary; means of many steps vary less
  const [first, last] = [mean(rows.slice(0, quarter)), mean(rows.slice(-quarter))];
  if (Math.abs(first - last) > 0.02 * first) return undefined;
  return {
    code: 'rate_too_low',
    cause: `${rows.length} steps have only moved the loss from ${rounded(first)} to ${rounded(last)}`,
    cure: `raise learningRate (${peakRate}) three- to tenfold, or train for more steps`,
  };
};

const rankTooSmall: CurveCheck = (rows, { totalSteps, rank }) => {
  if (rank === undefined || rank >= AMPLE_RANK) return undefined;
  if (rows.length < totalSteps || rows.length < 2 * MIN_STEPS) return undefined;
  const [first, last] = ends(rows);
  const middle = mean(rows.slice(Math.floor(rows.length / 2) - SPAN, Math.floor(rows.length / 2)));
  const hasLearned = first - middle > 0.1 * first;
  const isFlat = Math.abs(middle - last) < 0.02 * middle;
  if (!hasLearned || !isFlat || last < 1) return undefined;
  return {
    code: 'rank_too_small',
    cause: `the loss has stayed near ${rounded(last)} for half of the run at rank ${rank}`,
    cure: `double the rank, or adapt all linears (targets: all-linear)`,
  };
};

const overfitting: CurveCheck = (rows) => {
  const validated = rows.filter(({ validationLoss }) => validationLoss !== undefined);
  if (validated.length < 3) return undefined;
  const best = validated.reduce((a, b) => (b.validationLoss! < a.validationLoss! ? b : a));
  const now = validated.at(-1)!;
  const isWorse = now.validationLoss! > 1.03 * best.validationLoss!;
  if (!isWorse || lossAround(rows, now.step) >= lossAround(rows, best.step)) return undefined;
  return {
    code: 'overfitting',
    cause: `the validation loss was ${rounded(best.validationLoss!)} at step ${best.step} and is ${rounded(now.validationLoss!)}, while the training loss is falling`,
    cure: `stop earlier (patience), or use fewer epochs, more data or dropout; the run keeps the adapter of step ${best.step}`,
  };
};

/** DPO can widen the margin by making both outputs less likely. */
const preferredUnlikely: CurveCheck = (rows) => {
  if (rows.length < MIN_STEPS) return undefined;
  const [first, last] = ends(rows, 'logps/chosen');
  if (last >= (1 + UNLIKELY) * first) return undefined;
  return {
    code: 'preferred_unlikely',
    cause: `the log-probability of the preferred outputs has fallen from ${rounded(first)} to ${rounded(last)}`,
    cure: 'raise beta, lower learningRate, or use fewer epochs; train on the preferred outputs first',
  };
};

const lengthCollapse = collapse('completions/mean_length', {
  code: 'length_collapse',
  what: 'the mean length of completions',
  cure: 'check that the grader does not reward short outputs in themselves, or lower learningRate',
});

const entropyCollapse = collapse('entropy', {
  code: 'entropy_collapse',
  what: 'the entropy of the sampled tokens',
  cure: 'lower learningRate or use fewer epochs: completions that are all alike teach nothing more',
});

/** Equal rewards give no gradient. */
const rewardConstant: CurveCheck = (rows, { goal }) => {
  const last = rows.slice(-CONSTANT_STEPS);
  if (last.length < CONSTANT_STEPS || !areConstant(last)) return undefined;
  if (goal && areHighest(last, goal)) return undefined;
  const { reward = 0, trainGrading } = rows.at(-1)!;
  const { graders, errors } = trainGrading ?? { graders: [], errors: {} };
  const names = graders.map(({ name }) => name).join(', ');
  const faults = Object.entries(errors).map(([name, count]) => `, ${count} ${name}`);
  return {
    code: 'reward_constant',
    cause: `the grader ${names} gave equal rewards to all completions of each prompt for ${CONSTANT_STEPS} steps (mean now ${rounded(reward)}${faults.join('')}), so there is nothing to learn from`,
    cure: 'use a grader that tells good from bad, or easier prompts',
  };
};

/** The rewards that end a run early. */
export interface RewardGoal {
  /** The highest reward of the run's grader. */
  readonly highest: number;
  /** The number of steps in a row after which the task counts as solved. */
  readonly steps: number;
}

/** Enough prompts that fewer than 3% of all have other rewards, with a confidence of 95%. */
const SOLVED_PROMPTS = 100;

/** Returns the goal of a run with this grader. */
export function rewardGoal(
  highest: number,
  { stepsPerEpoch, batchSize }: { readonly stepsPerEpoch: number; readonly batchSize: number },
): RewardGoal {
  const steps = Math.min(stepsPerEpoch, Math.ceil(SOLVED_PROMPTS / batchSize));
  return { highest, steps: Math.max(CONSTANT_STEPS, steps) };
}

/** Whether every completion of the last steps got the highest reward, so that nothing is left to learn. */
export function isSolved(rows: readonly StepMetrics[], goal: RewardGoal | undefined): boolean {
  return (
    goal !== undefined && rows.length >= goal.steps && areHighest(rows.slice(-goal.steps), goal)
  );
}

/** Whether all completions of these steps got the highest reward. */
function areHighest(rows: readonly StepMetrics[], { highest }: RewardGoal): boolean {
  return areConstant(rows) && rows.every(({ reward = 0 }) => isHighest(reward, highest));
}

/** Whether a mean reward is the highest. */
export function isHighest(reward: number, highest: number): boolean {
  return Math.abs(reward - highest) < EQUAL_REWARDS;
}

/** Whether the completions of each prompt had equal rewards. */
function areConstant(rows: readonly StepMetrics[]): boolean {
  return rows.every((row) => row.frac_reward_zero_std === 1);
}

/** Returns a check that a metric has not fallen to a small part of its start. */
function collapse(
  metric: 'completions/mean_length' | 'entropy',
  { code, what, cure }: Pick<Warning, 'code' | 'cure'> & { readonly what: string },
): CurveCheck {
  return (rows) => {
    if (rows.length < 2 * SPAN) return undefined;
    const [first, last] = ends(rows, metric);
    if (last >= COLLAPSED * first) return undefined;
    return { code, cause: `${what} has fallen from ${rounded(first)} to ${rounded(last)}`, cure };
  };
}

/** Returns the means of SPAN consecutive losses. */
function movingMeans(rows: readonly StepMetrics[]): number[] {
  const means: number[] = [];
  let sum = 0;
  for (const [i, { loss }] of rows.entries()) {
    sum += loss - (i >= SPAN ? rows[i - SPAN]!.loss : 0);
    if (i >= SPAN - 1) means.push(sum / SPAN);
  }
  return means;
}

/** Estimates the standard deviation of single steps around the curve, from the differences between neighboring steps. */
function noise(rows: readonly StepMetrics[]): number {
  const steps = rows.slice(1).map(({ loss }, i) => (loss - rows[i]!.loss) ** 2 / 2);
  return Math.sqrt(steps.reduce((sum, square) => sum + square, 0) / steps.length);
}

function lossAround(rows: readonly StepMetrics[], step: number): number {
  const end = rows.findIndex((row) => row.step === step) + 1;
  return mean(rows.slice(Math.max(0, end - SPAN), end));
}

type CurveMetric = 'loss' | 'logps/chosen' | 'completions/mean_length' | 'entropy';

/** Returns the means of a metric over the first steps, and over the last ones. */
function ends(
  rows: readonly StepMetrics[],
  metric: CurveMetric = 'loss',
): [first: number, last: number] {
  return [mean(rows.slice(0, SPAN), metric), mean(rows.slice(-SPAN), metric)];
}

function mean(rows: readonly StepMetrics[], metric: CurveMetric = 'loss'): number {
  return rows.reduce((sum, row) => sum + (row[metric] ?? 0), 0) / rows.length;
}

function rounded(value: number): string {
  return value.toPrecision(3);
}

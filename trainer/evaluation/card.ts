// Makes an adapter's evaluation card: how much it changes, how much it gains on validation rows and forgets, whether it can
// still answer, and the gates' verdicts. The model and the examples are arguments.
import { append } from '../../src/common/long-arrays.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import type { Preference } from '../../src/contracts/preference-settings.ts';
import type { GateSettings } from '../../src/contracts/training-messages.ts';
import type { ModelText } from '../data/encode-row.ts';
import { planValidation } from '../data/epoch-plan.ts';
import { countTrained, type Example } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { assembleTightBatch } from '../data/micro-batch.ts';
import type { Validation } from '../run/metrics.ts';
import type { ProbedModel } from '../types.ts';
import { guessClasses, measureMacroF1 } from './classifier-scores.ts';
import { areInBounds, type Comparison, type Figures, judgeGates } from './gates.ts';
import { generateGreedily, isDegenerate, isShort, promptOf } from './greedy-answers.ts';
import { measureValidation, probeExample, withoutAdapter } from './losses.ts';
import { guessPairs, measureAgainstBase } from './pairs.ts';

/** An adapter to evaluate. */
interface Subject {
  /** The model with the adapter's weights in its parameters. */
  readonly model: ProbedModel;
  readonly modelText: ModelText | undefined;
  readonly maxPositions: number;
  readonly batchSize: number;
  readonly validation: Dataset | undefined;
  /** The examples to probe it with. If there are none, the fixed text is used. */
  readonly examples: readonly Example[];
  /** The tokens after which the adapter applies; undefined: it always applies. */
  readonly invocation: readonly number[] | undefined;
  /** Whether the adapter is a classifier, and the examples are labeled with classes. */
  readonly classifies: boolean;
  /** Present if the validation rows are pairs. */
  readonly preference: Preference | undefined;
  /** Validation results that are already known. */
  readonly known?: Comparison<Validation> | undefined;
  /** Whether its completions get the highest reward, in training and in the validation. */
  readonly isSolved?: boolean;
}

/** The number of examples whose tokens are probed. A few hundred tokens are enough. */
const PROBE_EXAMPLES = 8;
/** How many of them are answered. The shortest prompts are chosen, because every token of an answer recomputes its prompt. */
const PROMPTS = 3;

/** Evaluates an adapter. The model's weights are unchanged afterwards. */
export async function evaluateAdapter(
  subject: Subject,
  settings: GateSettings,
): Promise<EvaluationCard> {
  const { classifies, isSolved } = subject;
  const weights = { ...measureWeights(subject), classifies, isSolved };
  if (!areInBounds(weights)) {
    const unmeasured = { change: undefined, validation: undefined, degenerate: undefined };
    const figures = { ...weights, ...unmeasured, text: undefined };
    return { ...judgeGates(figures, settings), ...onlyFinite(toFigures(figures, subject)) };
  }
  const validated = await compareValidation(subject);
  const text = probeExample(subject);
  const learned = subject.examples.filter((example) => countTrained(example) > 0);
  const probes = learned.slice(0, PROBE_EXAMPLES);
  const onRows = await compareScores(subject, probes);
  const onText = await compareScores(subject, text ? [text] : []);
  const losses = [validated?.adapter.validationLoss, onRows?.adapter, onText?.adapter];
  const figures: Figures = {
    ...weights,
    nonFinite: losses.filter((loss) => loss !== undefined && !Number.isFinite(loss)).length,
    change: (onRows ?? onText)?.change,
    validation: validated && {
      base: validated.base.validationLoss,
      adapter: validated.adapter.validationLoss,
    },
    degenerate: classifies
      ? undefined
      : await countDegenerate(subject, probes.length > 0 ? probes : text ? [text] : [], onRows),
    text: onText,
  };
  const { model, validation, batchSize } = subject;
  const isMeasured = classifies && validation;
  const macroF1 = isMeasured ? await measureMacroF1(model, validation, batchSize) : undefined;
  const counts = { validation_examples: validation?.examples.length };
  return {
    ...judgeGates(figures, settings),
    ...onlyFinite({ ...counts, ...toFigures(figures, subject, validated), macro_f1: macroF1 }),
  };
}

/** Returns the figures in a manifest's spelling. */
function toFigures(
  { largestWeight, change, text }: Figures,
  { classifies, preference }: Pick<Subject, 'classifies' | 'preference'>,
  validated?: Comparison<Validation>,
): Record<string, number | undefined> {
  const accuracy = classifies || preference ? 'accuracy' : 'validation_token_accuracy';
  const isRewarded = validated?.adapter.eval_reward !== undefined;
  return {
    base_reward: validated?.base.eval_reward,
    reward: validated?.adapter.eval_reward,
    base_validation_loss: isRewarded ? undefined : validated?.base.validationLoss,
    validation_loss: isRewarded ? undefined : validated?.adapter.validationLoss,
    [`base_${accuracy}`]: validated?.base.validationTokenAccuracy,
    [accuracy]: validated?.adapter.validationTokenAccuracy,
    base_text_loss: text?.base,
    text_loss: text?.adapter,
    log_prob_change: change,
    largest_weight: largestWeight,
  };
}

/** Drops values that JSON cannot represent. */
function onlyFinite(figures: Record<string, number | undefined>): Record<string, number> {
  const known = Object.entries(figures).filter(([, value]) => Number.isFinite(value));
  return Object.fromEntries(known) as Record<string, number>;
}

function measureWeights({ model }: Subject): Pick<Figures, 'nonFinite' | 'largestWeight'> {
  let [nonFinite, largestWeight] = [0, 0];
  for (const { data, scaling = 1 } of model.parameters) {
    for (const value of data) {
      const size = Math.abs(value * scaling);
      if (!Number.isFinite(size)) nonFinite++;
      else if (size > largestWeight) largestWeight = size;
    }
  }
  return { nonFinite, largestWeight };
}

async function compareValidation(subject: Subject): Promise<Comparison<Validation> | undefined> {
  const { model, validation, batchSize, known, preference } = subject;
  if (known || !validation) return known;
  if (preference) {
    const adapter = await measureAgainstBase(model, validation, { preference, batchSize });
    return { base: guessPairs(preference), adapter };
  }
  const adapter = await measureValidation(model, validation, batchSize);
  const base = subject.classifies
    ? guessClasses(validation)
    : await withoutAdapter(model.parameters, () => measureValidation(model, validation, batchSize));
  return { base, adapter };
}

/** Returns mean losses with and without the adapter, and the mean change of a token's log-probability. */
async function compareScores(
  { model, batchSize }: Subject,
  examples: readonly Example[],
): Promise<(Comparison<number> & { readonly change: number }) | undefined> {
  if (examples.length === 0) return undefined;
  const adapter = await scoreAll(model, examples, batchSize);
  const base = await withoutAdapter(model.parameters, () => scoreAll(model, examples, batchSize));
  const mean = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    base: -mean(base),
    adapter: -mean(adapter),
    change: mean(adapter.map((value, i) => Math.abs(value - base[i]!))),
  };
}

/** Returns the log-probabilities of all trained tokens, always in the same order. */
async function scoreAll(
  model: ProbedModel,
  examples: readonly Example[],
  batchSize: number,
): Promise<number[]> {
  const scores: number[] = [];
  for (const plan of planValidation(examples, batchSize)) {
    append(scores, await model.score(assembleTightBatch(examples, plan)));
  }
  return scores;
}

/** Counts the answers that are degenerate only with the adapter. Resolves with undefined if there are no prompts. */
async function countDegenerate(
  { model, modelText, maxPositions }: Subject,
  examples: readonly Example[],
  losses: Comparison<number> | undefined,
): Promise<number | undefined> {
  if (examples.length === 0) return undefined;
  const options = { stopIds: modelText?.tokenizer.eosTokenIds ?? [], maxPositions };
  const asked = examples
    .map((example) => ({ prompt: promptOf(example), isShort: isShort(example, options.stopIds) }))
    .sort((a, b) => a.prompt.length - b.prompt.length)
    .slice(0, PROMPTS);
  const prompts = asked.map(({ prompt }) => prompt);
  const answers = await generateGreedily(model, prompts, options);
  const isBetter = losses !== undefined && losses.adapter < losses.base;
  const spoiled = prompts.filter(
    (_, i) => isDegenerate(answers[i]!, modelText) && !(isBetter && asked[i]!.isShort),
  );
  if (spoiled.length === 0) return 0;
  const ofBase = await withoutAdapter(model.parameters, () =>
    generateGreedily(model, spoiled, options),
  );
  return ofBase.filter((answer) => !isDegenerate(answer, modelText)).length;
}

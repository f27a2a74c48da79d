// The results of a job as texts. Pure: requests nothing.
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import { duration, durationRange, figure, percent } from '../format.ts';
import { lastValidated, type Metrics } from './events.ts';
import {
  accuracyOf,
  classCountOf,
  evaluationOf,
  formatted,
  isFinished,
  learnsPairs,
  learnsRewards,
  runSeconds,
} from './facts.ts';

/** A result of a job. */
interface Result {
  readonly name: string;
  readonly value: string;
  /** The base's value. */
  readonly base?: string;
  /** Whether the job has improved on the base. */
  readonly isBetter?: boolean;
  readonly help: string;
}

/** Returns the results of a job, which may still run, by the metrics of its steps. */
export function resultsOf(job: FineTuningJob, steps: readonly Metrics[], nowS: number): Result[] {
  const results = learnsRewards(job) ? rewardsOf(job, steps) : lossesOf(job, steps);
  const seconds = runSeconds(job, nowS);
  const [from, to] = job.lorikeet.planned_seconds_range ?? [];
  const isPlanned = from !== undefined && to !== undefined;
  const notStarted = seconds === undefined ? 'not started' : '';
  const help = isPlanned ? `estimated ${durationRange(from, to)}` : notStarted;
  return [...results, { name: 'Duration', value: formatted(seconds, duration), help }];
}

function rewardsOf(job: FineTuningJob, steps: readonly Metrics[]): Result[] {
  const card = evaluationOf(job);
  const last = steps.at(-1);
  const reward = card['reward'] ?? keptMetrics(job, steps)?.full_valid_mean_reward;
  const length = last?.completion_tokens_mean;
  return [
    versus(job, card['base_reward'], reward, {
      name: 'Validation reward',
      help: 'mean over the validation rows',
    }),
    {
      name: 'Training reward',
      value: formatted(last?.train_mean_reward, figure),
      help: length === undefined ? unmeasured(job) : `${figure(length)} tokens per completion`,
    },
  ];
}

function lossesOf(job: FineTuningJob, steps: readonly Metrics[]): Result[] {
  const card = evaluationOf(job);
  const kept = keptMetrics(job, steps);
  const last = steps.at(-1);
  const { base, adapter = kept?.full_valid_mean_token_accuracy } = accuracyOf(card);
  const isClassifier = classCountOf(job) !== undefined;
  const tokens = learnsPairs(job) ? 'pairs ordered' : 'tokens predicted';
  const training = last?.train_mean_token_accuracy;
  const loss = card['validation_loss'] ?? kept?.full_valid_loss;
  return [
    versus(job, base, adapter, {
      name: 'Validation accuracy',
      format: percent,
      help: `share of validation ${isClassifier ? 'texts classified' : tokens} correctly`,
    }),
    versus(job, card['base_validation_loss'], loss, {
      name: 'Validation loss',
      help: 'lower is better',
      isLowerBetter: true,
    }),
    {
      name: 'Training loss',
      value: formatted(last?.train_loss ?? job.lorikeet.train_loss, figure),
      help: training === undefined ? unmeasured(job) : `${percent(training)} accuracy`,
    },
  ];
}

/** The metrics of the step that the job kept; before, of the newest one with a validation. */
function keptMetrics({ lorikeet }: FineTuningJob, steps: readonly Metrics[]) {
  return steps.find(({ step }) => step === lorikeet.kept_step) ?? lastValidated(steps);
}

interface Versus {
  readonly name: string;
  readonly help: string;
  readonly format?: (value: number) => string;
  readonly isLowerBetter?: boolean;
}

function versus(
  job: FineTuningJob,
  base: unknown,
  adapter: unknown,
  { name, help, format = figure, isLowerBetter = false }: Versus,
): Result {
  const values = [base, adapter].filter((value) => typeof value === 'number');
  if (values.length === 0) {
    const isValidated = job.validation_file !== null || job.lorikeet.validation_split;
    return { name, value: '–', help: isValidated ? unmeasured(job) : 'needs validation rows' };
  }
  const [from, to] = values;
  return {
    ...{ name, help, value: formatted(adapter, format), base: formatted(base, format) },
    isBetter: to !== undefined && (isLowerBetter ? to < from! : to > from!),
  };
}

function unmeasured(job: FineTuningJob): string {
  return isFinished(job) ? 'the job ended before it was measured' : 'not measured yet';
}

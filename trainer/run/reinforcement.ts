// Reinforcement: before each step, completions of its prompts are sampled with the current adapter and rewarded. The loss weighs
// their tokens by how much better they are than the others of their prompt.
import type { Constraint } from '../../src/contracts/generation.ts';
import type { GradingSummary, StepGrading } from '../../src/contracts/grading-summary.ts';
import type { RewardMetrics } from '../../src/contracts/metrics.ts';
import type { Sampling } from '../../src/contracts/reinforcement-settings.ts';
import type { Graded, RunPython } from '../../src/graders/grade.ts';
import type { Post } from '../../src/graders/model-calls.ts';
import type { MicroBatchPlan, StepBatches } from '../data/epoch-plan.ts';
import type { Example } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { assembleSequences } from '../data/micro-batch.ts';
import { addLossSums, NO_LOSS } from '../evaluation/losses.ts';
import { advantagesOf, meanOf, standardDeviation, weighPolicy } from '../policy.ts';
import { streamSeed } from '../random.ts';
import type { LossSums, TrainModel } from '../types.ts';
import { TrainError } from './faults.ts';
import { summarizeGraders } from './grading-summary.ts';
import type { Validation } from './metrics.ts';
import type { ObjectiveOptions, RunObjective } from './objective.ts';

/** A completion of a prompt. */
interface Sample {
  /** Its tokens, with the one that ended it. */
  readonly ids: readonly number[];
  /** Their log-probabilities under the engine. */
  readonly logProbs: readonly number[];
  /** Whether it ended by itself. */
  readonly isWhole: boolean;
}

/** A request for a completion. */
export interface SampledPrompt {
  readonly promptIds: readonly number[];
  readonly maxTokens: number;
  readonly seed: number;
  /** Absent: any text. */
  readonly constraint: Constraint | undefined;
}

/** Samples completions with a server's engine. Any number may be in flight. */
export interface CompletionSampler {
  /** Uses the adapter of this PEFT folder from now on. */
  use(directory: string): Promise<void>;
  /** The same seed, prompt and adapter give the same tokens. */
  sample(request: SampledPrompt): Promise<Sample>;
  /** Sends a request of a grader to a server's route. */
  readonly post: Post;
  /** Absent: the grader is not in Python. */
  readonly runPython?: RunPython | undefined;
}

/** The reward of a completion. */
export interface Reward {
  readonly value: number;
  /** The reason if the grader failed. The value is then 0. */
  readonly fault?: string | undefined;
  readonly graded?: Pick<Graded, 'scores' | 'errors' | 'parts'>;
}

/** How a run samples and rewards. */
export interface Reinforcement extends Sampling {
  /** The most tokens of a prompt and its completion. */
  readonly maxLength: number;
  readonly seed: number;
  readonly sampler: CompletionSampler;
  /** Writes the current adapter, and returns its PEFT folder. */
  writeAdapter(): Promise<string>;
  constraintOf(prompt: Example): Constraint | undefined;
  reward(ids: readonly number[], prompt: Example): Promise<Reward>;
  /** Keeps samples for the user. Absent: none are kept. @param step counted from 1 */
  record?(step: number, groups: readonly Group[]): Promise<void>;
}

/** A rewarded completion. */
interface Rewarded extends Sample {
  readonly prompt: Example;
  readonly reward: Reward;
  /** Against the others of its prompt. */
  readonly advantage: number;
}

/** Completions of one prompt. */
export type Group = readonly Rewarded[];

type RewardsOptions = Pick<ObjectiveOptions, 'model' | 'train' | 'batchSize'>;

/** The objective of a run that learns from rewards. Every sample is used for one update. */
export class Rewards implements RunObjective {
  readonly saved = [];
  readonly guessed = undefined;
  readonly #options: RewardsOptions;
  readonly #how: Reinforcement;
  /** The samples of the current step, by their prompt's index. */
  #groups: ReadonlyMap<number, Group> = new Map();
  #metrics: RewardMetrics & StepGrading = {};
  /** The summed differences between the log-probabilities of trainer and engine. */
  #drift = 0;
  #trainingMs = 0;

  constructor(options: RewardsOptions, how: Reinforcement) {
    this.#options = options;
    this.#how = how;
  }

  /** Samples and rewards the completions of all prompts of a step. @throws TrainError if the grader fails for all of them */
  async begin(step: number, plans: StepBatches): Promise<void> {
    const { completions } = this.#how;
    const indices = plans.flat(2);
    const prompts = indices.map((index) => this.#options.train.examples[index]!);
    const { groups, ...seconds } = await this.#sample(prompts, completions, `step ${step}`);
    await this.#how.record?.(step + 1, groups);
    refuseFailure(groups);
    this.#groups = new Map(indices.map((index, p) => [index, groups[p]!]));
    this.#metrics = { ...describe(groups), ...seconds, trainGrading: summarize(groups) };
    this.#drift = 0;
    this.#trainingMs = performance.now();
  }

  async accumulate(plan: MicroBatchPlan): Promise<LossSums> {
    const { model, batchSize } = this.#options;
    const samples = plan.flat().flatMap((index) => this.#groups.get(index)!);
    let sums = NO_LOSS;
    for (let start = 0; start < samples.length; start += batchSize) {
      const added = await accumulateSamples(model, samples.slice(start, start + batchSize));
      this.#drift += added.drift;
      sums = addLossSums(sums, added);
    }
    return sums;
  }

  /** Adds the sampled tokens to the prompts' tokens. */
  metrics({ weight }: LossSums): RewardMetrics & StepGrading & { readonly tokens: number } {
    return {
      tokens: weight,
      ...this.#metrics,
      'profiling/training': (performance.now() - this.#trainingMs) / 1000,
      'sampling/sampling_logp_difference/mean': this.#drift / weight,
    };
  }

  /** The loss is the negative reward, so the lowest is the best. */
  async validate({ examples }: Dataset): Promise<Validation> {
    const startMs = performance.now();
    const { groups } = await this.#sample(examples, 1, 'validation');
    const reward = meanOf(rewardsOf(groups.flat()));
    const seconds = (performance.now() - startMs) / 1000;
    const validGrading = { ...summarize(groups), seconds };
    return { validationLoss: -reward, eval_reward: reward, validGrading };
  }

  /** Samples and rewards completions. All of them, and then all requests of graders, are in flight at the same time. */
  async #sample(prompts: readonly Example[], count: number, stream: string) {
    const { sampler, completionLength, maxLength, seed } = this.#how;
    const startMs = performance.now();
    await sampler.use(await this.#how.writeAdapter());
    const draws = prompts.flatMap((prompt, p) =>
      Array.from({ length: count }, async (_, k) => ({
        prompt,
        ...(await sampler.sample({
          promptIds: [...prompt.ids],
          maxTokens: Math.min(completionLength, maxLength - prompt.ids.length),
          seed: streamSeed(seed, `${stream} ${p} ${k}`),
          constraint: this.#how.constraintOf(prompt),
        })),
      })),
    );
    const samples = await Promise.all(draws);
    const gradingMs = performance.now();
    const rewards = await Promise.all(
      samples.map(({ ids, prompt }) => this.#how.reward(ids, prompt)),
    );
    const groups = prompts.map((_, p): Group => {
      const [from, to] = [p * count, (p + 1) * count];
      const own = rewards.slice(from, to);
      const advantages = advantagesOf(own.map(({ value }) => value));
      return samples.slice(from, to).map((sample, k) => ({
        ...sample,
        reward: own[k]!,
        advantage: advantages[k]!,
      }));
    });
    return {
      groups,
      'profiling/sampling': (gradingMs - startMs) / 1000,
      'profiling/grading': (performance.now() - gradingMs) / 1000,
    };
  }
}

/** Adds the gradients of some samples. The weight of the sums is the number of their tokens. */
async function accumulateSamples(
  model: TrainModel,
  samples: readonly Rewarded[],
): Promise<LossSums & { readonly drift: number }> {
  const examples = samples.map(toExample);
  const { batch, sequences, offsets } = assembleSequences(
    examples,
    examples.map((_, index) => [index]),
  );
  const sampled = Array.from(sequences, (s, i) => samples[s]!.logProbs[offsets[i]!]!);
  const advantages = Array.from(sequences, (s) => samples[s]!.advantage);
  let [loss, drift] = [0, 0];
  const { count, hits } = await model.accumulate(batch, (logProbs) => {
    const { weights, ...sums } = weighPolicy({ logProbs, sampled, advantages });
    ({ loss, drift } = sums);
    return weights;
  });
  return { loss, weight: sequences.length, count, hits, drift };
}

function toExample({ prompt, ids }: Rewarded): Example {
  const labels = Int32Array.from([...prompt.labels, ...ids]);
  return { ids: Int32Array.from([...prompt.ids, ...ids]), labels, weights: undefined };
}

const rewardsOf = (samples: readonly Rewarded[]) => samples.map(({ reward }) => reward.value);

function summarize(groups: readonly Group[]): GradingSummary {
  return summarizeGraders(groups.flat().flatMap(({ reward }) => reward.graded ?? []));
}

function deviationOf(group: Group): number {
  return standardDeviation(rewardsOf(group));
}

/** Equal rewards deviate from their mean by rounding errors. TRL's tolerance. */
const ZERO_DEVIATION = 1e-8;

function describe(groups: readonly Group[]): RewardMetrics {
  const all = groups.flat();
  const share = <T>(items: readonly T[], holds: (item: T) => boolean) =>
    items.filter(holds).length / items.length;
  return {
    reward: meanOf(rewardsOf(all)),
    reward_std: meanOf(groups.map(deviationOf)),
    frac_reward_zero_std: share(groups, (group) => deviationOf(group) < ZERO_DEVIATION),
    entropy: -meanOf(all.flatMap(({ logProbs }) => logProbs)),
    'completions/mean_length': meanOf(all.map(({ ids }) => ids.length)),
    'completions/clipped_ratio': share(all, ({ isWhole }) => !isWhole),
  };
}

/** Completions without JSON or a call, and rows without a value, are not the grader's fault. */
const NOT_GRADERS: ReadonlySet<string> = new Set(['sample_parse_error', 'invalid_variable_error']);

function refuseFailure(groups: readonly Group[]): void {
  const faults = groups.flat().map(({ reward }) => reward.fault);
  if (faults.some((fault) => fault === undefined || NOT_GRADERS.has(fault))) return;
  throw new TrainError(
    'grader_fails',
    `the grader failed for all completions of a step (${faults[0]}). Try it on a row: POST /v1/fine_tuning/alpha/graders/run`,
  );
}

// Runs of the linear model in temporary folders, for the loop's tests.
import path from 'node:path';
import type { StepMetrics } from '../../src/contracts/metrics.ts';
import type { Example } from '../../trainer/data/example.ts';
import { type Dataset, describeExamples } from '../../trainer/data/load-dataset.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { prepareRows } from '../../trainer/job/prepare-run.ts';
import type { RunState } from '../../trainer/run/checkpoint.ts';
import { toTrainRun } from '../../trainer/run/execute-run.ts';
import type { Reinforcement } from '../../trainer/run/reinforcement.ts';
import { createRunFolder, openRunFolder, type RunFolder } from '../../trainer/run/run-folder.ts';
import { type Outcome, train } from '../../trainer/run/train.ts';
import type { TrainModel } from '../../trainer/types.ts';
import { seededRandom, tinyModel } from '../fixtures.ts';
import { LINEAR_VOCAB, linearModel } from './linear-model.ts';

/** For rows that come from no file. */
export const NO_FILES = { data: { sha256: '0'.repeat(64), byteSize: 1 } };

/** Rows of a few tokens each; the first token is not learned. */
export function dataset(count: number, seed = 5): Dataset {
  const random = seededRandom(seed);
  const examples = Array.from({ length: count }, (): Example => {
    const length = 3 + Math.floor(4 * (random() + 1));
    const ids = new Int32Array(length).map(() => Math.floor((LINEAR_VOCAB / 2) * (random() + 1)));
    return { ids, labels: ids.map((id, t) => (t < 2 ? -1 : id)), weights: undefined };
  });
  return describeExamples(examples, 0);
}

/** Pairs of rows with the same first token. */
export function pairDataset(count: number, seed = 5): Dataset {
  const [chosen, rejected] = [dataset(count, seed), dataset(count, seed + 1)];
  const pairs = chosen.examples.map((example, i) => ({
    ...example,
    rejected: rejected.examples[i]!,
  }));
  return describeExamples(pairs, 0);
}

export interface LinearRun {
  outcome: Outcome;
  folder: RunFolder;
  metrics: readonly StepMetrics[];
  model: TrainModel;
  events: string[];
  warnings: string[];
}

export interface LinearRunOptions {
  job?: Record<string, unknown>;
  rows?: Dataset;
  validation?: Dataset;
  model?: TrainModel;
  reinforcement?: (folder: RunFolder) => Reinforcement;
  /** Ends the run as SIGTERM does, after this step. */
  stopAfter?: number;
  /** Ends the run as SIGKILL does: throws after this step's metrics. */
  killAfter?: number;
  saveResult?: (model: TrainModel, folder: RunFolder) => Promise<void>;
}

/** Goes on where the folder holds a run. */
export async function runLinear(dir: string, options: LinearRunOptions = {}): Promise<LinearRun> {
  const { validation, reinforcement } = options;
  const job = parseJob({
    ...{ model: 'm', data: 'd', batchSize: 2, learningRate: 0.05 },
    ...(validation && { validation: 'v' }),
    ...options.job,
  });
  const rows = options.rows ?? dataset(12);
  const model = options.model ?? linearModel();
  const folder = await createRunFolder(dir, job).catch(
    async () => (await openRunFolder(dir)).folder,
  );
  const { artifact, config } = tinyModel(); // for its settings: what is trained is the model above
  const prepared = prepareRows(job, artifact, {
    ...{ method: 'lora', maxLength: 64, adapter: undefined },
    rows: { train: rows, validation, files: NO_FILES },
  });
  const controller = new AbortController();
  const events: string[] = [];
  const warnings: string[] = [];
  const onStep = ({ step }: StepMetrics, _: RunState) => {
    if (step === options.stopAfter) controller.abort();
    if (step === options.killAfter) throw new Error('killed');
  };
  try {
    const { outcome } = await train(
      {
        ...toTrainRun(prepared, { ...config, vocabSize: LINEAR_VOCAB }),
        model,
        reinforcement: reinforcement?.(folder),
        folder,
        snapshots: undefined,
        saveResult: async () => options.saveResult?.(model, folder),
      },
      {
        signal: controller.signal,
        onStep,
        onSnapshot() {},
        async onEvent(type, message, data) {
          events.push(`${type}: ${message}`);
          if (type === 'warn') warnings.push(String(data?.['code']));
        },
      },
    );
    return { outcome, folder, metrics: folder.metrics, model, events, warnings };
  } finally {
    await folder.close();
  }
}

/** The metrics of a step, with a validation if it has a loss. */
export const metricsRow = (step: number, loss: number, validationLoss?: number): StepMetrics => ({
  ...{ step, loss, gradNorm: 1, learningRate: 1e-3 },
  ...{ tokens: 10, tokensPerSecond: 100, tokenAccuracy: 0.25 },
  ...(validationLoss !== undefined && { validationLoss, validationTokenAccuracy: 0.5 }),
});

/** The trained weights of a run, to be compared. */
export const weightsOf = ({ model }: LinearRun) =>
  model.parameters.map(({ data }) => Buffer.from(data.buffer).toString('hex')).join();

/** Of the metrics, what does not depend on the clock. */
export const curveOf = ({ metrics }: LinearRun) =>
  metrics.map((row) => ({ ...row, tokensPerSecond: 0 }));

/** A folder for one run below another one. */
export function runDir(root: string, name: string): string {
  return path.join(root, name);
}

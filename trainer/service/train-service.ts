// A trainer as a service: performs tasks on the adapters that it holds, one after the other. The sender decides their order.
import { rm } from 'node:fs/promises';
import type {
  AdamStep,
  NewAdapter,
  ServiceCall,
  ServiceCalls,
  ServiceResult,
  ServiceTask,
} from '../../src/contracts/training-service.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import { type TargetName, targetNames } from '../../src/model/target-modules.ts';
import { planAdapter } from '../job/adapter-plan.ts';
import { parseJob, type TrainJob } from '../job/job.ts';
import { resolveMethod } from '../job/resolve-settings.ts';
import { clipFactor, createAdamW, globalNorm } from '../optimizer.ts';
import { TrainError } from '../run/faults.ts';
import { writeAdapter } from '../run/result-files.ts';
import {
  GRADIENTS,
  HeldModels,
  type OptimizerState,
  readArrays,
  type SeatedModel,
  writeArrays,
} from './held-models.ts';
import { checkMemory } from './pass-memory.ts';
import { runPass } from './token-pass.ts';

/** Settings of a `TrainService`. */
export interface TrainServiceOptions {
  readonly artifact: Artifact;
  /** Undefined: one per core. */
  readonly threads: number | undefined;
  /** The most bytes of this process. Absent: passes of every size run. */
  readonly memory?: number | undefined;
  /** A folder for models that wait. */
  readonly directory: string;
  /** The most bytes of waiting models in memory. */
  readonly parkedBytes?: number;
}

type Handlers = {
  readonly [K in ServiceCall]: (
    task: { readonly model: string } & ServiceCalls[K]['task'],
  ) => Promise<ServiceCalls[K]['result']>;
};

/** The adapter's scaling is 32 / rank, as in Tinker, so that one learning rate suits all ranks. */
const ALPHA = 32;
const MLP: ReadonlySet<TargetName> = new Set(['gate_proj', 'up_proj', 'gate_up_proj', 'down_proj']);
/** A job names files, which are not read here. */
const NO_FILES = { model: '-', data: '-' };
/** The number of steps, in the metadata of the file of moments. */
const STEPS = 'steps';

/** Holds adapters and performs tasks on them. */
export class TrainService {
  readonly #artifact: Artifact;
  readonly #models: HeldModels;
  readonly #limits: Parameters<typeof checkMemory>[2];
  readonly #handlers: Handlers = {
    create: async ({ model, adapter }) => this.#add(model, toJob(adapter, this.#artifact)),
    load: async ({ model, directory, momentsFile }) =>
      this.#add(model, { initAdapter: directory }, momentsFile),
    pass: async ({ model, ...pass }) => {
      const seated = await this.#models.seat(model);
      checkMemory(seated.plan, pass, this.#limits);
      return runPass(seated.model, pass);
    },
    step: async ({ model, adam }) => step(await this.#models.seat(model), adam),
    save: async ({ model, directory, momentsFile, withGradients }) => {
      const seated = await this.#models.seat(model);
      await this.#save(seated, directory);
      const kept = withGradients ? [MOMENTS, GRADIENTS] : [MOMENTS];
      if (momentsFile !== undefined) await saveState(seated, momentsFile, kept);
      return null;
    },
    drop: async ({ model }) => {
      await this.#models.drop(model);
      return null;
    },
  };

  constructor({ artifact, threads, memory, directory, parkedBytes }: TrainServiceOptions) {
    this.#artifact = artifact;
    const job = parseJob(NO_FILES);
    const { recompute, blocksPerSegment } = job;
    const training = { method: resolveMethod(job, artifact.info), recompute, blocksPerSegment };
    const { config } = artifact;
    this.#limits = { ...training, compute: 'float32', config, memory };
    this.#models = new HeldModels({
      artifact,
      directory,
      training: { ...training, threads },
      ...(parkedBytes !== undefined && { parkedBytes }),
    });
  }

  /** Performs a task. Rejects with the reason that it cannot be done; the model is then unchanged, apart from its gradients. */
  perform(task: ServiceTask): Promise<ServiceResult> {
    const handle = this.#handlers[task.kind] as (task: ServiceTask) => Promise<ServiceResult>;
    return handle(task);
  }

  async #add(id: string, settings: Partial<TrainJob>, momentsFile?: string) {
    const job = parseJob({ ...NO_FILES, ...settings });
    const plan = await planAdapter(job, this.#artifact);
    checkMemory(plan, { data: [], isForwardOnly: false }, this.#limits);
    await this.#models.drop(id); // a model that exists is replaced
    this.#models.add(id, plan, momentsFile === undefined ? undefined : readMoments(momentsFile));
    return { rank: plan.peft.r };
  }

  async #save({ model: { parameters }, plan }: SeatedModel, directory: string): Promise<void> {
    await rm(directory, { recursive: true, force: true });
    const { peft } = plan;
    const baseName = this.#artifact.info.source;
    await writeAdapter(directory, { parameters, peft, baseName, dtype: 'F32' });
  }
}

/** Returns the settings of a job that would train this adapter. */
function toJob(
  { rank, seed, trainsMlp, trainsAttention, trainsHead }: NewAdapter,
  { config }: Artifact,
): Partial<TrainJob> {
  const targets = targetNames(config).filter((name) =>
    MLP.has(name) ? trainsMlp : trainsAttention,
  );
  // A head with a soft cap cannot be trained.
  const withHead = trainsHead && !config.logitsSoftcap && { trainHead: 'lora' as const };
  return {
    rank,
    alpha: ALPHA,
    seed,
    targets: targets.length > 0 ? targets : ['lm_head'],
    ...withHead,
  };
}

/** Updates a model and clears its gradients. @throws TrainError if they are not finite: the model is unchanged then */
async function step(
  { model: { parameters }, moments, counter }: SeatedModel,
  { learningRate, maxGradNorm, ...options }: AdamStep,
): Promise<{ gradNorm: number }> {
  const gradNorm = globalNorm(parameters.map(({ grad }) => grad));
  if (Number.isFinite(gradNorm)) {
    counter.steps++;
    const scale = maxGradNorm > 0 ? clipFactor(gradNorm, maxGradNorm) : 1;
    createAdamW(parameters, options, moments).step(counter.steps, learningRate, scale);
  }
  for (const { grad } of parameters) grad.fill(0);
  if (Number.isFinite(gradNorm)) return { gradNorm };
  throw new TrainError(
    'non_finite_loss',
    'The gradients are not finite, so the step was skipped and they were cleared. Lower the learning rate, or check the inputs of the loss.',
  );
}

const MOMENTS = 'adam.';

/** Writes the arrays whose names have one of the prefixes, except zeros: those are what a missing array stands for. */
async function saveState(
  { arrays: all, counter }: SeatedModel,
  file: string,
  prefixes: readonly string[],
): Promise<void> {
  const kept = all.filter(
    ({ name, data }) =>
      prefixes.some((prefix) => name.startsWith(prefix)) && data.some((value) => value !== 0),
  );
  const arrays = new Map(kept.map(({ name, data }) => [name, data]));
  await writeArrays(file, arrays, { [STEPS]: String(counter.steps) });
}

function readMoments(file: string): OptimizerState {
  const source = openSafetensors(file);
  source.close();
  return { moments: readArrays(file), steps: Number(source.metadata[STEPS]) };
}

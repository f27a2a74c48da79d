// `lorikeet plan`: compares the memory of full training, LoRA and QLoRA, recommends a method that fits, and estimates a job's
// memory and time.
import { ConfigError, FileError } from '../../src/common/errors.ts';
import { type MemoryLimit, memoryLimit } from '../../src/common/memory-limit.ts';
import { readRegular, SMALL_FILE_BYTES } from '../../src/common/regular-file.ts';
import type { JobPlan, PlanRequest } from '../../src/contracts/training-messages.ts';
import { DEFAULT_RANK } from '../../src/contracts/training-settings.ts';
import { type Artifact, readArtifact } from '../../src/import/artifact.ts';
import { type DecoderConfig, parseDecoderConfig } from '../../src/model/config.ts';
import { parseJob, type TrainJob } from '../job/job.ts';
import { type PreparedRun, type PrepareOptions, prepareRun } from '../job/prepare-run.ts';
import { resolveMaxLength } from '../job/resolve-settings.ts';
import { toJobPlan } from '../planner/job-plan.ts';
import { measureFlops } from '../planner/machine-speed.ts';
import {
  gb,
  matrixSaving,
  memoryByMethod,
  moreText,
  type RunChoice,
  recommend,
} from '../planner/method-memory.ts';
import { type ModelShape, shapeOfConfig, shapeOfText } from '../planner/model-size.ts';
import { type EstimatedRun, fitMemory, memoryOfRun, moreMemory } from '../planner/run-estimate.ts';
import { describeRun, estimateRun, planText, type RunPlan } from '../planner/run-plan.ts';
import { type SamplingEngineSize, samplingEngineSize } from '../planner/sampling-engine-size.ts';

/** The memory of a machine. */
export interface PlanMachine {
  readonly limit: MemoryLimit;
  /** Returns the bytes of an engine that samples. Throws `ConfigError` if it does not even fit alone. */
  samplingEngineBytes(
    config: DecoderConfig,
    engine: { readonly size: SamplingEngineSize; readonly limit: MemoryLimit },
  ): number;
}

/** The job of a request, how to find its model, and how to check what the trainer cannot. */
interface PlanSources extends Pick<PlanMachine, 'samplingEngineBytes'> {
  /** Rejects if a setting of the job is at fault. */
  checkJob(job: TrainJob): Promise<unknown>;
  /** The job file's keys, overridden by flags. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Resolves with a model's folder. */
  findModel(requested: string): Promise<string>;
}

/** A plan as text and as data. */
export interface Plan {
  readonly text: string;
  readonly json: Record<string, unknown>;
  /** Present if the request has a job. */
  readonly job?: JobPlan;
}

/** Makes a plan. @throws UsageError, ConfigError or FileError naming the fault in the request */
export async function makePlan(request: PlanRequest, sources: PlanSources): Promise<Plan> {
  const limit =
    request.memory === undefined
      ? memoryLimit()
      : { bytes: request.memory, source: 'the plan’s memory' };
  const memory = limit.bytes;
  const { json } = sources;
  const planAlone = (shape: ModelShape) => planShape(shape, memory, assumeJob(shape, json));
  if (request.size !== undefined) return planAlone(shapeOfText(request.size));
  if (request.configFile !== undefined) {
    const config = parseDecoderConfig(readConfig(request.configFile));
    return planAlone(shapeOfConfig(config));
  }
  const artifact = readArtifact(await sources.findModel(String(json['model'] ?? '')));
  try {
    if (json['data'] === undefined) return planAlone(shapeOfConfig(artifact.config));
    const job = parseJob(json);
    await sources.checkJob(job);
    const { minExamples } = request;
    return await planJobRun(job, artifact, { ...sources, limit, minExamples });
  } finally {
    artifact.tensors.close();
  }
}

function readConfig(file: string): unknown {
  try {
    return JSON.parse(readRegular(file, SMALL_FILE_BYTES).toString());
  } catch (cause) {
    throw new FileError(file, 'cannot be read as JSON', { cause });
  }
}

/** A planned job, or the one that a plan without rows assumes. */
interface PlannedJob {
  readonly rank: number | undefined;
  readonly estimated: EstimatedRun;
  /** Bytes of the engine that samples for it. */
  readonly sampler: number;
  readonly trainedTokens?: number | undefined;
}

/** Returns a job whose batches are as large as its settings allow. */
function assumeJob(
  { size, config }: ModelShape,
  json: Readonly<Record<string, unknown>>,
): PlannedJob {
  const given = ASSUMED_KEYS.filter((key) => json[key] !== undefined);
  const settings = Object.fromEntries(given.map((key) => [key, json[key]]));
  const job = parseJob({ ...settings, model: 'any', data: 'any' });
  const length = resolveMaxLength(job, config);
  const batchTokens = job.batchSize * length;
  const { rank, recompute, blocksPerSegment, compute } = job;
  const estimated: EstimatedRun = {
    ...{ method: 'qlora', compute, recompute, blocksPerSegment, batchTokens, length },
    ...{ targets: batchTokens, trained: (rank ?? DEFAULT_RANK) * size.loraPerRank },
    ...{ head: { size: config.vocabSize, isTrained: false }, evaluation: undefined },
  };
  return { rank, estimated, sampler: 0 };
}

const ASSUMED_KEYS = ['rank', 'batchSize', 'maxLength', 'recompute', 'blocksPerSegment'] as const;

function planShape({ size, config, scale }: ModelShape, memory: number, job: PlannedJob): Plan {
  const { rank = DEFAULT_RANK, estimated, sampler, trainedTokens } = job;
  const methods = memoryByMethod(size, rank);
  const saving = matrixSaving(size.hidden, rank);
  const perRank = estimated.method === 'full' ? size.loraPerRank : estimated.trained / rank;
  const bytesOfRun = (run: EstimatedRun) => {
    // What Node and the sessions take is not scaled, so a shape that is scaled down is planned in the memory itself.
    const limit = { memory: memory / Math.max(scale, 1), samplingEngineBytes: sampler };
    const { total, runtime } = memoryOfRun(config, fitMemory(config, run, limit));
    return runtime + scale * (total - runtime) + sampler;
  };
  const bytesOf = (choice: RunChoice) =>
    bytesOfRun({ ...estimated, ...choice, trained: perRank * choice.rank });
  const recommendation = recommend(size, { memory, trainedTokens, bytesOf });
  const { method, compute, reason } = recommendation;
  const blocks = methods.map(({ method, lines, total, note }) =>
    [
      `${method.padEnd(6)} ${gb(total)}`,
      ...lines.map(({ what, bytes }) => `  ${gb(bytes).padStart(8)}  ${what}`),
      `  (${note})`,
    ].join('\n'),
  );
  const { batchTokens, length } = estimated;
  const chosen = { ...estimated, method, compute, trained: perRank * recommendation.rank };
  const more = moreMemory(chosen, bytesOfRun);
  const text = [
    `${(size.parameters / 1e9).toPrecision(3)} billion parameters. Published figures by method, for 16-bit weights on an accelerator:`,
    ...blocks,
    `A ${size.hidden} x ${size.hidden} matrix has ${(saving.weights / 1e6).toFixed(1)} M weights; rank ${rank} trains ${(saving.trained / 1e3).toFixed(1)} K: ${Math.round(saving.factor)} times fewer.`,
    `Recommended: ${method}, rank ${recommendation.rank}, compute ${compute}. On this machine, with batches of ${Math.round(batchTokens / length)} x ${length} tokens, it ${reason}.`,
    `Needed: about ${gb(recommendation.bytes)}.\nMore memory buys: ${moreText(more)}.`,
  ].join('\n\n');
  const json = { size, memory, methods, matrix: saving, recommendation };
  return { text, json: { ...json, needed: recommendation.bytes, more } };
}

async function planJobRun(
  job: TrainJob,
  artifact: Artifact,
  { minExamples, ...machine }: PrepareOptions & PlanMachine,
): Promise<Plan> {
  const prepared = await prepareRun(job, artifact, { minExamples });
  const { run, estimated, text } = await planRun(prepared, artifact, machine);
  const { trainedTokens, memory } = run;
  const { rank } = job;
  const planned = { rank, estimated, sampler: memory.sampler, trainedTokens };
  const byShape = planShape(shapeOfConfig(artifact.config), machine.limit.bytes, planned);
  const jobPlan = toJobPlan(prepared, run);
  return {
    text: `${text}\n\n${byShape.text}`,
    json: { run: { ...run, firstBatch: jobPlan.firstBatch }, ...byShape.json },
    job: jobPlan,
  };
}

/** Plans one run on this machine, whose speed it measures. @throws ConfigError if the run needs an engine and does not fit */
export async function planRun(
  prepared: PreparedRun,
  artifact: Artifact,
  machine: PlanMachine,
): Promise<{ run: RunPlan; estimated: EstimatedRun; text: string }> {
  const speed = await measureFlops(prepared.job.threads);
  const size = samplingEngineSize(prepared, artifact.config);
  const ofRun = limitOfRun(artifact, size, machine);
  const { run, estimated } = describeRun(prepared, artifact, { speed, ...ofRun });
  const { limit } = machine;
  if (size && run.memory.total > limit.bytes) {
    throw new ConfigError(
      `completions: training takes about ${gb(run.memory.total)} with the engine that samples ${size.slots} completions of up to ${size.maxSeqLength} tokens together, and there are ${gb(limit.bytes)} (${limit.source}). Lower completions, completionLength or batchSize, or raise the memory limit.`,
    );
  }
  return { run, estimated, text: planText(run, prepared, artifact, limit) };
}

/** Returns the bytes of activations that a run which recomputes may keep on this machine. */
export function savedBytesOf(
  prepared: PreparedRun,
  artifact: Artifact,
  machine: PlanMachine,
): number | undefined {
  const size = samplingEngineSize(prepared, artifact.config);
  return estimateRun(prepared, artifact, limitOfRun(artifact, size, machine)).savedBytes;
}

function limitOfRun(
  { config }: Artifact,
  size: SamplingEngineSize | undefined,
  { limit, samplingEngineBytes }: PlanMachine,
) {
  return {
    memory: limit.bytes,
    samplingEngineBytes: size ? samplingEngineBytes(config, { size, limit }) : 0,
  };
}

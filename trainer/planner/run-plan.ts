// Plans a run before it starts: its rows, steps, adapter, memory and time, as numbers, as text and for the API.

import type { MemoryLimit } from '../../src/common/memory-limit.ts';
import { elementCount } from '../../src/common/tensor.ts';
import type { Preference } from '../../src/contracts/preference-settings.ts';
import type { Sampling } from '../../src/contracts/reinforcement-settings.ts';
import type { JobPlan } from '../../src/contracts/training-messages.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { adapterTensors } from '../adapter/tensors.ts';
import { type MicroBatchPlan, planEpoch, planValidation } from '../data/epoch-plan.ts';
import { countLabels, type Example, sequenceLengths, sequencesOf } from '../data/example.ts';
import { trainedLength } from '../data/micro-batch.ts';
import { balanceRows } from '../data/packing.ts';
import { probeExample } from '../evaluation/losses.ts';
import { type LossHeadSpec, lossHeadOf } from '../graph/loss-head-graph.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import { layerOf } from '../step/base-weights.ts';
import type { LoraSettings } from '../types.ts';
import type { Speed } from './machine-speed.ts';
import { gb, moreText } from './method-memory.ts';
import {
  type BatchSize,
  type EstimatedRun,
  fitMemory,
  flopsOfEvaluation,
  flopsOfTraining,
  flopsOfWeights,
  type MoreMemory,
  memoryOfRun,
  moreMemory,
  type RunLimit,
  type RunMemory,
} from './run-estimate.ts';

/** The numbers of a run. */
export interface RunPlan extends Omit<JobPlan, JobFacts | 'memoryBytes' | 'labels' | 'firstBatch'> {
  /** With the engine that samples for the run. */
  readonly memory: RunMemory & { readonly sampler: number; readonly more: MoreMemory };
}

/** The parts of a plan that follow from the prepared run without an estimate. */
type JobFacts =
  | 'method'
  | 'compute'
  | 'recommendedCompute'
  | 'maxLength'
  | 'stepsPerEpoch'
  | 'learningRate'
  | 'warnings';

/**
 * The share of a matrix product's speed that a step reaches. Whole runs of 135M and 1.5B on an idle machine (AMD Zen 3, two
 * cores) reached 0.55 to 0.85. Next to a busy engine, a run takes 2.5 times as long.
 */
const EFFICIENCY = { alone: 0.8, beside: 0.3 };
/** Speed of a step relative to float32, measured with AVX512-VNNI. */
const SPEEDUP = { float32: 1, int8: 1.75 };
/** Seconds to start the trainer, open the base and write the adapter. */
const START_SECONDS = [3, 15] as const;
/** Evaluations of short texts before and after training: the base, the adapter, the probes, and eight tokens of each answer. */
const CLOSING_PASSES = 14;

/** The machine of a run. */
interface RunMachine extends RunLimit {
  readonly speed: Speed;
}

/** Returns the sizes that decide the memory of a prepared run. It keeps as many activations as fit. */
export function estimateRun(
  prepared: PreparedRun,
  { config }: Pick<Artifact, 'config'>,
  limit: RunLimit,
  { epoch, evaluation } = workloadsOf(prepared),
): EstimatedRun {
  const { settings, adapter, job } = prepared;
  const { recompute, blocksPerSegment, compute } = job;
  const run = {
    ...{ method: settings.method, recompute, blocksPerSegment, compute },
    trained: countValues(trainedTensors(prepared, config)),
    ...(adapter && memoryOfKind(config, adapter.lora)),
    head: lossHeadOf(config, compute, adapter?.lora),
    ...epoch.largest,
    evaluation: largestEvaluation(prepared, config, evaluation),
  };
  return fitMemory(config, run, limit);
}

function trainedTensors({ adapter }: PreparedRun, config: DecoderConfig) {
  if (adapter) return adapterTensors(config, adapter.lora);
  return Array.from(expectedTensors(config), ([input, shape]) => ({ input, shape }));
}

/** Estimates memory and time of a prepared run. The time does not include sampling. */
export function describeRun(
  prepared: PreparedRun,
  { config }: Artifact,
  { speed, ...limit }: RunMachine,
): { readonly run: RunPlan; readonly estimated: EstimatedRun } {
  const { train, validation, settings, adapter, job, preference } = prepared;
  const { counts } = train;
  const { compute } = job;
  const head = lossHeadOf(config, compute, adapter?.lora);
  const ofBlocks = trainedTensors(prepared, config).filter(({ input }) => layerOf(input) >= 0);
  const workloads = workloadsOf(prepared);
  const { epoch, evaluation } = workloads;
  const estimated = estimateRun(prepared, { config }, limit, workloads);
  const { totalSteps, stepsPerEpoch, evalEvery = Number.POSITIVE_INFINITY } = settings;
  const epochs = totalSteps / stepsPerEpoch;
  // The base (or the reference of pairs) is validated once, before the first step.
  const validations = Math.ceil(totalSteps / evalEvery) + 1;
  const weights = flopsOfWeights(config, {
    method: settings.method,
    compute,
    passes:
      (2 * epochs + (preference ? 1 : 0)) * epoch.batches +
      validations * evaluation.batches +
      CLOSING_PASSES,
  });
  const products =
    (epochs * flopsOfTraining(config, { ...estimated, trained: countValues(ofBlocks) }, epoch) +
      validations * flopsOfEvaluation(config, head, evaluation) +
      (preference ? flopsOfPreferences(config, head, { epoch, epochs }) : 0)) /
      SPEEDUP[compute] +
    weights.merging;
  // On an idle machine, weights are unpacked while the runtime computes.
  const secondsRange: [number, number] = [
    START_SECONDS[0] + products / (EFFICIENCY.alone * speed.best),
    START_SECONDS[1] + (products + weights.unpacking) / (EFFICIENCY.beside * speed.typical),
  ];
  const { samplingEngineBytes } = limit;
  const memory = memoryOfRun(config, estimated);
  const bytesOf = (other: EstimatedRun) => memoryOfRun(config, other).total + samplingEngineBytes;
  const more = moreMemory(estimated, bytesOf);
  const run = {
    rowShapes: prepared.rowShapes,
    examples: train.examples.length,
    validationExamples: validation?.examples.length ?? 0,
    tokens: counts.tokens,
    trainedTokens: counts.trainedTokens,
    truncated: counts.truncated,
    maskedShare: 1 - counts.trainedTokens / counts.tokens,
    duplicates: counts.duplicates,
    trainedParameters: estimated.trained,
    totalSteps,
    memory: { ...memory, sampler: samplingEngineBytes, total: bytesOf(estimated), more },
    seconds: Math.sqrt(secondsRange[0] * secondsRange[1]),
    secondsRange,
  };
  return { run, estimated };
}

/** Returns the size of what is evaluated: batches of validation rows, and the fixed text that measures the base. */
function largestEvaluation(
  { modelText, adapter }: PreparedRun,
  { maxPositions }: DecoderConfig,
  { largest }: Workload,
): BatchSize {
  const { classes, invocation } = adapter?.lora ?? {};
  const classifies = classes !== undefined;
  const text = probeExample({ modelText, classifies, maxPositions, invocation });
  const length = text?.ids.length ?? 0;
  return {
    batchTokens: Math.max(largest.batchTokens, length),
    length: Math.max(largest.length, length),
    targets: Math.max(largest.targets, length),
  };
}

/** Counts what pairs need in addition: the reference's pass over them, and the logits of each step before its weights. */
function flopsOfPreferences(
  config: DecoderConfig,
  head: LossHeadSpec,
  { epoch, epochs }: { epoch: Workload; epochs: number },
): number {
  const logits = flopsOfEvaluation(config, head, { positions: 0, targets: epoch.targets });
  return flopsOfEvaluation(config, head, epoch) + epochs * logits;
}

function countValues(tensors: readonly { readonly shape: readonly number[] }[]): number {
  return tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

/** Returns the properties of an adapter's kind that need memory in addition to its parameters. */
function memoryOfKind(
  config: DecoderConfig,
  lora: LoraSettings,
): Pick<EstimatedRun, 'kept' | 'isDora'> {
  const tensors = adapterTensors(config, lora);
  return {
    kept: countValues(tensors.filter(({ neutral }) => neutral.kind === 'principal')),
    isDora: [...lora.modules.values()].some(({ isDora }) => isDora === true),
  };
}

/** Sums over all micro-batches, and the micro-batch that takes the most memory. */
interface Workload {
  readonly batches: number;
  readonly positions: number;
  readonly targets: number;
  readonly largest: BatchSize;
}

const NOTHING: Workload = {
  batches: 0,
  positions: 0,
  targets: 0,
  largest: { batchTokens: 0, length: 0, targets: 0 },
};

function workloadsOf(prepared: PreparedRun) {
  return { epoch: epochWorkload(prepared), evaluation: validationWorkload(prepared) };
}

/** Counts positions including padding, arranged as by `assembleTightBatch`. */
function workloadOf(examples: readonly Example[], plans: readonly MicroBatchPlan[]): Workload {
  return plans.reduce(({ batches, positions, targets, largest }, plan) => {
    const own = plan.flat().flatMap((index) => sequencesOf(examples[index]!));
    const lengths = own.map(trainedLength);
    const rows = balanceRows(lengths).map((row) => row.reduce((sum, i) => sum + lengths[i]!, 0));
    const length = rows.reduce((a, b) => Math.max(a, b), 0);
    const batchTokens = rows.length * length;
    const counted = own.reduce((sum, sequence) => sum + countLabels(sequence), 0);
    return {
      batches: batches + 1,
      positions: positions + batchTokens,
      targets: targets + counted,
      largest:
        batchTokens > largest.batchTokens ? { batchTokens, length, targets: counted } : largest,
    };
  }, NOTHING);
}

function epochWorkload({ train: { examples }, settings, sampling }: PreparedRun): Workload {
  const { order } = settings;
  const plans = planEpoch(sequenceLengths(examples), 0, order).flat();
  if (!sampling) return workloadOf(examples, plans);
  const { completions, completionLength } = sampling;
  const answered = examples.map(({ ids: { length } }) =>
    longestAnswer(length, Math.min(length + completionLength, order.maxLength)),
  );
  const one = workloadOf(answered, plans);
  return {
    ...one,
    batches: completions * one.batches,
    positions: completions * one.positions,
    targets: completions * one.targets,
  };
}

/** Stands for a prompt with its completion, which is not sampled yet. */
function longestAnswer(promptLength: number, length: number): Example {
  const labels = new Int32Array(length).fill(-1, 0, promptLength);
  return { ids: new Int32Array(length), labels, weights: undefined };
}

function validationWorkload({ validation, settings, sampling }: PreparedRun): Workload {
  if (!validation || sampling) return NOTHING;
  const { examples } = validation;
  return workloadOf(examples, planValidation(examples, settings.order.batchSize));
}

/** Formats the plan as text. */
export function planText(
  plan: RunPlan,
  prepared: PreparedRun,
  artifact: Artifact,
  limit: MemoryLimit,
): string {
  const { settings, adapter, job, preference, sampling } = prepared;
  const [rows, sequences] = preference
    ? ['pairs', 'pairs']
    : sampling
      ? ['prompts', 'prompts']
      : ['examples', 'sequences'];
  const number = (value: number) => value.toLocaleString('en-US');
  const ranks = [...new Set([...(adapter?.lora.modules.values() ?? [])].map(({ rank }) => rank))];
  const { batchSize, gradAccumulation } = settings.order;
  const window = gradAccumulation > 1 ? `${gradAccumulation} x ${batchSize}` : `${batchSize}`;
  const validation =
    plan.validationExamples > 0 ? `, ${plan.validationExamples} for validation` : '';
  const { memory } = plan;
  const sampler = sampling ? `, sampling ${gb(memory.sampler)}` : '';
  const learned = sampling
    ? ''
    : `; learned: ${number(plan.trainedTokens)} (masked: ${Math.round(100 * plan.maskedShare)}%)`;
  return [
    [
      'Base',
      `${artifact.info.name} (${artifact.info.quantization === 'nf4' ? 'NF4' : 'unquantized'})`,
    ],
    ['Rows', `${number(plan.examples)} ${rows}${validation}, ${plan.duplicates} duplicates`],
    ...(plan.rowShapes.length > 0 ? [['Format', plan.rowShapes.join('; ')]] : []),
    [
      'Tokens',
      `${number(plan.tokens)}${learned}; cut at ${settings.order.maxLength}: ${plan.truncated} ${rows}`,
    ],
    [
      'Method',
      adapter
        ? `${settings.method}, rank ${ranks.join(', ')} on ${adapter.lora.modules.size} linears`
        : 'full',
    ],
    ...(preference ? [['Loss', describePreference(preference)]] : []),
    ...(sampling ? [['Samples', describeSampling(sampling)]] : []),
    ['Compute', job.compute],
    [
      'Trained',
      `${number(plan.trainedParameters)} parameters, peak rate ${settings.schedule.peak}, ${job.schedule}`,
    ],
    [
      'Steps',
      `${number(plan.totalSteps)} of ${window} ${sequences}, ${number(settings.stepsPerEpoch)} per epoch`,
    ],
    [
      'Needed',
      `about ${gb(memory.total)} (weights ${gb(memory.weights)}, training ${gb(memory.training)}, activations ${gb(memory.activations)}${sampler})`,
    ],
    ['More', `memory buys: ${moreText(memory.more)}`],
    ['Time', plan.secondsRange.map(duration).join(' to ')],
    ...(memory.total > limit.bytes
      ? [
          [
            'Warning',
            `there are only ${gb(limit.bytes)} (${limit.source}), so the run may be killed; use smaller batches, shorter rows or a smaller base`,
          ],
        ]
      : []),
    ...prepared.warnings.map(({ cause, cure }) => ['Warning', `${cause}; ${cure}`]),
  ]
    .map(([name, text]) => `${name!.padEnd(8)} ${text}`)
    .join('\n');
}

function describePreference({ loss, beta, labelSmoothing }: Preference): string {
  const smoothing = loss === 'robust' ? `, label smoothing ${labelSmoothing}` : '';
  return `dpo, loss ${loss}, beta ${beta}${smoothing}`;
}

function describeSampling({ completions, completionLength }: Sampling): string {
  return `${completions} completions of a prompt, of up to ${completionLength} tokens; the time is without them`;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  const hours = seconds / 3600;
  return `${hours < 10 ? hours.toFixed(1) : Math.round(hours).toLocaleString('en-US')} h`;
}

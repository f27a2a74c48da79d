// Evaluates the adapter of a run. The adapter's file is read back, so the evaluation measures exactly what will be served.
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { assert } from '../../src/common/assert.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import type { GateSettings } from '../../src/contracts/training-messages.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import { fromStored } from '../adapter/peft-file.ts';
import { evaluateAdapter } from '../evaluation/card.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import { highestRewardOf } from '../rewards.ts';
import type { Parameter, ProbedModel } from '../types.ts';
import type { RunState } from './checkpoint.ts';
import { isHighest, isSolved, type RewardGoal, rewardGoal } from './curve-warnings.ts';
import type { Validation } from './metrics.ts';
import type { RunFolder } from './run-folder.ts';

/** The run to evaluate. */
interface EvaluateOptions {
  /** The evaluation loads the adapter from the run folder into it. */
  readonly model: ProbedModel;
  readonly artifact: Artifact;
  readonly folder: RunFolder;
  readonly state: RunState;
  readonly gate: GateSettings | false;
}

/** Returns the evaluation card of the run's adapter, measured in the arithmetic of the run. */
export async function evaluateRun(
  { adapter, job, settings, train, validation, modelText, preference, sampling }: PreparedRun,
  { model, artifact, folder, state, gate }: EvaluateOptions,
): Promise<EvaluationCard> {
  await readBack(folder.adapterDir, model.parameters);
  const isRewarded = sampling !== undefined; // its rows have no outputs to measure
  const known = knownValidation(state, folder);
  const goal = goalOf({ job, settings });
  const { eval_reward: reward } = known?.adapter ?? {};
  const card = await evaluateAdapter(
    {
      model,
      modelText,
      maxPositions: artifact.config.maxPositions,
      batchSize: settings.order.batchSize,
      validation: isRewarded ? undefined : validation,
      examples: isRewarded ? [] : (validation ?? train).examples,
      invocation: adapter!.lora.invocation,
      classifies: adapter!.lora.classes !== undefined,
      preference,
      known,
      isSolved: isSolved(folder.metrics, goal) && isHighest(reward ?? goal!.highest, goal!.highest),
    },
    gate || {},
  );
  return { ...card, compute: job.compute };
}

async function readBack(dir: string, parameters: readonly Parameter[]): Promise<void> {
  const { weightsBytes } = await readAdapterFiles(dir);
  const { tensors } = parseSafetensors(weightsBytes, ADAPTER_LIMITS);
  for (const parameter of parameters) {
    const tensor = tensors.get(parameter.name);
    assert(tensor, `the run's adapter has no ${parameter.name}`);
    fromStored(parameter, tensor);
  }
}

/** Returns the losses that the run already measured for the kept adapter, if any. */
function knownValidation(
  { base, best }: RunState,
  { metrics }: RunFolder,
): { base: Validation; adapter: Validation } | undefined {
  const row = metrics.find(({ step }) => step === best?.step);
  if (!base?.validation || row?.validationLoss === undefined) return undefined;
  return { base: base.validation, adapter: { ...row, validationLoss: row.validationLoss } };
}

/** Returns the reward that a run can reach at most; undefined if its rewards have no bound, or if it has none. */
export function goalOf({
  job,
  settings,
}: Pick<PreparedRun, 'job' | 'settings'>): RewardGoal | undefined {
  const highest = highestRewardOf(job);
  const { stepsPerEpoch, order } = settings;
  return highest === undefined ? undefined : rewardGoal(highest, { stepsPerEpoch, ...order });
}

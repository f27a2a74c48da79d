// Evaluates the adapter of a run. It reads the adapter's file back, and so measures exactly what will be served.
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { assert } from '../../src/common/assert.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import type { GateSettings } from '../../src/contracts/training-messages.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import { fromStored } from '../adapter/stored.ts';
import { evaluateAdapter } from '../evaluation/card.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import type { Parameter, ProbedModel } from '../types.ts';
import type { RunState } from './checkpoint.ts';
import type { Validation } from './metrics.ts';
import type { RunFolder } from './run-folder.ts';

/** A run that has ended its training. */
export interface EvaluateRunOptions {
  /** The model after the last step. Afterwards it holds the adapter from the run folder. */
  readonly model: ProbedModel;
  readonly artifact: Artifact;
  readonly folder: RunFolder;
  readonly state: RunState;
  readonly gate: GateSettings | false;
}

/** Returns the evaluation card of the run's adapter, measured in the arithmetic of the run. */
export async function evaluateRun(
  { adapter, job, settings, train, validation, language }: PreparedRun,
  { model, artifact, folder, state, gate }: EvaluateRunOptions,
): Promise<EvaluationCard> {
  await readBack(folder.adapterDir, model.parameters);
  const card = await evaluateAdapter(
    {
      model,
      language,
      maxPositions: artifact.config.maxPositions,
      batchSize: settings.order.batchSize,
      validation,
      examples: (validation ?? train).examples,
      invocation: adapter!.lora.invocation,
      classifies: adapter!.lora.classes !== undefined,
      known: knownValidation(state, folder),
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

/** Returns the losses that the run has measured for the adapter that it kept, if it has. */
function knownValidation(
  { base, best }: RunState,
  { metrics }: RunFolder,
): { base: Validation; adapter: Validation } | undefined {
  const row = metrics.find(({ step }) => step === best?.step);
  if (!base?.validation || row?.validationLoss === undefined) return undefined;
  const { validationLoss, validationTokenAccuracy = 0 } = row;
  return { base: base.validation, adapter: { validationLoss, validationTokenAccuracy } };
}

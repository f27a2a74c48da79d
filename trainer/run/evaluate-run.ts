// The evaluation card of what a run has left in its folder: the adapter's file is read back, so that it is measured as it
// will be served.
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { assert } from '../../src/common/assert.ts';
import { toFloat32 } from '../../src/common/tensor.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import type { GateSettings } from '../../src/contracts/training.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import { evaluateAdapter } from '../evaluation/card.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import type { Parameter, ProbedModel } from '../types.ts';
import type { RunState } from './checkpoint.ts';
import type { Validation } from './metrics.ts';
import type { RunFolder } from './run-folder.ts';

export interface EvaluateRunOptions {
  /** As the last step left it; afterwards it holds the adapter of the folder. */
  readonly model: ProbedModel;
  readonly artifact: Artifact;
  readonly folder: RunFolder;
  readonly state: RunState;
  readonly gate: GateSettings | false;
}

export async function evaluateRun(
  { adapter, settings, train, validation, language }: PreparedRun,
  { model, artifact, folder, state, gate }: EvaluateRunOptions,
): Promise<EvaluationCard> {
  await readBack(folder.adapterDir, model.parameters);
  return evaluateAdapter(
    {
      model,
      modules: adapter!.lora.modules,
      language,
      maxPositions: artifact.config.maxPositions,
      batchSize: settings.order.batchSize,
      validation,
      examples: (validation ?? train).examples,
      known: knownValidation(state, folder),
    },
    gate || {},
  );
}

async function readBack(dir: string, parameters: readonly Parameter[]): Promise<void> {
  const { weightsBytes } = await readAdapterFiles(dir);
  const { tensors } = parseSafetensors(weightsBytes, ADAPTER_LIMITS);
  for (const { name, data } of parameters) {
    const tensor = tensors.get(name);
    assert(tensor, `the run's adapter has no ${name}`);
    data.set(toFloat32(tensor));
  }
}

/** What the run's own validations have measured of the adapter that it kept. */
function knownValidation(
  { base, best }: RunState,
  { metrics }: RunFolder,
): { base: Validation; adapter: Validation } | undefined {
  const row = metrics.find(({ step }) => step === best?.step);
  if (!base?.validation || row?.validationLoss === undefined) return undefined;
  const { validationLoss, validationTokenAccuracy = 0 } = row;
  return { base: base.validation, adapter: { validationLoss, validationTokenAccuracy } };
}

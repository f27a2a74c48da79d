// The job settings that train the embedding, the output head and norms: their PEFT fields, which of them exclude each other,
// and the weights that they train whole.
import {
  type AdapterConfig,
  EMBEDDING,
  HEAD,
  moduleOf,
  tensorName,
} from '../../adapters/peft/tensor-names.ts';
import { ConfigError } from '../../src/common/errors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { normVectors } from '../../src/model/serving-weights.ts';
import type { TrainJob } from './job.ts';

/** The fields of PEFT's configuration. */
export interface WholeModuleFields {
  modules_to_save: readonly string[] | null;
  ensure_weight_tying: boolean;
}

/** Job key → the table's module. */
const TABLES = { trainEmbeddings: EMBEDDING, trainHead: HEAD } as const;
type TableKey = keyof typeof TABLES;
const TABLE_KEYS = Object.keys(TABLES) as TableKey[];

/** Returns the modules of the tables that a job trains this way. */
export function tablesOf(job: TrainJob, how: 'lora' | 'full'): string[] {
  return TABLE_KEYS.filter((key) => job[key] === how).map((key) => TABLES[key]);
}

/** Returns a job's fields for PEFT's configuration. */
export function wholeModuleFields(job: TrainJob): WholeModuleFields {
  const saved = [...(job.modulesToSave ?? []), ...tablesOf(job, 'full')];
  return {
    modules_to_save: saved.length > 0 ? saved : null,
    ensure_weight_tying: job.ensureWeightTying ?? false,
  };
}

/** Checks that the base has the modules that a job trains. @throws ConfigError naming the job's key */
export function refuseForeignModules(
  job: TrainJob,
  model: DecoderConfig,
  classes: readonly string[] | undefined,
): void {
  const faults: string[] = [];
  const changesHead = job.trainHead ? 'trainHead' : job.ensureWeightTying && 'ensureWeightTying';
  if (job.ensureWeightTying && !model.tiedEmbeddings) {
    faults.push('ensureWeightTying: the base does not tie its head to the embedding');
  }
  if (changesHead && model.logitsSoftcap) {
    faults.push(`${changesHead}: ${model.family} caps its logits, so its head cannot be trained`);
  }
  if (changesHead && classes) {
    faults.push(
      `${changesHead}: does not apply, because the rows have labels: a classifier has a different head`,
    );
  }
  for (const [i, name] of (job.modulesToSave ?? []).entries()) {
    if (normVectors(model).some((norm) => moduleOf(norm.name).endsWith(name))) continue;
    const example = moduleOf(normVectors(model)[0]!.name);
    faults.push(
      `modulesToSave[${i}]: no norm of the model ends in ${JSON.stringify(name)}; one is ${example}. Embedding and head have separate settings: trainEmbeddings, trainHead.`,
    );
  }
  if (faults.length > 0) throw new ConfigError(faults);
}

/** Returns the norms and tables that an adapter trains whole: name in the checkpoint → name in PEFT's file. */
export function wholeModules(
  { isSaved }: AdapterConfig,
  model: DecoderConfig,
): Map<string, string> {
  const modules = [EMBEDDING, HEAD, ...normVectors(model).map(({ name }) => moduleOf(name))];
  return new Map(
    modules.filter(isSaved).map((module) => [`${module}.weight`, tensorName(module, 'whole')]),
  );
}

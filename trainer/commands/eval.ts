// `lorikeet eval`: makes the evaluation card of any adapter, measured as at the end of a run.
import type { AdapterFiles } from '../../adapters/peft/files.ts';
import { ConfigError } from '../../src/common/errors.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { cardRows, formatRows } from '../../src/contracts/evaluation-card.ts';
import type { EvalRequest } from '../../src/contracts/training-messages.ts';
import { type Artifact, readArtifact } from '../../src/import/artifact.ts';
import { createRowEncoder, type Language, readLanguage } from '../data/encode-row.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { loadValidation } from '../data/load-rows.ts';
import { evaluateAdapter } from '../evaluation/card.ts';
import { openAdapter } from '../job/adapter-plan.ts';
import { MAX_DEFAULT_LENGTH } from '../job/run-settings.ts';
import { createTrainModel } from '../model.ts';

/** The files of an adapter. */
export interface NamedAdapterFiles {
  /** The adapter's name in messages. */
  readonly label: string;
  readonly files: AdapterFiles;
  /** The digest of the base that it was made for, if it is known. */
  readonly baseDigest: string | undefined;
}

/** Finds the files that a request names. */
export interface EvalSources {
  /** Resolves with a model's folder. */
  findModel(requested: string | undefined): Promise<string>;
  readAdapter(): Promise<NamedAdapterFiles>;
}

/** An evaluation card, as data and as text. */
export interface Evaluation {
  readonly card: EvaluationCard;
  readonly text: string;
}

const BATCH_SIZE = 8;

/** Evaluates an adapter. @throws ServeError for a bad adapter, ConfigError or DatasetError for a wrong base or bad rows */
export async function evaluateRequest(
  request: EvalRequest,
  sources: EvalSources,
): Promise<Evaluation> {
  const adapter = await sources.readAdapter();
  const artifact = readArtifact(await sources.findModel(request.model));
  try {
    refuseOtherBase(adapter, artifact);
    const language = await readLanguage(artifact.dir);
    const rows = await loadHeldOut(request.data, artifact, language);
    const card = await measure(adapter.files, { artifact, language, rows, gate: request.gate });
    return { card, text: formatEvaluation(card, adapter, artifact) };
  } finally {
    artifact.tensors.close();
  }
}

function refuseOtherBase({ label, baseDigest }: NamedAdapterFiles, { info }: Artifact): void {
  if (baseDigest === undefined || baseDigest === info.digest) return;
  throw new ConfigError([
    `model: ${label} was made for the base ${baseDigest}, but ${info.name} is ${info.digest}`,
  ]);
}

function loadHeldOut(
  file: string | undefined,
  { config }: Artifact,
  language: Language | undefined,
): Promise<Dataset> | undefined {
  if (file === undefined) return undefined;
  const encode = createRowEncoder({ ...language, vocabSize: config.vocabSize });
  const maxLength = Math.min(MAX_DEFAULT_LENGTH, config.maxPositions);
  return loadValidation(file, { encode, maxLength });
}

interface CardInputs extends Pick<EvalRequest, 'gate'> {
  readonly artifact: Artifact;
  readonly language: Language | undefined;
  readonly rows: Dataset | undefined;
}

async function measure(
  files: AdapterFiles,
  { artifact, language, rows, gate }: CardInputs,
): Promise<EvaluationCard> {
  const adapter = await openAdapter(files, artifact.config);
  const compute = 'float32';
  const model = createTrainModel(artifact, {
    method: artifact.info.quantization === 'nf4' ? 'qlora' : 'lora',
    adapter,
    dropout: 0,
    compute,
    recompute: true,
    blocksPerSegment: 1,
    threads: undefined,
    seed: 0,
  });
  try {
    const { modules } = adapter;
    const { maxPositions } = artifact.config;
    const tried = { validation: rows, examples: rows?.examples ?? [], batchSize: BATCH_SIZE };
    const subject = { model, modules, language, maxPositions, ...tried };
    return { ...(await evaluateAdapter(subject, gate)), compute };
  } finally {
    await model.release();
  }
}

function formatEvaluation(
  card: EvaluationCard,
  { label }: NamedAdapterFiles,
  { info }: Artifact,
): string {
  return formatRows([['adapter', label], ['base', info.name], ...cardRows(card)]);
}

// `lorikeet eval`: makes the evaluation card of any adapter, with the measurements of a run's end.
import type { AdapterFiles } from '../../adapters/peft/files.ts';
import { ConfigError } from '../../src/common/errors.ts';
import type { AddedTokens } from '../../src/contracts/added-tokens.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { cardRows, formatRows } from '../../src/contracts/evaluation-card.ts';
import type { Constraint } from '../../src/contracts/generation.ts';
import type { FunctionTool } from '../../src/contracts/tools.ts';
import type { EvalRequest } from '../../src/contracts/training-messages.ts';
import { type Artifact, readArtifact } from '../../src/import/artifact.ts';
import type { TrainingRow } from '../../src/rows/row-schema.ts';
import {
  adaptModelText,
  createRowEncoder,
  type ModelText,
  readModelText,
} from '../data/encode-row.ts';
import { learnFromInvocation } from '../data/invocation.ts';
import { namedClasses } from '../data/labels.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { loadValidation } from '../data/load-rows.ts';
import { toQuestion } from '../data/questions.ts';
import { type AnswerModel, measureAnswers } from '../evaluation/answers.ts';
import { evaluateAdapter } from '../evaluation/card.ts';
import { SAFETY_GATES } from '../evaluation/gates.ts';
import { preferenceOf } from '../evaluation/pairs.ts';
import { openAdapter } from '../job/adapter-plan.ts';
import { MAX_DEFAULT_LENGTH } from '../job/resolve-settings.ts';
import { createTrainModel } from '../model.ts';
import type { Phases } from '../run/phases.ts';
import type { LoraSettings } from '../types.ts';

/** An adapter's files, and the facts from its manifest that an evaluation needs. */
export interface NamedAdapterFiles {
  /** The adapter's name in messages. */
  readonly label: string;
  readonly files: AdapterFiles;
  /** The digest of the base it was trained on, if known. */
  readonly baseDigest: string | undefined;
  /** The format of its answers. */
  readonly format?: Constraint | undefined;
  /** The tools for rows without tools. */
  readonly tools?: readonly FunctionTool[] | undefined;
  /** The tokens of its tokenizer, possibly including the base's. */
  readonly addedTokens?: AddedTokens | undefined;
}

/** Finds the files that a request names. */
interface EvalSources {
  /** Resolves with a model's folder. */
  findModel(requested: string | undefined): Promise<string>;
  readAdapter(): Promise<NamedAdapterFiles>;
  readonly phases: Phases;
  /** Starts a server's engine with the adapter, and releases it after the work. */
  withAnswers<T>(served: ServedAdapter, work: (model: AnswerModel) => Promise<T>): Promise<T>;
}

/** The adapter and base that an engine is started with. */
export interface ServedAdapter {
  /** The folder of its base. */
  readonly modelDir: string;
  readonly files: AdapterFiles;
  /** Its tokens that the base lacks. */
  readonly addedTokens: AddedTokens | undefined;
}

const BATCH_SIZE = 8;
/**
 * The most questions to ask; the first ones of the file. With 200, the share of correct answers is known to within 3 percentage
 * points.
 */
const MAX_QUESTIONS = 200;

/** Evaluates an adapter. @throws ServeError for a bad adapter, ConfigError or DatasetError for a wrong base or bad rows */
export async function evaluateRequest(
  request: EvalRequest,
  sources: EvalSources,
): Promise<{ readonly card: EvaluationCard; readonly text: string }> {
  const adapter = await sources.readAdapter();
  const artifact = readArtifact(await sources.findModel(request.model));
  try {
    refuseOtherBase(adapter, artifact);
    const own = await readModelText(artifact.dir, request.toolFormat);
    const modelText = own && adaptModelText(own, adapter.addedTokens, artifact.config.vocabSize);
    const lora = await openAdapter(adapter.files, artifact);
    const { phases } = sources;
    const base = { artifact, modelText, phases };
    const validation = await loadValidationRows(request.data, lora, base);
    const rows = validation?.rows ?? [];
    const questions = modelText
      ? rows.flatMap((row) => toQuestion(row, { ...adapter, modelText }) ?? [])
      : [];
    const measured = await measure(lora, validation?.dataset, { ...base, gate: request.gate });
    // An adapter that the server would refuse cannot answer.
    const isServable = measured.gates.every(
      ({ gate, passed }) => passed || !SAFETY_GATES.has(gate),
    );
    const served = { ...adapter, modelDir: artifact.dir, addedTokens: modelText?.addedTokens };
    const isAsked = questions.length > 0 && isServable;
    if (isAsked) phases.begin('answer');
    const answers = isAsked
      ? await sources.withAnswers(served, (model) => measureAnswers(questions, model))
      : {};
    const card = { ...measured, ...answers };
    const names = [['adapter', adapter.label] as const, ['base', artifact.info.name] as const];
    return { card, text: formatRows([...names, ...cardRows(card)]) };
  } finally {
    artifact.tensors.close();
  }
}

function refuseOtherBase({ label, baseDigest }: NamedAdapterFiles, { info }: Artifact): void {
  if (baseDigest === undefined || baseDigest === info.digest) return;
  throw new ConfigError(
    `model: ${label} was trained on the base with the digest ${baseDigest.slice(0, 12)}, but ${info.name} has ${info.digest.slice(0, 12)}. Name the base of the adapter.`,
  );
}

interface EvaluatedBase {
  readonly artifact: Artifact;
  readonly modelText: ModelText | undefined;
  readonly phases: Phases;
}

async function loadValidationRows(
  file: string | undefined,
  lora: LoraSettings,
  { artifact: { config }, modelText }: Omit<EvaluatedBase, 'phases'>,
): Promise<{ dataset: Dataset; rows: readonly TrainingRow[] } | undefined> {
  if (file === undefined) return undefined;
  const classes = lora.classes && namedClasses(lora.classes);
  const { vocabSize } = config;
  const encodeWhole = createRowEncoder({ ...modelText, vocabSize, classes });
  const encode = learnFromInvocation(encodeWhole, lora.invocation);
  const rows: TrainingRow[] = [];
  const encodeAndKeep = (row: TrainingRow) => {
    if (rows.length < MAX_QUESTIONS) rows.push(row);
    return encode(row);
  };
  const maxLength = Math.min(MAX_DEFAULT_LENGTH, config.maxPositions);
  return { dataset: await loadValidation(file, { encode: encodeAndKeep, maxLength }), rows };
}

async function measure(
  adapter: LoraSettings,
  validation: Dataset | undefined,
  { artifact, modelText, phases, gate }: EvaluatedBase & Pick<EvalRequest, 'gate'>,
): Promise<EvaluationCard> {
  const compute = 'float32';
  const trained = createTrainModel(artifact, {
    method: artifact.info.quantization === 'nf4' ? 'qlora' : 'lora',
    adapter,
    dropout: 0,
    compute,
    recompute: true,
    blocksPerSegment: 1,
    threads: undefined,
    seed: 0,
    onRead: phases.counter('load base'),
    onSegment: phases.withinBatch,
  });
  const model = phases.watch(trained);
  phases.begin('evaluate');
  try {
    const { maxPositions } = artifact.config;
    const { invocation, classes } = adapter;
    const rows = { validation, examples: validation?.examples ?? [], batchSize: BATCH_SIZE };
    const preference = validation && preferenceOf(validation);
    const kind = { invocation, classifies: classes !== undefined, preference };
    const subject = { model, modelText, maxPositions, ...kind, ...rows };
    return { ...(await evaluateAdapter(subject, gate)), compute };
  } finally {
    await model.release();
  }
}

// Whole runs on the toy base, with all that they tell.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { AdapterFiles } from '../../adapters/peft/files.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import type { GateSettings, TrainerMessage } from '../../src/contracts/training-messages.ts';
import { type Artifact, readArtifact } from '../../src/import/artifact.ts';
import { evaluateRequest, type NamedAdapterFiles } from '../../trainer/commands/eval.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { prepareRun } from '../../trainer/job/prepare-run.ts';
import { executeRun } from '../../trainer/run/execute-run.ts';
import { Phases } from '../../trainer/run/phases.ts';
import type { FinishedAdapter } from '../../trainer/run/publish-result.ts';
import { createRunFolder, openRunFolder } from '../../trainer/run/run-folder.ts';
import { temporaryFolder } from '../fixtures.ts';

export const TOY = path.resolve('models/toy');

export function openToy(t: TestContext): Artifact {
  const artifact = readArtifact(TOY);
  t.after(() => artifact.tensors.close());
  return artifact;
}

/** A JSONL file of these rows. */
export function writeRows(t: TestContext, rows: readonly object[]): string {
  const file = path.join(temporaryFolder(t), 'rows.jsonl');
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file;
}

export const turns = (question: string, answer: string) => ({
  messages: [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ],
});

/** Questions that all have this answer. */
export const questions = (count: number, answer: string, from = 0) =>
  Array.from({ length: count }, (_, i) => turns(`What is ${from + i}?`, answer));

export interface ToyRun {
  readonly dir: string;
  readonly messages: readonly TrainerMessage[];
  readonly published: readonly FinishedAdapter[];
  /** What the run was rejected with. */
  readonly error: unknown;
}

export interface ToyRunOptions {
  readonly gate?: GateSettings | false;
  /** Default: a new one. A run in it is gone on with. */
  readonly dir?: string;
  /** Throws as SIGKILL ends: after this step was told. */
  readonly killAfter?: number;
}

/** Quick settings that learn a short answer by heart. */
const QUICK = { model: TOY, rank: 4, batchSize: 8, epochs: 4, learningRate: 1e-2, threads: 1 };

export async function runToy(
  t: TestContext,
  settings: Record<string, unknown>,
  { gate = {}, dir = path.join(temporaryFolder(t), 'run'), killAfter }: ToyRunOptions = {},
): Promise<ToyRun> {
  const artifact = openToy(t);
  const job = parseJob({ ...QUICK, ...settings });
  const prepared = await prepareRun(job, artifact);
  const folder = await createRunFolder(dir, prepared.job).catch(
    async () => (await openRunFolder(dir)).folder,
  );
  const messages: TrainerMessage[] = [];
  const published: FinishedAdapter[] = [];
  const send = (message: TrainerMessage) => {
    messages.push(message);
    if (message.type === 'step' && message.step === killAfter) throw new Error('killed');
  };
  const publish = async (adapter: FinishedAdapter) => {
    published.push(adapter);
    return 'published';
  };
  let error: unknown;
  try {
    const { signal } = new AbortController();
    const publisher = { serveFlag: '', publish };
    await executeRun(prepared, { artifact, folder, signal, gate, publisher, send });
  } catch (thrown) {
    error = thrown;
  } finally {
    await folder.close();
  }
  return { dir, messages, published, error };
}

/** The card that a run has sent. */
export function cardOf({ messages }: ToyRun): EvaluationCard {
  const found = messages.flatMap((message) => (message.type === 'card' ? message.card : []));
  assert.equal(found.length, 1);
  return found[0]!;
}

/** The gates that refuse an adapter. */
export const refusing = ({ gates }: EvaluationCard) =>
  gates.flatMap(({ gate, passed }) => (passed ? [] : gate));

export const stepsOf = ({ messages }: ToyRun) =>
  messages.flatMap((message) => (message.type === 'step' ? message : []));

/** The adapter of a run, to be compared. */
export const adapterBytesOf = ({ dir }: ToyRun) =>
  readFileSync(path.join(dir, 'adapter/adapter_model.safetensors')).toString('hex');

export interface Evaluated extends Partial<Omit<NamedAdapterFiles, 'files'>> {
  /** Rows. */
  readonly data?: string;
  readonly gate?: GateSettings;
  readonly withAnswers?: Parameters<typeof evaluateRequest>[1]['withAnswers'];
}

/** Evaluates an adapter's files on the toy base, as `lorikeet eval` does. */
export function evaluateFiles(
  files: AdapterFiles,
  { data, gate = {}, withAnswers, ...facts }: Evaluated = {},
) {
  return evaluateRequest(
    {
      ...{ adapter: 'it', model: TOY, tenant: 'local', store: undefined, isJson: false },
      ...{ data, gate, responseFormatFile: undefined, toolFormat: undefined },
    },
    {
      findModel: async (requested) => requested!,
      readAdapter: async () => ({ label: 'it', files, baseDigest: undefined, ...facts }),
      phases: new Phases(() => {}),
      withAnswers: withAnswers ?? (() => assert.fail('nothing is to be answered')),
    },
  );
}

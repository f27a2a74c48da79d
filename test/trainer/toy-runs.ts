// Whole runs on the toy base, with all that they tell.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { GateSettings, TrainerMessage } from '../../src/contracts/training-messages.ts';
import { type Artifact, readArtifact } from '../../src/import/artifact.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { prepareRun } from '../../trainer/job/prepare-run.ts';
import { executeRun } from '../../trainer/run/execute-run.ts';
import type { FinishedAdapter } from '../../trainer/run/result-files.ts';
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

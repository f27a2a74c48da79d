// Runs of the command on the real base whose numbers docs/preferences-and-rewards.md shows. They take minutes to an hour.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import type { EngineClient } from '../../src/engine-client/client.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { succeed } from './program.ts';
import { readLines } from './rows.ts';
import { adapterIn, fetchBase, isLong, preparedHome, serve } from './served.ts';

const data = sharedPath('data');
const base = isLong ? await fetchBase() : { reason: 'LORIKEET_E2E_LONG is not set' };

/** False, or why the runs cannot be repeated. */
export const skip = 'reason' in base ? base.reason : skipUnless(data);
/** The folder of the base. */
export const baseDir = 'dir' in base ? base.dir : '';

/** A path in the shared data. */
export const dataPath = (name: string) => path.join(data!, name);

/** A row of a chat file. */
export interface ChatRow {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}

/** Reads a chat file of the shared data. */
export function chatRows(name: string): ChatRow[] {
  return readLines(dataPath(name)) as unknown as ChatRow[];
}

/** Returns the messages before the answer. */
export const promptOf = ({ messages }: ChatRow) => messages.slice(0, -1);
/** Returns the answer. */
export const answerOf = ({ messages }: ChatRow) => messages.at(-1)!;

/** Writes a JSONL file. Returns its path. */
export function writeLines(file: string, rows: readonly object[]): string {
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file;
}

/** Trains in int8 on one thread, and reports time and memory. Returns the adapter. */
export async function trainRecorded(
  t: TestContext,
  out: string,
  args: readonly string[],
): Promise<AdapterSource> {
  const common = ['--model', baseDir, '--out', out, '--compute', 'int8', '--threads', '1'];
  const startMs = performance.now();
  const home = await preparedHome(baseDir, t);
  await succeed(['train', ...common, ...args], home);
  const minutes = ((performance.now() - startMs) / 60_000).toFixed(1);
  const ended = readLines(path.join(out, 'events.jsonl')).at(-1)!;
  const { peakBytes } = ended['data'] as { peakBytes: number };
  t.diagnostic(`${path.basename(out)}: ${minutes} minutes, ${(peakBytes / 1e9).toFixed(1)} GB`);
  return adapterIn(path.join(out, 'adapter'));
}

/** Measures the base and then adapters, as served in int8. Reports a table with a column for each. */
export async function compare<Names extends string>(
  t: TestContext,
  adapters: Readonly<Record<Names, AdapterSource>>,
  measure: (client: EngineClient, adapter: AdapterSource | undefined) => Promise<Scores>,
): Promise<Readonly<Record<Names | 'base', Scores>>> {
  const client = await serve(t, baseDir, 'int8');
  const measured: Record<string, Scores> = {};
  for (const [name, adapter] of [['base', undefined] as const, ...entriesOf(adapters)]) {
    measured[name] = await measure(client, adapter);
  }
  t.diagnostic(`| | ${Object.keys(measured).join(' | ')} |`);
  for (const score of Object.keys(measured['base']!)) {
    const values = Object.values(measured).map((scores) => scores[score]!.toFixed(3));
    t.diagnostic(`| ${score} | ${values.join(' | ')} |`);
  }
  return measured as Readonly<Record<Names | 'base', Scores>>;
}

/** Figures by their names. */
export type Scores = Readonly<Record<string, number>>;

const entriesOf = <T>(values: Readonly<Record<string, T>>) => Object.entries(values);

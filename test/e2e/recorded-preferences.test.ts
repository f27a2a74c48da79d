// Preferences on the real base: zen answers preferred over childish ones to the same questions.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import type { EngineClient } from '../../src/engine-client/client.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { temporaryFolder } from '../fixtures.ts';
import {
  answerOf,
  baseDir,
  type ChatRow,
  chatRows,
  compare,
  dataPath,
  promptOf,
  type Scores,
  skip,
  trainRecorded,
  writeLines,
} from './recorded-run.ts';
import { greedyAnswers, type HeldOut, heldOut, score } from './served.ts';

/** Half of the pairs have a longer output. They would take two thirds of the time. */
const MAX_CHARACTERS = 300;
const PAIRS = 128;
/** Of the neutral text. */
const [WINDOWS, WINDOW] = [8, 512];
/** Nearly every childish answer has an exclamation mark or a picture, and hardly any zen one. */
const EXCITED = /!|\p{Extended_Pictographic}/u;

interface Styles {
  readonly zen: ChatRow;
  readonly childish: ChatRow;
}

/** Returns the answers in both styles to the same prompts. */
function styledRows(split: string): Styles[] {
  const keyOf = (row: ChatRow) => JSON.stringify(promptOf(row));
  const others = new Map(chatRows(`moods/childish/${split}.jsonl`).map((row) => [keyOf(row), row]));
  return chatRows(`moods/zen/${split}.jsonl`).flatMap((zen) => {
    const childish = others.get(keyOf(zen));
    return childish ? { zen, childish } : [];
  });
}

const toPair = ({ zen, childish }: Styles) => ({
  input: { messages: promptOf(zen) },
  preferred_output: [answerOf(zen)],
  non_preferred_output: [answerOf(childish)],
});

const isShort = ({ zen, childish }: Styles) =>
  [zen, childish].every((row) => answerOf(row).content.length <= MAX_CHARACTERS);

test('zen is preferred over childish on held-out prompts', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const write = (name: string, rows: readonly object[]) =>
    writeLines(path.join(folder, `${name}.jsonl`), rows);
  const pairs = styledRows('train').filter(isShort).slice(0, PAIRS);
  const data = write('pairs', pairs.map(toPair));
  const args = ['--objective', 'dpo', '--data', data, '--epochs', '1'];
  const adapters = {
    slow: await trainRecorded(t, path.join(folder, 'slow'), args),
    fast: await trainRecorded(t, path.join(folder, 'fast'), [...args, '--learning-rate', '2e-4']),
  };

  const tested = styledRows('test');
  const rowsOf = (style: keyof Styles) => {
    const file = write(
      style,
      tested.map((styles) => styles[style]),
    );
    return heldOut(baseDir, file, tested.length);
  };
  const rows = { zen: await rowsOf('zen'), childish: await rowsOf('childish') };
  const windows = await neutralWindows();
  const reference: Sums[] = [];
  const scores = await compare(t, adapters, async (client, adapter) => {
    const sums = await pairSums(client, adapter, rows);
    if (!adapter) reference.push(...sums);
    return {
      ...pairScores(sums, reference),
      'neutral NLL': await textNll(client, adapter, windows),
      'excited answers': await excitement(client, adapter, rows.zen),
    };
  });
  for (const tuned of [scores.slow, scores.fast]) {
    assert.ok(tuned['accuracy']! >= 0.9);
    assert.ok(tuned['neutral NLL']! - scores.base['neutral NLL']! < 0.1);
    assert.ok(tuned['zen NLL']! < scores.base['zen NLL']!);
  }
});

/** The log-probability of both answers to a prompt, summed over their tokens. */
type Sums = Readonly<Record<keyof Styles, { readonly sum: number; readonly count: number }>>;

async function pairSums(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  rows: Readonly<Record<keyof Styles, readonly HeldOut[]>>,
): Promise<Sums[]> {
  const sumOf = async ({ promptIds, answerIds }: HeldOut) => {
    const ids = [...promptIds, ...answerIds];
    const logProbs = await score(client, adapter, ids, promptIds.length);
    return { sum: total(logProbs), count: logProbs.length };
  };
  return Promise.all(
    rows.zen.map(async (row, i) => ({
      zen: await sumOf(row),
      childish: await sumOf(rows.childish[i]!),
    })),
  );
}

/** Accuracy as TRL defines it, and the share of pairs whose zen answer is the likelier one per token. */
function pairScores(sums: readonly Sums[], reference: readonly Sums[]): Scores {
  const rise = (i: number, style: keyof Styles) => sums[i]![style].sum - reference[i]![style].sum;
  const perToken = ({ sum, count }: Sums['zen']) => sum / count;
  const share = (isRight: (i: number) => boolean) =>
    sums.filter((_, i) => isRight(i)).length / sums.length;
  const nll = (style: keyof Styles) =>
    -total(sums.map((both) => both[style].sum)) / total(sums.map((both) => both[style].count));
  return {
    accuracy: share((i) => rise(i, 'zen') > rise(i, 'childish')),
    'zen likelier': share((i) => perToken(sums[i]!.zen) > perToken(sums[i]!.childish)),
    'zen NLL': nll('zen'),
    'childish NLL': nll('childish'),
  };
}

async function neutralWindows(): Promise<number[][]> {
  const tokenizer = (await loadTokenizer(baseDir))!;
  const text = readFileSync(dataPath('eval/moby-dick.txt'), 'utf8');
  const ids = tokenizer.encode(text.slice(0, 30_000), { specials: false });
  return Array.from({ length: WINDOWS }, (_, i) => ids.slice(i * WINDOW, (i + 1) * WINDOW));
}

async function textNll(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  windows: readonly number[][],
): Promise<number> {
  const scores = await Promise.all(windows.map((window) => score(client, adapter, window)));
  return -total(scores.flat()) / scores.flat().length;
}

/** The share of generated answers that sound excited. */
async function excitement(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  rows: readonly HeldOut[],
): Promise<number> {
  const answers = await greedyAnswers(client, adapter, { dir: baseDir, rows, maxTokens: 64 });
  return answers.filter((answer) => EXCITED.test(answer)).length / rows.length;
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

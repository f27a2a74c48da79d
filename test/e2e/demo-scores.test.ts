// What the demo adapters are worth: scores on held-out rows, next to the base's. The card of an adapter, written after
// scripts/demo-card.md, shows the same numbers.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import { sharedPath } from '../shared.ts';
import {
  adapterIn,
  answerNll,
  exactMatch,
  fetchBase,
  greedyAnswers,
  type HeldOut,
  heldOut,
  isLong,
  serve,
  slotF1,
} from './served.ts';

/** Other CPUs round differently: at most this much of a difference from the card. */
const TOLERANCE = 0.02;

type Scores = Readonly<Record<string, number>>;
type Measure = (answers: readonly string[], rows: readonly HeldOut[]) => Scores;

interface Demo {
  readonly name: string;
  /** Below the shared data. */
  readonly file: string;
  /** The scores of the greedy answers. Absent: answers are free texts, and only their likelihood is measured. */
  readonly measure?: Measure;
  /** More than a right answer has. */
  readonly maxTokens: number;
  readonly minimum: Scores;
}

const DEMOS: readonly Demo[] = [
  {
    name: 'intent',
    file: 'snips/test.jsonl',
    maxTokens: 128,
    measure: (answers, rows) => ({
      'exact match': exactMatch(answers, rows),
      'F1 of slots': slotF1(answers, rows),
    }),
    minimum: { 'exact match': 0.7, 'F1 of slots': 0.85 },
  },
  {
    name: 'wordnet',
    file: 'wordnet/test.jsonl',
    maxTokens: 8,
    measure: (answers, rows) => ({ 'exact match': exactMatch(answers, rows) }),
    minimum: { 'exact match': 0.9 },
  },
  { name: 'zen', file: 'moods/zen/test.jsonl', maxTokens: 0, minimum: {} },
];

const data = sharedPath('data');
const base = isLong ? await fetchBase() : { reason: 'LORIKEET_E2E_LONG is not set' };
const skip = 'reason' in base ? base.reason : !data && 'shared reference data is absent';

for (const { name, file, measure, maxTokens, minimum } of DEMOS) {
  test(`the demo adapter ${name} is as good as its card says`, { skip }, async (t) => {
    assert.ok('dir' in base);
    const { dir } = base;
    const client = await serve(t, dir, 'int8');
    // The demos are used without the system message of these rows.
    const rows = await heldOut(dir, path.join(data!, file), Number.POSITIVE_INFINITY, (messages) =>
      messages.filter(({ role }) => role !== 'system'),
    );
    const scoresOf = async (adapter: AdapterSource | undefined): Promise<Scores> => ({
      ...measure?.(await greedyAnswers(client, adapter, { dir, rows, maxTokens }), rows),
      NLL: await answerNll(client, adapter, rows),
    });
    const folder = path.resolve('models/demo', name);
    const before = await scoresOf(undefined);
    const after = await scoresOf(await adapterIn(folder));
    for (const [score, value] of Object.entries(after)) {
      t.diagnostic(`| ${score} | ${before[score]!.toFixed(3)} | ${value.toFixed(3)} |`);
    }
    for (const [score, least] of Object.entries(minimum)) {
      assert.ok(after[score]! >= least, `${score}: ${after[score]}, at least ${least}`);
    }
    assert.ok(after['NLL']! < before['NLL']!);
    const card = readFileSync(path.join(folder, 'README.md'), 'utf8');
    for (const score of Object.keys(after)) {
      const shown = new RegExp(`^\\| ${score} \\| (\\S+) \\| (\\S+) \\|$`, 'm').exec(card);
      assert.ok(Math.abs(Number(shown?.[1]) - before[score]!) <= TOLERANCE, `${score}, base`);
      assert.ok(Math.abs(Number(shown?.[2]) - after[score]!) <= TOLERANCE, `${score}, adapter`);
    }
  });
}

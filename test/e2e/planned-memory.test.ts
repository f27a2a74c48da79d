// The planner's memory against the peak that two steps of the real base take, in the forms that take it differently.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { skipUnlessLong, testUnless } from '../shared.ts';
import { succeed } from './program.ts';
import { readLines } from './rows.ts';
import { fetchBase } from './served.ts';

const base = await fetchBase();
const skip = skipUnlessLong || ('reason' in base ? base.reason : false);
const test = testUnless(skip);

/** Sixteen rows of ids of one length, all learned but the first `masked`. */
function writeIds(dir: string, length: number, masked: number): string {
  const random = seededRandom(length);
  const rows = Array.from({ length: 16 }, () => {
    const ids = Array.from({ length }, () => 100 + Math.floor(20_000 * (random() + 1)));
    const labels = ids.map((id, t) => (t < masked ? -100 : id));
    return JSON.stringify({ input_ids: ids, labels });
  });
  const file = path.join(dir, `rows-${length}.jsonl`);
  writeFileSync(file, rows.join('\n'));
  return file;
}

interface Case {
  readonly length: number;
  readonly validationLength?: number;
  readonly flags: readonly string[];
}

const CASES: Readonly<Record<string, Case>> = {
  'all tokens count': { length: 160, flags: [] },
  'validation rows far longer than what is trained': {
    length: 64,
    validationLength: 512,
    flags: [],
  },
  'five blocks in a graph': { length: 160, flags: ['--blocks-per-segment', '5'] },
  'both uses of the embedding are trained': {
    length: 160,
    flags: ['--train-embeddings', 'full', '--ensure-weight-tying'],
  },
  'an update of the head': { length: 160, flags: ['--train-head', 'lora'] },
  'nothing recomputed': { length: 160, flags: ['--recompute', 'false'] },
};

for (const [name, { length, validationLength, flags }] of Object.entries(CASES)) {
  test(`${name}: the peak is within a fifth of the plan`, async (t) => {
    const dir = temporaryFolder(t);
    const data = ['--data', writeIds(dir, length, 0)];
    if (validationLength) data.push('--validation', writeIds(dir, validationLength, 480));
    const model = ['--model', 'dir' in base ? base.dir : ''];
    const run = path.join(dir, 'run');
    const fixed = ['--shuffle', 'false', '--max-steps', '2', '--out', run];
    await succeed(['train', ...model, ...data, ...fixed, ...flags], dir);
    const events = readLines(path.join(run, 'events.jsonl'));
    const planned = (events[0]!['data'] as { memory: { total: number } }).memory.total;
    const { peakBytes } = events.at(-1)!['data'] as { peakBytes: number };
    t.diagnostic(`planned ${planned}, took ${peakBytes}: ${(planned / peakBytes).toFixed(3)}`);
    assert.ok(Math.abs(planned / peakBytes - 1) < 0.2, `planned ${planned}, took ${peakBytes}`);
  });
}

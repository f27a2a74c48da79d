// A trainer that the command line starts.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { runTrainer } from '../../src/compose/training.ts';
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import { writeRows } from '../e2e/rows.ts';
import { temporaryFolder } from '../fixtures.ts';

test('an interrupt from before the trainer is there pauses the run', async (t) => {
  const dir = temporaryFolder(t);
  const overrides = { model: path.resolve('models/toy'), data: writeRows(dir), epochs: 50 };
  const outDir = path.join(dir, 'run');
  const job = { file: undefined, overrides };
  const messages: TrainerMessage[] = [];
  await runTrainer(
    { command: 'train', job, outDir, adaptersDir: undefined },
    { signal: AbortSignal.abort(), onMessage: (message) => messages.push(message) },
  );
  const codes = messages.flatMap((one) => (one.type === 'event' ? [one.code] : []));
  assert.ok(codes.includes('paused'), JSON.stringify(codes));
});

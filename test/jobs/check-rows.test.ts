// The row check when a job is created: it leaves slow work to the job and does not block the event loop.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { systemClock } from '../../src/common/waiting.ts';
import { type RowCheckLimits, RowChecks } from '../../src/jobs/check-rows.ts';
import { openServer } from './simulated.ts';

const ROW = `${JSON.stringify({ prompt: 'which colour', completion: 'blue '.repeat(20) })}\n`;

async function checks(text: string, limits: Partial<RowCheckLimits> = {}) {
  const { files } = openServer(createMemoryStore());
  const source = Buffer.from(text);
  const facts = { filename: 'rows.jsonl', purpose: 'fine-tune' as const };
  const meta = await files.create('acme', { source, byteSize: source.length, ...facts });
  const check = new RowChecks({ files, clock: systemClock }, limits);
  return () => check.check('acme', meta, { param: 'training_file', objective: 'supervised' });
}

test('rows beyond the byte limit are left to the job, and so is the row at the limit', async () => {
  const check = await checks(`${ROW.repeat(2_000)}x\n`, { maxBytes: 100_000 });
  await check();
  const early = await checks(`x\n${ROW.repeat(2_000)}`, { maxBytes: 100_000 });
  await assert.rejects(early(), /rows\.jsonl \(file-\w+\) is invalid\. Line 1: is not JSON/);
});

test('rows that are not read in time are left to the job', async () => {
  await (await checks('x\n'.repeat(20), { timeMs: 0 }))();
});

test('checks of several large files do not block the event loop', async () => {
  const check = await checks(ROW.repeat(50_000), { timeMs: 500 });
  let isOver = false;
  let turns = 0;
  const others = (async () => {
    for (; !isOver; turns++) await setImmediate();
  })();
  await Promise.all([check(), check(), check()]);
  isOver = true;
  await others;
  assert.ok(turns > 8, `${turns} turns`);
});

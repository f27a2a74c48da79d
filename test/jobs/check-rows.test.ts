// The row check when a job is created: it leaves slow work to the job and does not block the event loop.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { systemClock } from '../../src/common/waiting.ts';
import type { Objective } from '../../src/contracts/preference-settings.ts';
import { type RowCheckLimits, RowChecks } from '../../src/jobs/check-rows.ts';
import type { DatasetParam } from '../../src/rows/file-fault.ts';
import { openServer } from './simulated.ts';

const ROW = `${JSON.stringify({ prompt: 'which colour', completion: 'blue '.repeat(20) })}\n`;

interface Use extends Partial<RowCheckLimits> {
  param?: DatasetParam;
  objective?: Objective;
}

async function checks(text: string, use: Use = {}) {
  const { param = 'training_file', objective = 'supervised', ...limits } = use;
  const { files } = openServer(createMemoryStore());
  const source = Buffer.from(text);
  const facts = { filename: 'rows.jsonl', purpose: 'fine-tune' as const };
  const meta = await files.create('acme', { source, byteSize: source.length, ...facts });
  const check = new RowChecks({ files, clock: systemClock }, { timeMs: 60_000, ...limits });
  return () => check.check('acme', meta, { param, objective });
}

const prompt = (role: string) => `${JSON.stringify({ messages: [{ role, content: 'a' }] })}\n`;

test('prompts end with the user, and a file has no more of them than at OpenAI', async () => {
  const use = { param: 'validation_file', objective: 'reinforcement' } as const;
  await (await checks(prompt('user').repeat(1_000), use))();
  const tooMany = await checks(prompt('user').repeat(1_001), use);
  await assert.rejects(tooMany(), {
    code: 'invalid_n_examples',
    param: 'validation_file',
    message: /has 1001 example\(s\), but must have at most 1000 examples/,
  });
  const ofSystem = await checks(prompt('user').repeat(9) + prompt('system'), use);
  await assert.rejects(ofSystem(), /Line 10: messages: must end with the user's message/);
});

test('rows beyond the byte limit are left to the job, and so is the row at the limit', async () => {
  const check = await checks(`${ROW.repeat(2_000)}x\n`, { maxBytes: 100_000 });
  await check();
  const early = await checks(`x\n${ROW.repeat(2_000)}`, { maxBytes: 100_000 });
  await assert.rejects(early(), /rows\.jsonl \(file-\w+\) is invalid\. Line 1: is not JSON/);
});

test('rows that are not read in time are left to the job', async () => {
  await (await checks('x\n'.repeat(20), { timeMs: 0 }))();
});

for (const [what, text] of [
  ['rows', ROW.repeat(50_000)],
  ['blank lines', ROW.repeat(10) + '\n'.repeat(2 ** 20)],
] as const) {
  test(`checks of several large files do not block the event loop: ${what}`, async () => {
    const check = await checks(text, { timeMs: 500 });
    let isOver = false;
    let turns = 0;
    const others = (async () => {
      for (; !isOver; turns++) await setImmediate();
    })();
    await Promise.all([check(), check(), check()]);
    isOver = true;
    await others;
    assert.ok(turns > 4, `${turns} turns`); // one per file, if each blocked
  });
}

// Short runs of the scenarios of load. Figures that are counts must be met: nothing hangs, breaks off or answers with a
// server error, every refusal says when to try again, texts are right. Times are only printed: `npm run load` measures them.
import assert from 'node:assert/strict';
import { after, type TestContext } from 'node:test';
import { openBench } from '../load/runner.ts';
import type { Scenario } from '../load/scenario.ts';
import { runDrain } from '../load/scenarios/drain.ts';
import { SCENARIOS, soakScenario } from '../load/scenarios.ts';
import { testUnless } from '../shared.ts';
import { prepareS3Server } from './s3-server.ts';

const skip = process.platform === 'linux' ? false : 'reads /proc';
const test = testUnless(skip);
const testWithS3 = testUnless(skip || (await prepareS3Server()));

const lines: string[] = [];
const bench = openBench({
  ...{ model: 'models/toy', weights: 'f32', seconds: 2 },
  tell: (line) => void lines.push(line),
});
after(() => bench.close());

async function runShort(t: TestContext, id: string, scenario: Scenario): Promise<void> {
  const { figures } = await bench.run(id, scenario);
  for (const line of lines.splice(0)) t.diagnostic(line);
  for (const { metric, unit, ours, target } of figures) {
    t.diagnostic(`${metric}: ${ours?.toFixed(1)} ${unit} (${target || 'no target'})`);
  }
  const missed = figures.filter(({ unit, isMet }) => unit === 'count' && isMet === false);
  assert.deepEqual(missed, []);
}

test('four tenants on all slots: streams and whole answers have the texts of prompts asked alone', (t) =>
  runShort(t, 'L1', SCENARIOS['L1']!));

test('T14: ten times the capacity: nothing hangs, and refusals say when to try again', (t) =>
  runShort(t, 'L2', SCENARIOS['L2']!));

testWithS3('T18: a hundred clients of one cold adapter: it is fetched once', (t) =>
  runShort(t, 'L5', SCENARIOS['L5']!),
);

test('T27, T28: invalid requests, clients that leave and slow readers cost no good answer', (t) =>
  runShort(t, 'L6', SCENARIOS['L6']!));

test('T33: a server that is stopped under load answers what it accepted', (t) =>
  runShort(t, 'L10', { title: 'restarts', run: runDrain(1) }));

testWithS3(
  'T19, T30: with a failing store and a killed engine no text is wrong and no version is lost',
  (t) => runShort(t, 'L8', soakScenario({ minutes: 0.12, hasChaos: true, killMs: 4_000 })),
);

// A trainer starves if it wants to compute and hardly ever gets a core, for a whole window.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CpuTime, readCpuTime } from '../../src/common/cpu-time.ts';
import { StarvationWatch } from '../../src/jobs/trainer-child.ts';
import { seededRandom } from '../fixtures.ts';

type Sample = CpuTime & { readonly atMs: number };

/** Looks at every sample again for each answer. */
function plainAnswers(samples: readonly Sample[], windowMs: number): boolean[] {
  return samples.map((last, i) => {
    const old = samples.slice(0, i + 1).filter(({ atMs }) => last.atMs - atMs >= windowMs);
    const first = old.at(-1);
    if (!first) return false;
    const ran = last.runMs - first.runMs;
    const waited = last.waitMs - first.waitMs;
    return ran + waited >= windowMs / 2 && ran / (ran + waited) < 0.02;
  });
}

test('T26: the answers are those of the plain definition', () => {
  const random = seededRandom(3);
  const uniform = () => (random() + 1) / 2;
  const seen = { true: 0, false: 0 };
  for (let round = 0; round < 50; round++) {
    const samples: Sample[] = [];
    let [atMs, runMs, waitMs] = [0, 0, 0];
    const share = uniform() ** 4;
    for (let i = 0; i < 60; i++) {
      const passedMs = 1_000 + 9_000 * uniform();
      const wantedMs = passedMs * uniform() * 1.5;
      const gotMs = wantedMs * share * uniform();
      atMs += passedMs;
      runMs += gotMs;
      waitMs += wantedMs - gotMs;
      samples.push({ atMs, runMs, waitMs });
    }
    const watch = new StarvationWatch(60_000);
    const answers = samples.map((sample) => watch.add(sample, sample.atMs));
    const expected = plainAnswers(samples, 60_000);
    assert.deepEqual(answers, expected);
    for (const answer of answers) seen[`${answer}`]++;
  }
  assert.ok(seen.true > 100 && seen.false > 100, JSON.stringify(seen));
});

test('a trainer that waits for something else than a core does not starve', () => {
  const watch = new StarvationWatch(1_000);
  for (let atMs = 0; atMs <= 10_000; atMs += 500) {
    assert.equal(watch.add({ runMs: 0, waitMs: atMs / 100 }, atMs), false);
  }
});

test('a short burst of other work is no starvation', () => {
  const watch = new StarvationWatch(10_000);
  let [runMs, waitMs] = [0, 0];
  for (let atMs = 0; atMs <= 60_000; atMs += 1_000) {
    if (atMs % 10_000 < 9_000) waitMs += 1_000;
    else runMs += 1_000;
    assert.equal(watch.add({ runMs, waitMs }, atMs), false);
  }
});

test('the times of a process are read from the system', (t) => {
  const before = readCpuTime(process.pid);
  if (!before) return t.skip('Linux tells it in /proc');
  while (process.cpuUsage().user < 2e5);
  const after = readCpuTime(process.pid)!;
  assert.ok(after.runMs > before.runMs && after.waitMs >= before.waitMs);
  assert.equal(readCpuTime(2 ** 30), undefined);
});

// More seeds of the simulation than the unit tests have time for. LORIKEET_E2E_LONG runs as many as 15 minutes allow.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explain, runSeed } from '../simulation/seeds.ts';

const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;
const SEED_COUNT = isLong ? 200_000 : 500;
const MAX_MS = 15 * 60_000;

test(`the invariants hold in ${SEED_COUNT} seeds of the simulation`, async (t) => {
  const startMs = performance.now();
  let seed = 0;
  while (seed < SEED_COUNT && performance.now() - startMs < MAX_MS) {
    seed++;
    await runSeed(seed).catch((violation) => assert.fail(explain(seed, violation)));
  }
  t.diagnostic(`${seed} seeds`);
});

// Announcements and indexes: nobody misses a change, wherever its publisher dies.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatePublishers } from './publishers.ts';

const SEEDS = process.env['LORIKEET_E2E_LONG'] === undefined ? 2 : 40;

test('64 publishers that die between any two calls: servers find and list what was true within the poll time, no change fails, and announcements go', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const size = { publishers: 64, names: 24, deaths: 0.7 };
    const { faults, failures, announcements, deaths } = await simulatePublishers({ seed, ...size });
    assert.deepEqual(
      { faults, failures, announcements },
      { faults: [], failures: [], announcements: 0 },
      `seed ${seed}`,
    );
    assert.ok(deaths > 20, `${deaths} deaths`);
  }
});

// The sizes in docs/several-servers.md, which the simulated fleet has to confirm.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulateFleet } from './fleet-sizes.ts';

const IS_LONG = process.env['LORIKEET_E2E_LONG'] !== undefined;
const SECONDS = IS_LONG ? 600 : 120;

test('a busy server asks as much as the page says, for any number of names and servers', async (t) => {
  const sizes = [
    { servers: 2, names: 10 },
    { servers: 2, names: IS_LONG ? 1000 : 60 },
    { servers: IS_LONG ? 30 : 6, names: 10 },
  ];
  for (const size of sizes) {
    const { perServer, slowestMs } = await simulateFleet({
      ...size,
      seconds: SECONDS,
      changeMs: 5000,
    });
    t.diagnostic(JSON.stringify({ ...size, perServer, slowestMs }));
    assert.ok(slowestMs <= 2000, `a server followed after ${slowestMs} ms`);
  }
});

test('an idle server asks as much as the page says', async (t) => {
  const { perServer } = await simulateFleet({ servers: 3, names: 0, seconds: 600, changeMs: 5000 });
  t.diagnostic(JSON.stringify(perServer));
  assert.ok(perServer.writes <= 0.11 && perServer.reads === 0);
});

// The clients of docs/clients.md, unchanged, on the real base: each does what is recorded of it. With LORIKEET_E2E_LONG all of
// them run, and their results are recorded; without, most of those whose packages other tests also need.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CLIENTS, PINS, rowName } from './clients/clients.ts';
import { readResults, recordResult } from './clients/results.ts';
import { install, runClient } from './clients/run-client.ts';
import { type Serving, startServing } from './program.ts';
import { fetchBase, isLong, preparedHome } from './served.ts';

const base = await fetchBase();
const home = 'dir' in base ? await preparedHome(base.dir) : '';

describe('clients', { skip: 'reason' in base ? base.reason : false }, () => {
  let serving: Serving;
  before(async () => {
    assert.ok('dir' in base);
    // The prompts of coding assistants have several thousand tokens.
    const options = ['--slots', '4', '--max-seq', '8192', '--store-responses', '1h'];
    serving = await startServing(['--model', base.dir, ...options], home);
  });
  after(() => serving.stop());

  for (const client of CLIENTS) {
    const onlyLong = client.isLong ?? PINS[client.pins].isLong;
    const skip = onlyLong && !isLong && 'LORIKEET_E2E_LONG is not set';
    test(`${rowName(client)} does what is recorded`, { skip }, async (t) => {
      const installed = await install(client.pins);
      if ('reason' in installed) return t.skip(installed.reason);
      const access = { baseURL: `${serving.url}/v1`, apiKey: 'none' };
      const result = await runClient(client, installed.bin, access);
      if (isLong) recordResult(rowName(client), result);
      const recorded = readResults()[rowName(client)];
      const outcomes = Object.values(result.ways).flatMap((ways) => Object.values(ways));
      if (recorded) assert.deepEqual(result, recorded);
      else assert.deepEqual(new Set(outcomes), new Set(['ok']), JSON.stringify(result.ways));
    });
  }
});

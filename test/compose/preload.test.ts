import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { LeaseOptions } from '../../adapters/cache/cache.ts';
import { FolderAdapters } from '../../adapters/registry/folder-registry.ts';
import { Registry } from '../../adapters/registry/registry.ts';
import { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import { createLog } from '../../src/common/log.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import { preloadAdapters } from '../../src/compose/serving-adapters.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { configBytes, weightsNamed } from '../adapters/sample.ts';
import { temporaryFolder } from '../fixtures.ts';
import { FakeEngine, FakeLeases } from '../scheduler/fake-engine.ts';

class RecordingLeases extends FakeLeases {
  readonly kept: (number | undefined)[] = [];
  override lease(...[source, options]: Parameters<FakeLeases['lease']>) {
    this.kept.push((options as LeaseOptions).keepWarmMs);
    return super.lease(source, options);
  }
}

test('adapters are loaded and kept; one that fails is told in the log and holds up none', async (t) => {
  const root = temporaryFolder(t);
  for (const name of ['zen', 'legal']) {
    const folder = path.join(root, name);
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'adapter_config.json'), configBytes());
    writeFileSync(path.join(folder, 'adapter_model.safetensors'), weightsNamed(name));
  }
  const lines: string[] = [];
  const log = createLog('info', { write: (line: string) => lines.push(line) });
  const leases = new RecordingLeases();
  const client = createInProcessClient(
    new StepLoop({ engine: new FakeEngine(), adapters: leases }),
    log,
  );
  t.after(() => client.drain(0));
  const base = { id: 'toy', names: [], digest: 'b'.repeat(64) };
  const local = [new FolderAdapters(root, { baseNames: ['toy'] })];
  const deps = {
    registry: new Registry({ base, local }),
    localAdapters: new LocalAdapters(),
    client,
    log,
  };
  await preloadAdapters(['missing', 'zen', 'acme/legal', 'base'], Number.POSITIVE_INFINITY, deps);
  assert.deepEqual(leases.kept, [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  assert.equal(leases.held, 0, 'kept without a lease: a sequence may need the room');
  const told = lines
    .map((line) => JSON.parse(line))
    .map(({ adapter, msg }) => `${adapter}: ${msg}`);
  assert.deepEqual(told.sort(), [
    'acme/legal: adapter preloaded',
    'missing: adapter not preloaded',
    'zen: adapter preloaded',
  ]);
});

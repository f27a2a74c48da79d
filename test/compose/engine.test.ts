import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { adapterIdentity } from '../../adapters/registry/resolved.ts';
import { createLog } from '../../src/common/log.ts';
import { createEngineHost } from '../../src/compose/engine.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import { SHARED_OWNER } from '../../src/contracts/tenant.ts';
import { createProcessClient } from '../../src/engine-client/client.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { plainSource } from '../adapters/sources.ts';
import { servingFolder, tinyModel, writeKvScales } from '../fixtures.ts';
import { request } from '../scheduler/fake-engine.ts';
import { tokensOf } from '../scheduler/generate.ts';
import { adapterFolder, generate, hostOptions, model } from './tiny-host.ts';

const log = createLog('silent');

test('I01: a crowd of base and adapters on the real engine gives each the tokens it has alone', async (t) => {
  const options = await hostOptions(t);
  const client = createInProcessClient(
    new StepLoop(await createEngineHost(options, () => {})),
    log,
  );
  const one = await adapterFolder(t, model.config, 1);
  const other = await adapterFolder(t, model.config, 2);
  const plans = [undefined, one, other, one, undefined, other, one, undefined].map(
    (adapter, i) =>
      [adapter, request([5 + i, 7, 9, 11, 3 * i], { maxTokens: 4 + 3 * (i % 4) })] as const,
  );
  const alone: number[][] = [];
  for (const plan of plans) alone.push(tokensOf(await generate(client, ...plan)));
  const crowd = await Promise.all(plans.map((plan) => generate(client, ...plan)));
  assert.deepEqual(crowd.map(tokensOf), alone);
  for (const [i, events] of crowd.entries()) assert.equal(tokensOf(events).length, 4 + 3 * (i % 4));
  assert.notDeepEqual(tokensOf(crowd[0]!), tokensOf(crowd[1]!));
  assert.deepEqual(
    (await client.stats()).residentAdapters.toSorted(),
    [one.digest, other.digest].sort(),
  );
  await client.drain(1000);
});

test('shared adapters are in memory once the engine is ready, except one that cannot be loaded', async (t) => {
  const { parts } = await adapterFolder(t, model.config, 1);
  const [{ digest, directory }] = parts as [(typeof parts)[number]];
  const preload = [path.join(directory, 'missing'), directory];
  const host = await createEngineHost({ ...(await hostOptions(t)), preload }, () => {});
  const identity = adapterIdentity([{ owner: SHARED_OWNER, digest, weight: 1 }]);
  assert.deepEqual(host.adapters.resident(), [identity]);
  const client = createInProcessClient(new StepLoop(host), log);
  t.after(() => client.drain(0));
  const source = { digest: identity, owner: SHARED_OWNER, parts };
  const plain = await adapterFolder(t, model.config, 1);
  const prompt = request([5, 7, 9], { maxTokens: 8 });
  const answers = [await generate(client, source, prompt), await generate(client, plain, prompt)];
  assert.deepEqual(tokensOf(answers[0]!), tokensOf(answers[1]!));
});

for (const kv of ['f32', 'int8'] as const) {
  test(`F39: rows whose run is terminated get the tokens that they have alone, over a cache in ${kv}`, async (t) => {
    const deep = tinyModel({ num_hidden_layers: 16 });
    const servingDir = await servingFolder(t, deep, 'f32');
    writeKvScales(servingDir, deep.config, 4);
    const options = await hostOptions(t);
    const host = await createEngineHost(
      { ...options, engine: { ...options.engine, servingDir, kv } },
      () => {},
    );
    const { engine } = host;
    const loop = new StepLoop(host);
    const client = createInProcessClient(loop, log);
    const adapter = await adapterFolder(t, deep.config, 1);
    const plans = [undefined, adapter, undefined, adapter].map(
      (of, i) => [of, request([5 + i, 7, 9], { maxTokens: 40 })] as const,
    );
    const alone: number[][] = [];
    for (const plan of plans) alone.push(tokensOf(await generate(client, ...plan)));

    let terminated = 0;
    const run = engine.run.bind(engine);
    engine.run = async (batch) => {
      const running = run(batch);
      if (batch.kind === 'prefill' || batch.rows.length < plans.length) return running;
      running.catch(() => terminated++);
      setImmediate(() => loop.handle({ type: 'terminate' })); // the run has begun, or is over already
      return running;
    };
    const together = await Promise.all(plans.map((plan) => generate(client, ...plan)));
    assert.deepEqual(together.map(tokensOf), alone);
    assert.ok(terminated > 0, 'no run was terminated');
    t.diagnostic(`${terminated} runs were terminated`);
    await client.drain(1000);
  });
}

test('a folder that holds another adapter than it was asked for fails its sequence alone', async (t) => {
  const lines: unknown[] = [];
  const host = await createEngineHost(await hostOptions(t), (line) => lines.push(line));
  const client = createInProcessClient(new StepLoop(host), log);
  const source = await adapterFolder(t, model.config, 1);
  const stale = plainSource('f'.repeat(64), source.parts[0]!.directory);
  const [failed, good] = await Promise.all([
    generate(client, stale, request([1, 2])),
    generate(client, undefined, request([1, 2])),
  ]);
  const end = failed.at(-1)!;
  assert.equal(end.type === 'failed' && end.error.code, 'adapter_checksum_mismatch');
  assert.equal(good.at(-1)!.type, 'finished');
  assert.equal(lines.length, 1);
  await client.drain(1000);
});

test('the engine process gives the same tokens as the engine in this process', async (t) => {
  const options = await hostOptions(t);
  const loop = new StepLoop(await createEngineHost(options, () => {}));
  const near = createInProcessClient(loop, log);
  const entry = new URL('../../src/engine-process.ts', import.meta.url);
  const far = createProcessClient({ entry, hostOptions: options, log, onFatal: assert.ifError });
  t.after(() => far.drain(0));
  const adapter = await adapterFolder(t, model.config, 1);
  const of = request([5, 7, 9, 11], { maxTokens: 9, promptTopLogprobs: 1 });
  const { start, ...info } = await far.whenReady();
  assert.ok(start && Object.values(start).every((ms) => ms >= 0)); // only a process has a start
  assert.deepEqual(info, near.model);
  const [expected, actual] = await Promise.all(
    [near, far].map((client) => generate(client, adapter, of)),
  );
  assert.deepEqual(actual!.slice(1), expected!.slice(1)); // all but the time that the load took
  await near.drain(1000);
});

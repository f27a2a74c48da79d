// Embeddings of the real engine: the pooled hidden states of the plain decoder, in the same steps as generations.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { CONFIG_FILE, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import { createLog } from '../../src/common/log.ts';
import { createEngineHost } from '../../src/compose/engine.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import type { AdapterSource, Pooling } from '../../src/contracts/generation.ts';
import { createProcessClient } from '../../src/engine-client/client.ts';
import type { EngineEvent } from '../../src/scheduler/protocol.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { temporaryFolder } from '../fixtures.ts';
import { plainHidden } from '../model/plain-decoder.ts';
import { request } from '../scheduler/fake-engine.ts';
import { adapterFolder, generate, hostOptions, model } from './tiny-host.ts';

const log = createLog('silent');
const LIMIT = 2e-4;

async function clientOf(t: TestContext, engine: { prefixCacheBytes?: number } = {}) {
  const options = await hostOptions(t);
  const host = await createEngineHost(
    { ...options, artifactDir: temporaryFolder(t), engine: { ...options.engine, ...engine } },
    () => {},
  );
  const client = createInProcessClient(new StepLoop(host), log);
  t.after(() => client.drain(1000));
  return client;
}

/** The embedding of the plain decoder. */
async function plainEmbedding(
  promptIds: readonly number[],
  pooling: Pooling,
  adapter?: AdapterSource,
) {
  const weights = adapter && (await weightsOf(adapter));
  const rows = plainHidden(model.config, model.weights, promptIds, weights);
  if (pooling === 'last') return rows.at(-1)!;
  return rows[0]!.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0) / rows.length);
}

function weightsOf({ digest, parts: [part] }: AdapterSource) {
  const read = (file: string) => readFileSync(path.join(part!.directory, file));
  const files = { configBytes: read(CONFIG_FILE), weightsBytes: read(WEIGHTS_FILE) };
  return parseAdapter({ ...files, digest }, model.config, adaptedBaseOf(model.artifact));
}

function embeddingOf(events: readonly EngineEvent[]): Float32Array {
  const found = events.flatMap((event) => (event.type === 'embedding' ? [event.embedding] : []));
  assert.equal(found.length, 1);
  assert.deepEqual(events.at(-1)!.type === 'finished' && events.at(-1), {
    type: 'finished',
    id: events[0]!.id,
    reason: 'stop',
  });
  return found[0]!;
}

function assertNear(got: ArrayLike<number>, want: ArrayLike<number>): void {
  assert.equal(got.length, want.length);
  const worst = Math.max(...Array.from(got, (value, i) => Math.abs(value - want[i]!)));
  assert.ok(worst < LIMIT, `off by ${worst}`);
}

const pooled = (promptIds: readonly number[], pooling: Pooling) =>
  request(promptIds, { maxTokens: 0, pooling });

test('embeddings of base and adapters beside generations equal the plain decoder, and change no token', async (t) => {
  const client = await clientOf(t);
  const one = await adapterFolder(t, model.config, 1);
  const other = await adapterFolder(t, model.config, 2);
  const prompt = (i: number) => [5 + i, 7, 9, 11, 3 * i, 40, 2].slice(0, 4 + (i % 4));
  const generations = [undefined, one, other, one].map(
    (adapter, i) => [adapter, request(prompt(i), { maxTokens: 8 })] as const,
  );
  const tokens = (events: readonly EngineEvent[]) =>
    events.flatMap((event) => (event.type === 'token' ? [event.tokenId] : []));
  const alone = [];
  for (const plan of generations) alone.push(tokens(await generate(client, ...plan)));
  const wanted = [undefined, one, other].flatMap((adapter, i) =>
    (['mean', 'last'] as const).map((pooling) => ({ adapter, pooling, ids: prompt(i + 1) })),
  );
  const [generated, embedded] = await Promise.all([
    Promise.all(generations.map((plan) => generate(client, ...plan))),
    Promise.all(wanted.map((of) => generate(client, of.adapter, pooled(of.ids, of.pooling)))),
  ]);
  assert.deepEqual(generated.map(tokens), alone);
  for (const [i, { adapter, pooling, ids }] of wanted.entries()) {
    assertNear(embeddingOf(embedded[i]!), await plainEmbedding(ids, pooling, adapter));
  }
});

test('a prompt from the prefix cache has the same last hidden state, and its mean is of all tokens', async (t) => {
  const client = await clientOf(t, { prefixCacheBytes: 2 ** 20 });
  const ids = Array.from({ length: 40 }, (_, i) => (7 * i + 3) % 90);
  const scoped = (pooling: Pooling) => ({ ...pooled(ids, pooling), prefixScope: 'a' });
  const cached = [];
  for (const pooling of ['last', 'last', 'mean'] as const) {
    const events = await generate(client, undefined, scoped(pooling));
    assertNear(embeddingOf(events), await plainEmbedding(ids, pooling));
    cached.push(...events.flatMap((one) => (one.type === 'admitted' ? [one.cachedTokens] : [])));
  }
  assert.deepEqual(cached, [0, 32, 0]);
});

test('a classifier scores the last hidden state, in the steps of others, and generates nothing', async (t) => {
  const client = await clientOf(t);
  const labels = ['bad', 'good', 'so so'];
  const classifier = await adapterFolder(t, model.config, 3, labels);
  const plain = await adapterFolder(t, model.config, 1);
  const ids = [5, 7, 9, 11, 40, 2, 8];
  const classify = { ...pooled(ids, 'last'), classifies: true } as const;
  const [classified, generated, embedded, unclassified, misused] = await Promise.all([
    generate(client, classifier, classify),
    generate(client, plain, request(ids, { maxTokens: 4 })),
    generate(client, classifier, pooled(ids, 'last')),
    generate(client, plain, classify),
    generate(client, classifier, request(ids)),
  ]);
  assert.equal(generated.filter(({ type }) => type === 'token').length, 4);
  const embedding = await plainEmbedding(ids, 'last', classifier);
  assertNear(embeddingOf(embedded), embedding);
  const scores = classified.find((event) => event.type === 'scores');
  assert.ok(scores?.type === 'scores');
  assert.deepEqual(scores.labels, labels);
  const { weight } = (await weightsOf(classifier)).classifier!;
  const expected = labels.map((_, label) =>
    embedding.reduce((sum, value, i) => sum + value * weight[label * embedding.length + i]!, 0),
  );
  assertNear(scores.scores, expected);
  for (const [events, message] of [
    [unclassified, /no classification head/],
    [misused, /Use POST \/classify/],
  ] as const) {
    const end = events.at(-1)!;
    assert.ok(end.type === 'failed' && message.test(end.error.message));
    assert.equal(end.error.param, 'model');
  }
});

test('the engine process sends the same embedding', async (t) => {
  const entry = new URL('../../src/engine-process.ts', import.meta.url);
  const hosted = await hostOptions(t);
  const far = createProcessClient({ entry, hostOptions: hosted, log, onFatal: assert.ifError });
  t.after(() => far.drain(0));
  await far.whenReady();
  const of = pooled([5, 7, 9, 11], 'mean');
  const embedding = embeddingOf(await generate(far, undefined, of));
  assert.deepEqual(embedding, embeddingOf(await generate(await clientOf(t), undefined, of)));
});

// The prefix cache of a real engine: the same logits with and without it, and nothing of a slot that was zeroed.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createLog } from '../../../src/common/log.ts';
import { createInProcessClient } from '../../../src/compose/in-process-client.ts';
import { type GenerationRequest, GREEDY } from '../../../src/contracts/generation.ts';
import type { PrefillBatch, SlotId } from '../../../src/engine/batch.ts';
import { Engine } from '../../../src/engine/engine.ts';
import type { LogitsRow } from '../../../src/engine/logits.ts';
import { TARGETS_OF } from '../../../src/model/target-modules.ts';
import type { EngineEvent } from '../../../src/scheduler/protocol.ts';
import { StepLoop } from '../../../src/scheduler/step-loop.ts';
import { plainSource } from '../../adapters/sources.ts';
import { servingFolder, tinyAdapter, tinyModel } from '../../fixtures.ts';
import { pluck } from '../../pluck.ts';
import { FakeLeases } from '../../scheduler/fake-engine.ts';
import { worstDifference } from '../runner.ts';

const PROMPT = Array.from({ length: 40 }, (_, i) => (7 * i + 3) % 90);
const CACHED = 32;
const A = 0 as SlotId;
const B = 3 as SlotId;

async function engineOf(t: TestContext) {
  const model = tinyModel();
  const servingDir = await servingFolder(t, model, 'f32');
  const limits = { slotCount: 4, maxSeqLength: 64, prefixCacheBytes: 2 ** 22 };
  const engine = await Engine.create({ servingDir, ...limits });
  return { engine, model };
}

/** Prefills tokens from … to - 1 and returns the last logits. */
async function prefill(
  engine: Engine,
  slot: SlotId,
  { from = 0, to = PROMPT.length, adapter = undefined as string | undefined },
): Promise<Float32Array> {
  let logits = new Float32Array();
  const sample = (row: LogitsRow) => {
    logits = row.logits.slice();
    return { id: 0 };
  };
  const tokenIds = PROMPT.slice(from, to);
  const batch = { kind: 'prefill', slot, adapter, tokenIds, pastLength: from } as const;
  await engine.run({ ...batch, sampler: { sample }, scoring: undefined });
  return logits;
}

test('a restored prefix gives the same logits to the bit, and those of one chunk up to rounding', async (t) => {
  const { engine, model } = await engineOf(t);
  t.after(() => engine.release());
  const weights = tinyAdapter(model.config, { seed: 1, rank: 8, targets: TARGETS_OF.separate });
  engine.attachAdapter(weights);
  for (const adapter of [undefined, weights.digest]) {
    const inOneChunk = await prefill(engine, A, { adapter });
    await prefill(engine, A, { to: CACHED, adapter });
    const computed = await prefill(engine, A, { from: CACHED, adapter });
    const source = adapter === undefined ? undefined : plainSource(adapter);
    const chain = engine.prefixes!.chainOf({ adapter: source, scope: 's' }, PROMPT);
    engine.prefixes!.save(chain, PROMPT, A);
    assert.equal(engine.prefixes!.cachedTokens(chain), CACHED);
    engine.zeroSlot(B);
    engine.prefixes!.restore(chain, CACHED, B);
    const restored = await prefill(engine, B, { from: CACHED, adapter });
    assert.deepEqual(restored, computed);
    assert.ok(worstDifference(restored, inOneChunk) < 1e-4);
  }
});

test('preparing adapters leaves no adapter attached and nothing in a slot', async (t) => {
  const { engine } = await engineOf(t);
  t.after(() => engine.release());
  const fresh = await prefill(engine, A, {});
  await engine.prepareAdapters();
  assert.deepEqual(engine.attachedAdapters(), []);
  assert.deepEqual(await prefill(engine, A, {}), fresh);
  const loaded = [8, 4].map((rank) =>
    tinyAdapter(engine.config, { seed: rank, rank, targets: TARGETS_OF.separate }),
  );
  await engine.prepareAdapters(Promise.resolve(loaded));
  assert.deepEqual(engine.attachedAdapters(), []);
  assert.deepEqual(await prefill(engine, A, {}), fresh);
});

test('a chunk in the middle of a prompt fails if its values are not finite', async (t) => {
  const { engine, model } = await engineOf(t);
  t.after(() => engine.release());
  const bad = tinyAdapter(model.config, { seed: 3, rank: 8, targets: TARGETS_OF.separate });
  for (const layer of bad.layers) for (const pair of Object.values(layer)) pair.a.fill(Number.NaN);
  engine.attachAdapter(bad);
  const batch: PrefillBatch = {
    ...{ kind: 'prefill', slot: A, adapter: bad.digest, tokenIds: PROMPT, pastLength: 0 },
    ...{ sampler: undefined, scoring: undefined },
  };
  const { rows } = await engine.run(batch);
  assert.deepEqual(rows, [[{ ok: false, reason: 'non_finite' }]]);
});

/** A client of a real engine, and its answers. */
async function served(t: TestContext) {
  const { engine } = await engineOf(t);
  const log = createLog('silent');
  const client = createInProcessClient(new StepLoop({ engine, adapters: new FakeLeases() }), log);
  t.after(() => client.drain(0));
  const submit = (promptIds: readonly number[], rest: Partial<GenerationRequest> = {}) => {
    const request = { promptIds, maxTokens: 4, stopTokenIds: [], sampling: GREEDY, ...rest };
    const tokens: number[] = [];
    let cached = 0;
    return new Promise<{ tokens: number[]; cached: number; end: string }>((resolve) => {
      const handle = client.submit(
        { id: 't', weight: 1 },
        undefined,
        request,
        (event: EngineEvent) => {
          if (event.type === 'admitted') cached = event.cachedTokens;
          if (event.type === 'admitted' && rest.maxTokens === ABORTED) handle.abort();
          if (event.type === 'token') tokens.push(event.tokenId);
          if (event.type === 'failed') resolve({ tokens, cached, end: event.error.code });
          if (event.type === 'finished') resolve({ tokens, cached, end: event.reason });
        },
      );
    });
  };
  return { submit, client };
}

/** A sequence with so many tokens is aborted while its first chunk runs. */
const ABORTED = 20;

test('a repeated prompt is cached within its scope, and has the same tokens', async (t) => {
  const { submit, client } = await served(t);
  const alone = await submit(PROMPT);
  const first = await submit(PROMPT, { prefixScope: 'a' });
  const second = await submit(PROMPT, { prefixScope: 'a' });
  const stranger = await submit(PROMPT, { prefixScope: 'b' });
  const scored = await submit(PROMPT, { prefixScope: 'a', promptTopLogprobs: 0 });
  const none = await submit(PROMPT);
  const all = [alone, first, second, stranger, scored, none];
  assert.deepEqual(pluck(all, 'cached'), [0, 0, CACHED, 0, 0, 0]);
  for (const { tokens } of all) assert.deepEqual(tokens, alone.tokens);
  const { prefixQueryTokens, prefixHitTokens, prefixCache } = await client.stats();
  assert.deepEqual([prefixQueryTokens, prefixHitTokens], [120, CACHED]);
  assert.ok(prefixCache.bytes > 0 && prefixCache.bytes <= prefixCache.capacityBytes);
});

test('a sequence that is aborted while a step with its copied prefix runs harms nobody', async (t) => {
  const { submit } = await served(t);
  const scope = { prefixScope: 'a' };
  const { tokens } = await submit(PROMPT, scope);
  const [other, aborted, next] = await Promise.all([
    submit(PROMPT, scope),
    submit(PROMPT, { ...scope, maxTokens: ABORTED }),
    submit(PROMPT, scope),
  ]);
  assert.deepEqual([aborted.cached, aborted.end], [CACHED, 'abort']);
  for (const answer of [other, next, await submit(PROMPT, scope)]) {
    assert.deepEqual([answer.tokens, answer.cached], [tokens, CACHED]);
  }
});

// An adapter that the loader would refuse, forced into a running engine: the whole step loop with its caches of keys, values
// and prefixes. The control runs the same batches with a harmless adapter in the place of the bad one.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { createLog } from '../../src/common/log.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import {
  type GenerationRequest,
  GREEDY,
  type TokenLogprob,
} from '../../src/contracts/generation.ts';
import type { SlotId } from '../../src/engine/batch.ts';
import { Engine } from '../../src/engine/engine.ts';
import { HOST_MEMORY } from '../../src/engine/memory/host-memory.ts';
import { openServingFolder } from '../../src/engine/serving-folder.ts';
import type { EngineClient } from '../../src/engine-client/client.ts';
import { kvScaleCount, scaleOf } from '../../src/model/kv-scales.ts';
import { TARGETS_OF } from '../../src/model/target-modules.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { plainSource } from '../adapters/sources.ts';
import { servingFolder, tinyAdapter, tinyModel, writeKvScales } from '../fixtures.ts';
import { ForcedLeases } from '../scheduler/fake-engine.ts';
import { runLogits, runnerOf } from './runner.ts';

const VALUES = { NaN: Number.NaN, 'an infinity': Number.POSITIVE_INFINITY, '1e38': 1e38 };
const KV_MAX = 8;
/** Forty tokens each: two blocks of the prefix cache and a rest. */
const promptOf = (seed: number) =>
  Array.from({ length: 40 }, (_, i) => (7 * i + 5 * seed + 3) % 90);
const CACHED = 32;
const SLOTS = 4;

interface Answer {
  readonly end: string;
  readonly cached: number;
  readonly logprobs: readonly TokenLogprob[];
}

function answerOf(
  client: EngineClient,
  adapter: AdapterWeights | undefined,
  request: Pick<GenerationRequest, 'promptIds' | 'maxTokens'>,
): Promise<Answer> {
  const whole = {
    ...{ ...request, stopTokenIds: [], prefixScope: 'all' },
    sampling: { ...GREEDY, topLogprobs: 5 },
  };
  const logprobs: TokenLogprob[] = [];
  let cached = 0;
  const source = adapter && plainSource(adapter.digest);
  return new Promise((resolve) => {
    client.submit({ id: 't', weight: 1 }, source, whole, (event) => {
      if (event.type === 'admitted') cached = event.cachedTokens;
      if (event.type === 'token') logprobs.push(event.logprob!);
      if (event.type === 'finished') resolve({ end: event.reason, cached, logprobs });
      if (event.type === 'failed') resolve({ end: event.error.code, cached, logprobs });
    });
  });
}

interface Setting {
  readonly kv: 'f32' | 'int8';
  readonly hasPrefixes: boolean;
}

/** Two good streams beside one of `third`, then the same again, then all slots for the base. */
async function serveBeside(
  t: TestContext,
  third: AdapterWeights,
  { kv, hasPrefixes }: Setting,
): Promise<Record<'first' | 'again' | 'after', Answer[]> & { zeroed: number }> {
  const model = tinyModel();
  const good = tinyAdapter(model.config, { seed: 1, rank: 8, targets: TARGETS_OF.separate });
  const servingDir = await servingFolder(t, model, 'f32');
  if (kv === 'int8') writeKvScales(servingDir, model.config, KV_MAX);
  const engine = await Engine.create({
    ...{ servingDir, kv, slotCount: SLOTS, maxSeqLength: 64 },
    ...(hasPrefixes && { prefixCacheBytes: 2 ** 22 }),
  });
  let zeroed = 0;
  const zeroSlot = engine.zeroSlot.bind(engine);
  engine.zeroSlot = (slot) => {
    zeroed++;
    zeroSlot(slot);
  };
  const adapters = new ForcedLeases([good, third]);
  const client = createInProcessClient(new StepLoop({ engine, adapters }), createLog('silent'));
  t.after(() => client.drain(0));
  // The third ends with its first token or instead of it, so that the batches after it are alike.
  const together = () =>
    Promise.all([
      answerOf(client, good, { promptIds: promptOf(1), maxTokens: 12 }),
      answerOf(client, undefined, { promptIds: promptOf(2), maxTokens: 12 }),
      answerOf(client, third, { promptIds: promptOf(3), maxTokens: 1 }),
    ]);
  const [first, again] = [await together(), await together()];
  const after = await Promise.all(
    Array.from({ length: SLOTS }, (_, i) =>
      answerOf(client, undefined, { promptIds: promptOf(10 + i), maxTokens: 12 }),
    ),
  );
  return { first, again, after, zeroed };
}

for (const [what, value] of Object.entries(VALUES)) {
  for (const setting of [
    { kv: 'f32', hasPrefixes: false },
    { kv: 'f32', hasPrefixes: true },
    { kv: 'int8', hasPrefixes: true },
  ] as const) {
    const caches = `${setting.kv} cache${setting.hasPrefixes ? ' and prefix cache' : ''}`;
    test(`T01, F37, I02: an adapter of ${what} in the step loop, with ${caches}: others are bit-equal, nothing of it stays`, async (t) => {
      const { config } = tinyModel();
      const shape = { rank: 8, targets: TARGETS_OF.separate };
      const harmless = tinyAdapter(config, { seed: 2, ...shape });
      const bad = tinyAdapter(config, { seed: 3, ...shape });
      for (const layer of bad.layers) for (const pair of Object.values(layer)) pair.a.fill(value);
      const control = await serveBeside(t, harmless, setting);
      const poisoned = await serveBeside(t, bad, setting);
      for (const round of ['first', 'again'] as const) {
        assert.deepEqual(poisoned[round].slice(0, 2), control[round].slice(0, 2), round);
        const { end, cached, logprobs } = poisoned[round][2]!;
        assert.deepEqual([end, cached, logprobs], ['adapter_non_finite', 0, []], round);
        assert.equal(control[round][2]!.end, 'length');
      }
      assert.deepEqual([control.zeroed, poisoned.zeroed], [0, 2], 'the slots of its two rows');
      assert.equal(poisoned.again[0]!.cached, setting.hasPrefixes ? CACHED : 0);
      assert.deepEqual(poisoned.after, control.after, 'its slot is clean for the next one');
      for (const { logprobs } of poisoned.after) {
        assert.ok(logprobs.every(({ logprob }) => Number.isFinite(logprob)));
      }
    });
  }
}

for (const kv of ['f32', 'int8'] as const) {
  test(`T02, I04: a freed slot of a ${kv} cache full of other values, or of NaN and then zeroed, is as a fresh one`, async (t) => {
    const model = tinyModel();
    const served = openServingFolder(await servingFolder(t, model, 'f32'));
    const scales = new Float32Array(kvScaleCount(model.config)).fill(scaleOf(KV_MAX));
    const size = { slotCount: 3, maxSeqLength: 32, memory: HOST_MEMORY };
    const { runner, cache } = runnerOf(t, served, kv === 'int8' ? { ...size, scales } : size);
    const tokenIds = promptOf(1).slice(0, 9);
    const input = {
      tokenIds,
      firstSlot: 1,
      pastLengths: [0],
      logitRows: [8],
      slots: [0],
    } as const;
    const fresh = await runLogits(runner, input);
    const fill = (number: number) => {
      for (const { key, value } of cache.range(1, 1)) {
        for (const data of [key.data, value.data]) (data as Float32Array).fill(number);
      }
    };
    fill(7);
    assert.deepEqual(await runLogits(runner, input), fresh);
    fill(kv === 'f32' ? Number.NaN : -128);
    cache.zero(1 as SlotId);
    assert.deepEqual(await runLogits(runner, input), fresh);
    for (const { key, value } of cache.range(1, 1)) {
      for (const data of [key.data, value.data]) {
        const rest = (data as Float32Array).slice(
          9 * model.config.headDim,
          32 * model.config.headDim,
        );
        assert.ok(rest.every((one) => one === 0));
      }
    }
  });
}

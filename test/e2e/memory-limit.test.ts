// The program in a control group: what it plans fits, and what cannot fit is refused before anything is built.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { TARGET_MODULES, TARGETS_OF } from '../../src/model/target-modules.ts';
import { filled, keyOf } from '../adapters/sample.ts';
import { postJson } from '../api.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { createGroup, type LimitedGroup } from './memory-group.ts';
import { runLorikeet, startServing } from './program.ts';
import { fetchBase } from './served.ts';

const base = await fetchBase();
const skipBase = 'reason' in base ? base.reason : false;
const dir = 'dir' in base ? base.dir : '';

/** Undefined: the test is skipped. */
function limited(t: TestContext, bytes: number): LimitedGroup | undefined {
  const group = createGroup(bytes);
  if (!group) t.skip('this machine allows no control group with a memory limit');
  return group;
}

const RANK = 8;

function writeAdapter(directory: string, seed: number): void {
  const config = parseDecoderConfig(
    JSON.parse(readFileSync(path.join(dir, 'config.json'), 'utf8')),
  );
  const random = seededRandom(seed);
  const draw = (shape: [number, number]) => filled(shape, 'F32', () => (random() - 0.5) / 50);
  const tensors = Array.from({ length: config.layerCount }, (_, layer) =>
    TARGETS_OF.separate.flatMap((target) => {
      const { inFeatures, outFeatures } = TARGET_MODULES[target];
      return [
        [keyOf(layer, target, 'A'), draw([RANK, inFeatures(config)])],
        [keyOf(layer, target, 'B'), draw([outFeatures(config), RANK])],
      ] as const;
    }),
  ).flat();
  mkdirSync(directory, { recursive: true });
  const settings = {
    peft_type: 'LORA',
    r: RANK,
    lora_alpha: RANK,
    target_modules: TARGETS_OF.separate,
  };
  writeFileSync(path.join(directory, 'adapter_config.json'), JSON.stringify(settings));
  const file = path.join(directory, 'adapter_model.safetensors');
  writeFileSync(file, serializeSafetensors(new Map(tensors)));
}

interface Health {
  readonly memory: { total_bytes: number; limit: { bytes: number }; parts: Record<string, number> };
  readonly engine: { slots: number };
}

test('T34: in 900 MB it serves fewer sequences, says so, and survives a full load with eight adapters', {
  skip: skipBase,
}, async (t) => {
  const group = limited(t, 900e6);
  if (!group) return;
  const home = temporaryFolder(t);
  const names = Array.from({ length: 8 }, (_, i) => `adapter-${i}`);
  const adapters = path.join(home, 'adapters');
  for (const [seed, name] of names.entries()) writeAdapter(path.join(adapters, name), seed);
  const args = ['--model', dir, '--adapters', adapters];
  const server = await startServing(args, home, {}, group.within);
  try {
    const [, slots, maxSeq] = /--slots (\d+) --max-seq (\d+) instead of 32 and 2048/.exec(
      server.output.error,
    )!;
    const health = (await (await fetch(`${server.url}/health`)).json()) as Health;
    assert.equal(health.engine.slots, Number(slots));
    assert.ok(health.memory.total_bytes <= health.memory.limit.bytes);
    assert.ok(health.memory.limit.bytes <= 900e6);
    const post = async (model: string, i: number): Promise<number> => {
      const prompt = Array.from(
        { length: Number(maxSeq) - 20 },
        (_, k) => 100 + ((k * 7919 + i) % 40_000),
      );
      const response = await postJson(`${server.url}/v1/completions`, {
        model,
        prompt,
        max_tokens: 16,
        ignore_eos: true,
      });
      const answer = await response.text();
      if (response.status !== 503) return response.status;
      // More adapters at once than their memory holds are told to come back.
      assert.doesNotMatch(answer, /engine_restarting/);
      await delay(200);
      return post(model, i);
    };
    const models = [...names, ...Array<string>(Number(slots)).fill('base')];
    assert.deepEqual(new Set(await Promise.all(models.map(post))), new Set([200]));
    assert.equal(group.oomKills(), 0);
  } finally {
    assert.equal(await server.stop(), 0);
    await group.remove();
  }
});

test('F31, T34: in 200 MB it ends with 78 and the figures, before it builds anything', {
  skip: skipBase,
}, async (t) => {
  const group = limited(t, 200e6);
  if (!group) return;
  const home = temporaryFolder(t);
  const { code, error } = await runLorikeet(['serve', '--model', dir], home, {}, group.within);
  await group.remove();
  assert.equal(code, 78, error);
  assert.match(
    error,
    /serving takes \d+ MiB .*KV cache of 1 x 256 positions.* 191 MiB \(.*memory\S*\).*base \d+ MiB/,
  );
  assert.ok(!existsSync(path.join(home, 'cache')));
});

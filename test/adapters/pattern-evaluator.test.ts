// Expressions in configurations never hold up the thread that reads them, and plain names need no other process.
import assert from 'node:assert/strict';
import { subscribe } from 'node:diagnostics_channel';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import { parseAdapterConfig } from '../../adapters/peft/peft-config.ts';
import { moduleName, TARGETS_OF } from '../../src/model/target-modules.ts';
import { configBytes } from './sample.ts';

const LAYERS = Array.from({ length: 30 }, (_, layer) => layer);
const MODULES = LAYERS.flatMap((layer) =>
  TARGETS_OF.separate.map((name) => moduleName(layer, name)),
);
const parse = (changes: Record<string, unknown>) =>
  parseAdapterConfig(configBytes(changes), MODULES);

/** Compiling it takes 0.7 to 2.5 s: the size of its program is known only then, unless the deadline comes first. */
const SLOW = '((?:(a?){10}){10}){10}'.repeat(80);

let workers = 0;
subscribe('child_process', () => workers++);

test('names, endings and escaped names start no worker', async () => {
  const config = await parse({
    target_modules: ['q_proj', 'self_attn.v_proj', MODULES[0]],
    exclude_modules: ['lm_head'],
    layers_to_transform: LAYERS,
    rank_pattern: Object.fromEntries(MODULES.map((name, i) => [name, 1 + (i % 8)])),
    alpha_pattern: { '^model\\.layers\\.3\\.self_attn\\.q_proj$': 8 },
  });
  assert.equal(config.settingOf(moduleName(3, 'q_proj')).scaling, 8 / (1 + (21 % 8)));
  assert.equal(workers, 0);
});

test('an expression starts one, and the next ones use it', async () => {
  const both = await Promise.all([
    parse({ target_modules: '.*q_proj' }),
    parse({ target_modules: '.*(k|v)_proj' }),
  ]);
  const counts = both.map(({ isTargeted }) => MODULES.filter(isTargeted).length);
  assert.deepEqual(counts, [30, 60]);
  assert.equal(workers, 1);
});

test('a slow expression is stopped and named, nobody waits for it, and others are read after it', async () => {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const startMs = performance.now();
  const slow = parse({ rank_pattern: { q_proj: 2, '(k|q)_proj': 2, [SLOW]: 4, '.*o_proj': 4 } });
  const next = parse({ target_modules: '.*\\.down_proj' });
  await assert.rejects(slow, {
    status: 422,
    param: 'rank_pattern[2]',
    message: /too (long|large)/,
  });
  assert.equal(MODULES.filter((await next).isTargeted).length, 30);
  delay.disable();
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs < 120_000, `it took ${tookMs} ms`);
  assert.ok(delay.max / 1e6 < 500, `the thread that asked stood still for ${delay.max / 1e6} ms`);
});

test('an expression that needs too much memory costs its process, not this one', async () => {
  // Together they take more memory than the worker may have, unless its time is over first.
  const copies = (length: number) => `((?:(a?){10}){10}){${length}}`.repeat(30);
  const rank_pattern = Object.fromEntries([8, 9, 10].map((n) => [copies(n), 4]));
  await assert.rejects(parse({ rank_pattern }), {
    status: 422,
    param: /^rank_pattern\[/,
    message: /too (long|large)/,
  });
  assert.equal(
    MODULES.filter((await parse({ target_modules: '.*\\.up_proj' })).isTargeted).length,
    30,
  );
});

test('the same slow expression is refused at once', async () => {
  const before = workers;
  const startMs = performance.now();
  const changes = { rank_pattern: { q_proj: 2, '(k|q)_proj': 2, [SLOW]: 4, '.*o_proj': 4 } };
  await assert.rejects(parse(changes), { param: 'rank_pattern[2]' });
  assert.ok(performance.now() - startMs < 500);
  assert.equal(workers, before);
});

test('classes of Unicode, which take seconds by the hundred, are refused before a worker is asked', async () => {
  const before = workers;
  const keys = Array.from({ length: 60 }, (_, i) => `(?i)[${'\\pL'.repeat(300)}${i}]`);
  const rank_pattern = Object.fromEntries(keys.map((key) => [key, 2]));
  await assert.rejects(parse({ rank_pattern }), { status: 422, param: 'rank_pattern[0]' });
  assert.equal(workers, before);
});

test('a configuration has so many expressions at most', async () => {
  const rank_pattern = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`(a|b){${i + 1}}`, 2]));
  await parse({ rank_pattern: rank_pattern(32) });
  await assert.rejects(parse({ rank_pattern: rank_pattern(33) }), { param: 'rank_pattern[32]' });
});

import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { servingSize } from '../../src/compose/models.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { rowLinears } from '../../src/model/row-weights.ts';
import { WEIGHTS_MODES } from '../../src/model/serving-weights.ts';
import { TARGETS_OF } from '../../src/model/target-modules.ts';
import { runCommand } from '../cli/command.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { SMOLLM2, temporaryFolder, tinyAdapter, tinyModel } from '../fixtures.ts';

process.env['LORIKEET_HOME'] = temporaryFolder();

const ASKED = {
  weights: 'int8',
  kv: 'f32',
  slots: 32,
  maxSeq: 2048,
  rank: 16,
  targets: TARGETS_OF.separate,
} as const;

test('the base is what its serving files hold, in every mode', async (t) => {
  const model = tinyModel();
  for (const weights of WEIGHTS_MODES) {
    const { base } = servingSize(model.config, { ...ASKED, weights });
    const folder = await ensureServingFiles(model.artifact, {
      ...{ weights, cacheDir: temporaryFolder(t), packing: 'packed' },
      roundToRecords: async (values) => new Uint8Array((values.length * 5) / 8),
      calibration: async () =>
        rowLinears(model.config).map(({ inputs }) => {
          const ones = new Float32Array(inputs).fill(1);
          return { maxima: ones, samples: [ones] };
        }),
    });
    const onDisk = statSync(path.join(folder, 'weights.bin')).size;
    // Tensors begin at multiples of 64 bytes.
    assert.ok(base <= onDisk && onDisk < base + 64 * 100, `${weights}: ${base} of ${onDisk}`);
  }
});

test('an adapter is the bytes of its float32 values, whatever its rank and targets', () => {
  const { config } = tinyModel();
  for (const [rank, targets] of [
    [3, ['q_proj', 'v_proj']],
    [16, TARGETS_OF.separate],
  ] as const) {
    const { layers } = tinyAdapter(config, { seed: 1, rank, targets });
    const bytes = layers
      .flatMap((layer) => Object.values(layer))
      .reduce((sum, { a, b }) => sum + a.byteLength + b.byteLength, 0);
    const size = servingSize(config, { ...ASKED, rank, targets });
    assert.equal(size.adapter, bytes);
    assert.ok(size.attached >= bytes);
    const packed = servingSize(config, { ...ASKED, packing: 'packed', rank, targets });
    assert.ok(packed.attached < size.attached, `${packed.attached} of ${size.attached}`);
  }
});

test('the figures of docs/sizing.md are those of SmolLM2-135M', () => {
  const size = servingSize(parseDecoderConfig(SMOLLM2), ASKED);
  const text = readFileSync('docs/sizing.md', 'utf8');
  for (const [bytes, shown] of [
    [size.base, '175 MB'],
    [size.cacheToken, '46 kB'],
    [size.cacheSlot, '94 MB'],
    [size.adapter, '19.5 MB'],
  ] as const) {
    const inUnit = bytes / (shown.endsWith('kB') ? 1e3 : 1e6);
    assert.ok(Math.abs(inUnit - Number.parseFloat(shown)) <= 0.5, `${bytes}, not ${shown}`);
    assert.ok(text.includes(shown), shown);
  }
});

test('it answers for a config.json alone, and names the flag at fault', async () => {
  const run = (...args: string[]) => runCommand(['size', ...args]);
  const toy = await run('--config', 'models/toy/config.json', '--json', '--slots', '2');
  assert.equal(toy.code, 0, toy.error);
  const { cache, cacheSlot } = JSON.parse(toy.out);
  assert.equal(cache, 2 * cacheSlot);
  for (const [args, code, pattern] of [
    [[], 2, /--model or --config/],
    [
      ['--model', 'nowhere'],
      78,
      /nowhere is neither an imported model nor a name of the catalogue/,
    ],
    [['--config', 'nowhere.json'], 78, /^lorikeet: nowhere\.json: is absent/],
    [['--config', 'package.json'], 78, /package\.json: model_type: is missing/],
    [['--config', 'README.md'], 78, /README\.md: is not (valid )?JSON/],
    [['--model', 'models/toy', '--rank', '513'], 2, /--rank/],
    [['--model', 'models/toy', '--targets', 'q_proj,lm_head'], 2, /lm_head/],
    [['--model', 'models/toy', '--slots', 'many'], 78, /--slots/],
  ] as const) {
    const { code: found, error } = await run(...args);
    assert.equal(found, code, error);
    assert.match(error, pattern);
  }
});

test('the needed memory holds the requested sequences, and what more buys adds up', async () => {
  const reportOf = async (...args: string[]) => {
    const flags = ['--model', 'smollm2-135m-instruct', '--max-seq', '2048', '--json', ...args];
    const { out, error } = await runCommand(['size', ...flags]);
    assert.equal(error, '');
    return JSON.parse(out);
  };
  const [one, eight] = [await reportOf(), await reportOf('--slots', '8')];
  assert.equal(eight.need.needed - one.need.needed - 7 * one.cacheSlot, activationsOf(eight, one));
  for (const { need, memory, slots } of [one, eight]) {
    const { needed, more, most } = need;
    const sum = Object.values(more as Record<string, number>).reduce((a, b) => a + b, needed);
    assert.equal(sum, most);
    assert.ok(most <= memory.totalBytes, `${most} of ${memory.totalBytes}`);
    assert.ok(need.runningAdapters <= Math.min(slots, need.cachedAdapters));
    assert.equal(more.sequences, (slots - need.sequences) * one.cacheSlot);
  }
});

test('more buys only adapters that the cache and the slots hold', async () => {
  const last = async (...args: string[]) => {
    const flags = ['size', '--model', 'llama-3.2-1b-instruct', ...args];
    const { out, code, error } = await runCommand(flags);
    assert.equal(code, 0, error);
    return out.slice(out.indexOf('Needed: '));
  };
  const [, cached, running] = /(\d+) adapters in memory .*?(\d+) of them/.exec(await last())!;
  assert.equal(running, cached); // fewer than 32 slots
  assert.match(await last('--rank', '512'), /Needed: .* It needs --adapter-cache \S+ GB\.\nMore/);
  assert.doesNotMatch(await last('--rank', '512'), /adapters? in memory|of them/);
});

/** The logits of further sequences. */
function activationsOf(...[a, b]: readonly { memory: { parts: { activations: number } } }[]) {
  return a!.memory.parts.activations - b!.memory.parts.activations;
}

test('it answers for a base of the catalogue that is not on the disk, and tells the least from the most', async () => {
  const args = ['size', '--model', 'qwen2.5-1.5b-instruct', '--weights', 'int4'];
  const { out, code, error } = await runCommand(args);
  assert.equal(code, 0, error);
  const [, needed, most] =
    /^Needed: (\S+) GB for 1 sequence of [\s\S]*^More buys, up to (\S+) GB: /m.exec(out) ?? [];
  assert.ok(Number(needed) > 1.1 && Number(needed) < Number(most), out);
});

// Adapters that peft makes after the base's vocabulary was resized: the logits of all tokens, old and new, are peft's, alone and in a
// batch with the base and adapters of the base's vocabulary.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { readHeader } from '../../adapters/peft/header.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import { toFloat32 } from '../../src/common/tensor.ts';
import { BASE_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { createRunner, worstDifference } from '../engine/runner.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless, testUnless } from '../shared.ts';
import { runPython, skipWithout } from './python.ts';

const LIMIT = 2e-4;
const models = sharedPath('golden', 'models');
const skip = skipUnless(models) || skipWithout('torch', 'transformers', 'peft');
const test = testUnless(skip);

interface Case {
  readonly size: number;
  readonly config: Record<string, unknown>;
}

const V = 384;
const LINEARS = ['q_proj', 'v_proj', 'down_proj'];
const RANKS = { r: 4, lora_alpha: 8 };
const more = (config: Record<string, unknown>, size = V + 3): Case => ({
  size,
  config: { ...RANKS, target_modules: LINEARS, ...config },
});

/** By base, then by name. */
const CASES: Readonly<Record<string, Readonly<Record<string, Case>>>> = {
  'llama-tied': {
    linears: more({}),
    fewer: more({}, V - 5),
    'both tables': more({ modules_to_save: ['embed_tokens', 'lm_head'] }),
    'the embedding alone': more({ modules_to_save: ['embed_tokens'] }),
    'a tied embedding': more({ modules_to_save: ['embed_tokens'], ensure_weight_tying: true }),
    'tokens old and new': more({ trainable_token_indices: [5, V, V + 2] }),
    'tokens of both uses': more({
      trainable_token_indices: { embed_tokens: [5, V], lm_head: [5, V] },
    }),
    'an update of the embedding': more({ target_modules: [...LINEARS, 'embed_tokens'] }),
    'updates of both': more({ target_modules: [...LINEARS, 'embed_tokens', 'lm_head'] }),
    'a tied update': more({
      target_modules: [...LINEARS, 'embed_tokens'],
      ensure_weight_tying: true,
    }),
    'an update of the head': more({ target_modules: [...LINEARS, 'lm_head'] }, V + 200),
    'an update of fewer': more({ target_modules: [...LINEARS, 'embed_tokens', 'lm_head'] }, V - 1),
    'fewer, all trained': more({ modules_to_save: ['embed_tokens', 'lm_head'] }, V - 64),
  },
  'llama-sharded': {
    linears: more({}),
    fewer: more({}, V - 5),
    'both tables': more({ modules_to_save: ['embed_tokens', 'lm_head'] }),
    'tokens old and new': more({ trainable_token_indices: [5, V, V + 2] }),
    'updates of both': more({ target_modules: [...LINEARS, 'embed_tokens', 'lm_head'] }),
  },
};

async function serve(t: TestContext, base: string, slotCount: number) {
  const source = path.join(models!, base);
  const dir = path.join(temporaryFolder(t), 'base');
  await importModel(source, dir, { quantization: 'none', doubleQuantization: false });
  const artifact = readArtifact(dir);
  t.after(() => artifact.tensors.close());
  const cacheDir = temporaryFolder(t);
  const servingDir = await ensureServingFiles(artifact, { weights: 'f32', cacheDir });
  const served = createRunner(t, servingDir, { slotCount, maxSeqLength: 16 });
  const folder = temporaryFolder(t);
  const script = path.resolve('test/e2e/new_tokens.py');
  const { error, status } = runPython([script, source, JSON.stringify(CASES[base]), folder]);
  assert.equal(status, 0, error);
  const adapters = [];
  for (const name of Object.keys(CASES[base]!)) {
    const read = (file: string) => readFileSync(path.join(folder, name, file));
    const weightsBytes = read('adapter_model.safetensors');
    const files = { configBytes: read('adapter_config.json'), weightsBytes, digest: name };
    const weights = await parseAdapter(files, artifact.config, adaptedBaseOf(artifact));
    const size = await readHeader(weightsBytes.length, async (at, length) =>
      weightsBytes.subarray(at, at + length),
    );
    assert.ok(weights.byteSize <= size.byteSize, `${name}: memory is reserved by the header`);
    assert.deepEqual(
      weights.parts.filter((part) => !size.parts.includes(part)),
      [],
      name,
    );
    const { tensors } = parseSafetensors(read('cases.safetensors'), BASE_LIMITS);
    const ids = new BigInt64Array(new Uint8Array(tensors.get('input_ids')!.data).buffer);
    const logits = toFloat32(tensors.get('logits')!);
    adapters.push({ name, weights, ids: Array.from(ids, Number), logits });
  }
  return { ...served, adapters };
}

const LENGTH = 12;

for (const base of Object.keys(CASES)) {
  test(`${base}: adapters of resized vocabularies have peft's logits, alone and together`, async (t) => {
    const count = Object.keys(CASES[base]!).length;
    const { runner, slots, adapters } = await serve(t, base, count + 1);
    for (const { weights } of adapters) slots.attach(weights);
    const plain = { tokenIds: [7, 8, 9], firstSlot: 0, pastLengths: [0], logitRows: [0, 1, 2] };
    const before = (await runner.run({ ...plain, slots: [0] })).map((row) => row.logits.slice());

    for (const { name, weights, ids, logits } of adapters) {
      const size = CASES[base]![name]!.size;
      const slot = slots.slotOf(weights.digest);
      for (const row of [0, 1]) {
        const tokenIds = ids.slice(row * LENGTH, (row + 1) * LENGTH);
        const logitRows = tokenIds.map((_, i) => i);
        const rows = await runner.run({
          tokenIds,
          firstSlot: 0,
          pastLengths: [0],
          logitRows,
          slots: [slot],
        });
        rows.forEach(({ logits: got, top }, i) => {
          const at = (row * LENGTH + i) * size;
          const want = logits.subarray(at, at + size);
          assert.equal(got.length, size, name);
          const worst = worstDifference(got, want);
          assert.ok(worst < LIMIT, `${name}: token ${i} is off by ${worst}`);
          assert.equal(Number(top!.ids[0]), want.indexOf(Math.max(...want)), name);
        });
      }
    }

    const all = [undefined, ...adapters];
    for (let position = 0; position < LENGTH; position++) {
      const rows = await runner.run({
        tokenIds: all.map((one) => one?.ids[position] ?? plain.tokenIds[position] ?? 0),
        firstSlot: 0,
        pastLengths: all.map(() => position),
        logitRows: all.map((_, row) => row),
        slots: all.map((one) => slots.slotOf(one?.weights.digest)),
      });
      all.forEach((one, row) => {
        const { logits: got } = rows[row]!;
        if (!one && position >= before.length) return;
        const size = one ? CASES[base]![one.name]!.size : V;
        assert.equal(got.length, size);
        const want = one?.logits.subarray(position * size, (position + 1) * size);
        const worst = worstDifference(got, want ?? before[position]!);
        assert.ok(worst < LIMIT, `${one?.name}: row ${row} at ${position} is off by ${worst}`);
      });
    }
  });
}

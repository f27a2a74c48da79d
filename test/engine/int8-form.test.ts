// The per-token forms of int8 and int4 linears in the engine, on a tiny base.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { asBytes } from '../../src/common/tensor.ts';
import type { SlotId } from '../../src/engine/batch.ts';
import { measureInputs, measureKvMaxima } from '../../src/engine/calibration.ts';
import { Engine, type EngineOptions } from '../../src/engine/engine.ts';
import { roundOnAllCores, usablePackings } from '../../src/engine/int8-form.ts';
import type { LogitsRow } from '../../src/engine/logits.ts';
import { openServingFolder } from '../../src/engine/serving-folder.ts';
import type { Calibration } from '../../src/import/serving-files.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { type RowPacking, rowLinears } from '../../src/model/row-weights.ts';
import { TARGETS_OF, type TargetName, targetNames } from '../../src/model/target-modules.ts';
import type { TableChange } from '../../src/model/vocabulary-changes.ts';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import {
  type TinyModel,
  temporaryFolder,
  tinyAdapter,
  tinyModel,
  wideAdapter,
} from '../fixtures.ts';
import { plainLogits } from '../model/plain-decoder.ts';
import { TINY_FAMILIES } from '../model/tiny-families.ts';
import { expandRecords } from '../quant/plain-records.ts';

const TOKENS = Array.from({ length: 24 }, (_, i) => (7 * i + 3) % 96);

const CALIBRATION: Calibration = (dir) => measureInputs(dir, TOKENS);

/** The orders of the weights that this machine can compute. */
const PACKINGS: readonly RowPacking[] = ownInstructions() ? ['plain', 'packed'] : ['plain'];

/** The forms that this machine can compute: `int4` is packed, the others are orders of int8. */
const FORMS: readonly Form[] = ownInstructions() ? [...PACKINGS, 'int4'] : PACKINGS;
type Form = RowPacking | 'int4';

const INT4 = { weights: 'int4', packing: 'packed' } as const;

interface Served {
  readonly model: TinyModel;
  readonly calibration?: Calibration | undefined;
  readonly form?: Form;
}

async function openEngine(
  t: TestContext,
  { form = 'plain', ...served }: Served,
  more: Partial<EngineOptions> = {},
): Promise<Engine> {
  const { model, calibration } = { calibration: CALIBRATION, ...served };
  const servingDir = await ensureServingFiles(model.artifact, {
    ...{ cacheDir: temporaryFolder(t), calibration, roundToRecords: roundOnAllCores },
    ...(form === 'int4' ? INT4 : { weights: 'int8', packing: form }),
  });
  const engine = await Engine.create({ servingDir, slotCount: 6, maxSeqLength: 32, ...more });
  t.after(() => engine.release());
  return engine;
}

/** The weights of a model, those of the MLP rounded to 4 bits. */
async function in4Bits({ config, weights }: TinyModel): Promise<TinyModel['weights']> {
  const rounded = new Map<string, Float32Array>();
  for (const [name, [, inputs]] of expectedTensors(config)) {
    const records = name.includes('.mlp.') && (await roundOnAllCores(weights(name), inputs!));
    if (records) rounded.set(name, Float32Array.from(expandRecords(records, inputs!)));
  }
  return (name) => rounded.get(name) ?? weights(name);
}

/** Decodes one token of each sequence in one run. Returns the logits by row, or why a row has none. */
async function decode(engine: Engine, adapters: readonly (AdapterWeights | undefined)[]) {
  const seen = adapters.map((): Float32Array[] => []);
  const { rows } = await engine.run({
    kind: 'decode',
    rows: adapters.map((adapter, row) => ({
      adapter: adapter?.digest,
      tokenId: TOKENS[row]!,
      pastLength: 0,
      sampler: {
        sample: ({ logits }: LogitsRow) => {
          seen[row]!.push(logits.slice());
          return { id: 0 };
        },
      },
    })),
  });
  return rows.map(([result], row) => (result!.ok ? seen[row]![0]! : result!.reason));
}

/** The cosine of two vectors. */
function likeness(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

for (const [family, changes] of TINY_FAMILIES) {
  test(`${family}: logits are close to those of a plain decoder`, async (t) => {
    const model = tinyModel(changes);
    const targets = targetNames(model.config);
    const plain = tinyAdapter(model.config, { seed: 5, rank: 4, targets });
    const wide = wideAdapter(model, 6);
    const uses = [undefined, plain, undefined, wide];
    const found: Awaited<ReturnType<typeof decode>>[] = [];
    for (const form of FORMS) {
      const engine = await openEngine(t, { model, form });
      const weights = form === 'int4' ? await in4Bits(model) : model.weights;
      for (const adapter of [plain, wide]) {
        await engine.prepareFor(adapter);
        engine.attachAdapter(adapter);
      }
      const logits = await decode(engine, uses);
      found.push(logits);
      for (const [row, used] of uses.entries()) {
        const want = plainLogits(model.config, weights, [TOKENS[row]!], used);
        const got = logits[row];
        assert.ok(
          typeof got === 'object' && likeness(got, Float32Array.from(want[0]!)) > 0.995,
          `${form}, row ${row}`,
        );
      }
    }
    // Our operator also rounds adapters to 8 bits, and keys and values to 16, which moves single activations to the next code.
    const [ofRuntime, ofOperator = ofRuntime] = found as Float32Array[][];
    ofRuntime!.forEach((row, i) => {
      const least = uses[i] ? 0.999 : 0.9997;
      assert.ok(likeness(row, ofOperator![i]!) > least, `row ${i}`);
    });
  });
}

test('our own operators read a sequence at once and token by token to the same bits', {
  skip: !PACKINGS.includes('packed') && 'needs our own operators',
}, async (t) => {
  for (const [family, changes] of TINY_FAMILIES) {
    const served = { model: tinyModel(changes), form: 'packed' } as const;
    const engine = await openEngine(t, served, { kv: 'f16' });
    const seen: Float32Array[] = [];
    const sample = ({ logits }: LogitsRow) => {
      seen.push(logits.slice());
      return { id: 0 };
    };
    const base = { adapter: undefined, sampler: { sample } };
    const prompt = { ...base, tokenIds: TOKENS, pastLength: 0, scoring: undefined };
    await engine.run({ kind: 'prefill', slot: 0 as SlotId, ...prompt });
    for (const [pastLength, tokenId] of TOKENS.entries())
      await engine.run({ kind: 'decode', rows: [{ ...base, tokenId, pastLength }] });
    assert.deepEqual(seen.at(-1), seen[0], family);
  }
});

test('our own operators read prompts together to the same bits as one by one, and draw nothing if one is not finite', {
  skip: !PACKINGS.includes('packed') && 'needs our own operators',
}, async (t) => {
  const model = tinyModel();
  for (const kv of ['f32', 'f16'] as const) {
    const engine = await openEngine(t, { model, form: 'packed' }, { kv });
    const adapter = tinyAdapter(model.config, { seed: 5, rank: 4, targets: ['q_proj', 'v_proj'] });
    engine.attachAdapter(adapter);
    const seen: Float32Array[] = [];
    const sampler = {
      sample: ({ logits }: LogitsRow) => {
        seen.push(logits.slice());
        return { id: 0 };
      },
    };
    const start = { kind: 'prefill', slot: 3 as SlotId, adapter: undefined } as const;
    const chunk = { tokenIds: TOKENS.slice(0, 9), pastLength: 0, scoring: undefined };
    await engine.run({ ...start, ...chunk, sampler: undefined });
    const batches = [
      { adapter: undefined, tokenIds: TOKENS.slice(0, 5), pastLength: 0 },
      { adapter: adapter.digest, tokenIds: TOKENS.slice(5, 12), pastLength: 0 },
      { adapter: undefined, tokenIds: TOKENS.slice(9, 15), pastLength: 9 },
    ].map((batch, i) => {
      const slot = (i + 1) as SlotId;
      return { kind: 'prefill', slot, sampler, scoring: undefined, ...batch } as const;
    });
    for (const batch of batches) await engine.run(batch);
    const alone = seen.splice(0);
    const rows = await engine.runTogether!(batches);
    assert.deepEqual(rows, Array(3).fill([{ ok: true, id: 0 }]));
    assert.deepEqual(seen.splice(0), alone, kv);
    const poison = tinyAdapter(model.config, { seed: 6, rank: 4, targets: ['q_proj', 'v_proj'] });
    poison.layers[0]!.q_proj!.b[1] = Number.NaN;
    engine.attachAdapter(poison);
    const [first, second, third] = batches;
    const spoilt = [first!, { ...second!, adapter: poison.digest }, third!];
    assert.equal(await engine.runTogether!(spoilt), undefined);
    assert.deepEqual(seen, []);
  }
});

for (const form of FORMS) {
  test(`a row's logits do not depend on how many rows run beside it: ${form}`, async (t) => {
    const engine = await openEngine(t, { model: tinyModel(), form });
    const [alone] = await decode(engine, [undefined]);
    const together = await decode(
      engine,
      Array.from({ length: 6 }, () => undefined),
    );
    assert.deepEqual(together[0], alone);
  });
}

test('a base that was not calibrated keeps its blocks', async (t) => {
  const engine = await openEngine(t, { model: tinyModel(), calibration: undefined });
  const [blocks] = await decode(engine, [undefined]);
  const [rows] = await decode(await openEngine(t, { model: tinyModel() }), [undefined]);
  assert.ok(likeness(blocks as Float32Array, rows as Float32Array) > 0.99);
  assert.notDeepEqual(blocks, rows);
});

const poisoned = FORMS.flatMap((form) =>
  TARGETS_OF.separate.map((target) => [form, target] as const),
);
for (const [form, target] of poisoned) {
  test(`F37, I02: a NaN in an adapter's ${target} ends its row, and no other: ${form}`, async (t) => {
    const model = tinyModel();
    const engine = await openEngine(t, { model, form });
    const adapter = tinyAdapter(model.config, { seed: 5, rank: 4, targets: [target] });
    const [healthy] = await decode(engine, [undefined, undefined]);
    adapter.layers[0]![target]!.b[1] = Number.NaN;
    engine.attachAdapter(adapter);
    const [first, second] = await decode(engine, [undefined, adapter]);
    assert.deepEqual(first, healthy);
    assert.equal(second, 'non_finite');
    const batch = { kind: 'prefill', slot: 0 as SlotId, adapter: adapter.digest } as const;
    const chunk = { tokenIds: TOKENS, pastLength: 0, sampler: undefined, scoring: undefined };
    const prompt = await engine.run({ ...batch, ...chunk });
    assert.deepEqual(prompt.rows, [[{ ok: false, reason: 'non_finite' }]]);
  });
}

for (const packing of PACKINGS) {
  test(`a linear that is not precise gets more float inputs, and is named: ${packing}`, async (t) => {
    const { artifact } = tinyModel();
    const misjudged = 'layers.1.mlp_out';
    const named: Readonly<Record<string, number>>[] = [];
    const servingDir = await ensureServingFiles(artifact, {
      ...{ weights: 'int8', cacheDir: temporaryFolder(t), packing },
      async calibration(dir) {
        const inputs = await measureInputs(dir, TOKENS);
        const at = rowLinears(artifact.config).findIndex(({ name }) => name === misjudged);
        // Half of the inputs are far smaller than this says.
        const { maxima } = inputs[at]!;
        for (let i = 0; i < maxima.length; i += 2) maxima[i]! *= 1e9;
        return inputs;
      },
      onImprecise: (floats) => named.push(floats),
    });
    assert.deepEqual(named.map(Object.keys), [[misjudged]]);
    const { tensors, rowForm } = openServingFolder(servingDir);
    assert.deepEqual(rowForm?.floats, named[0]);
    const { shape } = tensors.get(`${misjudged}.rows.float_inputs`)!;
    assert.deepEqual(shape, [named[0]![misjudged]]);
    const engine = await Engine.create({ servingDir, slotCount: 6, maxSeqLength: 32 });
    t.after(() => engine.release());
    const whole = await openEngine(t, { model: tinyModel(), form: packing });
    const [found, want] = [await decode(engine, [undefined]), await decode(whole, [undefined])];
    assert.ok(likeness(found[0] as Float32Array, want[0] as Float32Array) > 0.999);
  });
}

test('a calibration finds the largest inputs of every linear and of the head', async (t) => {
  const model = tinyModel();
  const cacheDir = temporaryFolder(t);
  const servingDir = await ensureServingFiles(model.artifact, { weights: 'f32', cacheDir });
  const all = await measureInputs(servingDir, TOKENS);
  assert.equal(all.length, 4 * model.config.layerCount + 1);
  const one = await measureInputs(servingDir, TOKENS.slice(0, 4));
  one.forEach(({ maxima, samples }, i) => {
    assert.ok(maxima.every((max, k) => max > 0 && max <= all[i]!.maxima[k]! * 1.00001));
    assert.equal(samples.length, 1);
    assert.ok(samples[0]!.every((value, k) => Math.abs(value) <= maxima[k]!));
  });
  assert.notDeepEqual(asBytes(one[0]!.maxima), asBytes(all[0]!.maxima));
});

test('the scales of an int8 cache can be measured with weights in every order', async (t) => {
  const { artifact } = tinyModel();
  const found: Float32Array[] = [];
  for (const packing of PACKINGS) {
    const options = { cacheDir: temporaryFolder(t), packing, calibration: CALIBRATION };
    const servingDir = await ensureServingFiles(artifact, { weights: 'int8', ...options });
    const layers = await measureKvMaxima(servingDir, TOKENS);
    found.push(Float32Array.from(layers.flatMap(({ key, value }) => [...key, ...value])));
  }
  for (const maxima of found) assert.ok(likeness(maxima, found[0]!) > 0.9999);
});

test('our own operator computes int8 and int4 on the CPU if it runs here and fits, except with AMX', () => {
  const { config } = tinyModel();
  const base = { config, weights: 'int8', provider: 'cpu' } as const;
  const own = { features: ['avx2'], ownInstructions: 'avx2' } as const;
  assert.deepEqual(usablePackings(base, own), ['packed', 'plain']);
  const odd = { ...config, hiddenSize: config.hiddenSize + 2 };
  assert.deepEqual(usablePackings({ ...base, config: odd }, own), ['plain']);
  const amx = { ...own, features: ['amx', 'avx2'] } as const;
  assert.deepEqual(usablePackings(base, amx), ['plain', 'packed']);
  for (const features of [undefined, ['dotprod'], ['avx-vnni', 'avx2']] as const)
    assert.deepEqual(usablePackings(base, { features, ownInstructions: undefined }), ['plain']);
  assert.deepEqual(usablePackings({ ...base, weights: 'f32' }, own), []);
  const int4 = { ...base, weights: 'int4' } as const;
  assert.deepEqual(usablePackings(int4, amx), ['packed']);
  assert.deepEqual(
    usablePackings({ ...int4, config: { ...config, intermediateSize: 48 } }, own),
    [],
  );
  assert.deepEqual(usablePackings(int4, { ...own, ownInstructions: undefined }), []);
  assert.deepEqual(usablePackings({ ...base, provider: 'webgpu' }, own), []);
});

test('what is prepared ahead is what adapters on all linears, with a head if one is expected, and on q and v need', async (t) => {
  const model = tinyModel();
  const { vocabSize, hiddenSize } = model.config;
  const all = targetNames(model.config);
  const onTargets = (targets: readonly TargetName[], changes = {}) =>
    tinyAdapter(model.config, { seed: 5, rank: 4, targets, changes });
  const update: TableChange = {
    ...{ kind: 'update', weight: 1, rank: 1 },
    ...{ a: new Float32Array(vocabSize), b: new Float32Array(hiddenSize) },
  };
  const withHead = onTargets(all, { vocabulary: { embedding: [], head: [update] } });
  const plain = [onTargets(all), onTargets(['q_proj', 'v_proj'])];
  for (const expectsHeads of [false, true]) {
    const adapters = expectsHeads ? [...plain, withHead] : plain;
    const open = () => openEngine(t, { model }, { expectsHeads });
    const [engine, other] = await Promise.all([open(), open()]);
    let pieces = 1;
    while (await engine.prepareAhead()) pieces++;
    assert.equal(pieces, adapters.length);
    for (const adapter of adapters.slice(1)) await other.prepareFor(adapter);
    assert.equal(await other.prepareAhead(), false, 'only the first one was missing');
  }
});

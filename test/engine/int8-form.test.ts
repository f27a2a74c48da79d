// The per-token form of int8 linears in the engine, on a tiny base.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import type { ProcessorFeature } from '../../src/common/processor.ts';
import { asBytes } from '../../src/common/tensor.ts';
import type { SlotId } from '../../src/engine/batch.ts';
import { measureInputMaxima, measureRowErrors } from '../../src/engine/calibration.ts';
import { Engine, type EngineOptions } from '../../src/engine/engine.ts';
import { chooseInt8Form, type Int8Hardware, type Int8Scales } from '../../src/engine/int8-form.ts';
import type { LogitsRow } from '../../src/engine/logits.ts';
import { openServingFolder } from '../../src/engine/serving-folder.ts';
import { type Calibration, ensureServingFiles } from '../../src/import/serving-files.ts';
import type { RowPacking } from '../../src/model/row-weights.ts';
import { TARGETS_OF, type TargetName, targetNames } from '../../src/model/target-modules.ts';
import type { TableChange } from '../../src/model/vocabulary-changes.ts';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import {
  type TinyModel,
  temporaryFolder,
  tinyAdapter,
  tinyModel,
  wideAdapter,
} from '../fixtures.ts';
import { plainLogits } from '../model/plain-decoder.ts';
import { TINY_FAMILIES } from '../model/tiny-families.ts';

const TOKENS = Array.from({ length: 24 }, (_, i) => (7 * i + 3) % 96);

const CALIBRATION: Calibration = {
  measureInputs: (dir) => measureInputMaxima(dir, TOKENS),
  measureErrors: (dir) => measureRowErrors(dir, TOKENS),
};

/** The orders of the weights that this machine can compute. */
const PACKINGS: readonly RowPacking[] = ownInstructions() ? ['plain', 'packed'] : ['plain'];

interface Served {
  readonly model: TinyModel;
  readonly hasPerTokenForm?: boolean;
  readonly packing?: RowPacking;
}

async function openEngine(
  t: TestContext,
  { model, hasPerTokenForm = true, packing = 'plain' }: Served,
  int8Scales: Int8Scales,
  more: Partial<EngineOptions> = {},
): Promise<Engine> {
  const servingDir = await ensureServingFiles(model.artifact, {
    weights: 'int8',
    cacheDir: temporaryFolder(t),
    packing,
    ...(hasPerTokenForm && { calibration: CALIBRATION }),
  });
  const engine = await Engine.create({
    servingDir,
    slotCount: 6,
    maxSeqLength: 32,
    int8Scales,
    ...more,
  });
  t.after(() => engine.release());
  return engine;
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

/** Runs a prompt of these tokens, and returns the logits of the last one. */
async function readPrompt(engine: Engine, tokenIds: readonly number[]): Promise<Float32Array> {
  let last: Float32Array | undefined;
  const sample = ({ logits }: LogitsRow) => {
    last = logits.slice();
    return { id: 0 };
  };
  const batch = { kind: 'prefill', slot: 0 as SlotId, adapter: undefined } as const;
  const sampler = { sample };
  await engine.run({ ...batch, tokenIds, pastLength: 0, sampler, scoring: undefined });
  return last!;
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
    for (const packing of PACKINGS) {
      const engine = await openEngine(t, { model, packing }, 'rows');
      for (const adapter of [plain, wide]) {
        await engine.prepareFor(adapter);
        engine.attachAdapter(adapter);
      }
      const logits = await decode(engine, uses);
      found.push(logits);
      for (const [row, used] of uses.entries()) {
        const want = plainLogits(model.config, model.weights, [TOKENS[row]!], used);
        const got = logits[row];
        assert.ok(
          typeof got === 'object' && likeness(got, Float32Array.from(want[0]!)) > 0.995,
          `${packing}, row ${row}`,
        );
      }
    }
    // Both orders round to the same codes, apart from ties. Our operator also rounds adapters to 8 bits.
    const [ofRuntime, ofOperator = ofRuntime] = found as Float32Array[][];
    ofRuntime!.forEach((row, i) => {
      const least = uses[i] ? 0.999 : 0.9999;
      assert.ok(likeness(row, ofOperator![i]!) > least, `row ${i}`);
    });
  });
}

for (const packing of PACKINGS) {
  test(`a row's logits do not depend on how many rows run beside it: ${packing}`, async (t) => {
    const engine = await openEngine(t, { model: tinyModel(), packing }, 'rows');
    const [alone] = await decode(engine, [undefined]);
    const together = await decode(
      engine,
      Array.from({ length: 6 }, () => undefined),
    );
    assert.deepEqual(together[0], alone);
  });
}

test('with mixed scales, prompts take the per-token form and steps do not, however many rows run', async (t) => {
  const model = tinyModel();
  const [blocks, rows, mixed] = await Promise.all(
    (['blocks', 'rows', 'mixed'] as const).map((form) => openEngine(t, { model }, form)),
  );
  for (const count of [1, 2, 6]) {
    const step = Array.from({ length: count }, () => undefined);
    assert.deepEqual(await decode(mixed!, step), await decode(blocks!, step));
    assert.notDeepEqual(await decode(mixed!, step), await decode(rows!, step));
  }
  for (const count of [2, 24]) {
    const prompt = TOKENS.slice(0, count);
    assert.deepEqual(await readPrompt(mixed!, prompt), await readPrompt(rows!, prompt));
    assert.notDeepEqual(await readPrompt(mixed!, prompt), await readPrompt(blocks!, prompt));
  }
  assert.notEqual(rows!.info.fingerprint, mixed!.info.fingerprint);
});

test('a base that was not calibrated keeps its blocks', async (t) => {
  const engine = await openEngine(t, { model: tinyModel(), hasPerTokenForm: false }, 'rows');
  assert.equal(engine.info.int8Scales, 'blocks');
  assert.equal(typeof (await decode(engine, [undefined]))[0], 'object');
});

const poisoned = PACKINGS.flatMap((packing) =>
  TARGETS_OF.separate.map((target) => [packing, target] as const),
);
for (const [packing, target] of poisoned) {
  test(`F37, I02: a NaN in an adapter's ${target} ends its row, and no other: ${packing}`, async (t) => {
    const model = tinyModel();
    const engine = await openEngine(t, { model, packing }, 'rows');
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

test('a linear whose row form is not precise keeps its blocks, and is named', async (t) => {
  const { artifact } = tinyModel();
  const options = { weights: 'int8', cacheDir: temporaryFolder(t) } as const;
  const named: string[] = [];
  const servingDir = await ensureServingFiles(artifact, {
    ...options,
    calibration: {
      ...CALIBRATION,
      // Half of the inputs of layer 1's down projection are far smaller than this says.
      async measureInputs(dir) {
        const maxima = await measureInputMaxima(dir, TOKENS);
        const misjudged = maxima.at(-1)!;
        for (let i = 0; i < misjudged.length; i += 2) misjudged[i]! *= 1e9;
        return maxima;
      },
    },
    onImprecise: (linears) => named.push(...linears),
  });
  assert.deepEqual(named, ['layers.1.mlp_out']);
  const served = openServingFolder(servingDir);
  assert.deepEqual([...served.perBlockLinears], named);
  const size = { slotCount: 6, maxSeqLength: 32, int8Scales: 'rows' } as const;
  const engine = await Engine.create({ servingDir, ...size });
  t.after(() => engine.release());
  const whole = await openEngine(t, { model: tinyModel() }, 'rows');
  const [found, want] = [await decode(engine, [undefined]), await decode(whole, [undefined])];
  assert.ok(likeness(found[0] as Float32Array, want[0] as Float32Array) > 0.999);
});

test('a calibration finds the largest inputs of every linear', async (t) => {
  const model = tinyModel();
  const cacheDir = temporaryFolder(t);
  const servingDir = await ensureServingFiles(model.artifact, { weights: 'f32', cacheDir });
  const all = await measureInputMaxima(servingDir, TOKENS);
  assert.equal(all.length, 4 * model.config.layerCount);
  const one = await measureInputMaxima(servingDir, TOKENS.slice(0, 4));
  one.forEach((maxima, i) => {
    assert.ok(maxima.every((max, k) => max > 0 && max <= all[i]![k]! * 1.00001));
  });
  assert.notDeepEqual(asBytes(one[0]!), asBytes(all[0]!));
});

const TINY = {
  config: tinyModel().config,
  weights: 'int8',
  provider: 'cpu',
  byteSize: 1e8,
} as const;

function hardware(...features: readonly ProcessorFeature[]): Int8Hardware {
  return { features, ownInstructions: undefined };
}

test('without our own operator, the form is chosen by instruction set', () => {
  for (const [scales, ...features] of [
    ['rows', 'amx', 'avx512-vnni', 'avx2'],
    ['mixed', 'avx-vnni', 'avx2'],
    ['rows', 'avx512', 'avx2'],
    ['rows', 'avx2'],
    ['blocks', 'i8mm', 'dotprod'],
    ['blocks'],
  ] as const) {
    assert.deepEqual(chooseInt8Form(TINY, hardware(...features)), { scales, packing: 'plain' });
  }
  assert.equal(chooseInt8Form({ ...TINY, weights: 'f32' }, hardware('amx')), undefined);
  assert.equal(chooseInt8Form({ ...TINY, provider: 'webgpu' }, hardware('amx')), undefined);
});

test('our own operator computes every run, except with AMX', () => {
  const own = (...features: readonly ProcessorFeature[]) =>
    ({ features, ownInstructions: 'avx2' }) as const;
  const packed = { scales: 'rows', packing: 'packed' };
  assert.deepEqual(chooseInt8Form(TINY, own('avx512-vnni')), packed);
  assert.deepEqual(chooseInt8Form(TINY, own('avx2')), packed);
  assert.deepEqual(chooseInt8Form({ ...TINY, int8Scales: 'rows' }, own('avx2')), packed);
  assert.equal(chooseInt8Form(TINY, own('amx'))?.packing, 'plain');
  const { config } = TINY;
  const odd = { ...config, hiddenSize: config.hiddenSize + 2 };
  assert.equal(chooseInt8Form({ ...TINY, config: odd }, own('avx2'))?.packing, 'plain');
});

test('the operator chooses the form', () => {
  for (const int8Scales of ['rows', 'mixed', 'blocks'] as const) {
    const chosen = chooseInt8Form({ ...TINY, int8Scales }, hardware('dotprod'));
    assert.deepEqual(chosen, { scales: int8Scales, packing: 'plain' });
  }
  const hasOwn = { features: ['avx2'], ownInstructions: 'avx2' } as const;
  assert.equal(chooseInt8Form({ ...TINY, int8Scales: 'mixed' }, hasOwn)?.packing, 'plain');
});

test('a large base is served in the per-token form alone', () => {
  const large = { ...TINY, byteSize: 1.3e9 };
  assert.equal(chooseInt8Form(large, hardware('amx'))?.scales, 'rows');
  assert.equal(chooseInt8Form(large, hardware('avx512-vnni'))?.scales, 'rows');
  assert.equal(chooseInt8Form(large, hardware('avx2'))?.scales, 'rows');
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
    const open = () => openEngine(t, { model }, 'mixed', { expectsHeads });
    const [engine, other] = await Promise.all([open(), open()]);
    let pieces = 1;
    while (await engine.prepareAhead()) pieces++;
    assert.ok(pieces > 1);
    for (const adapter of adapters) {
      assert.equal(await other.prepareAhead(), true);
      await other.prepareFor(adapter);
    }
    assert.equal(await other.prepareAhead(), false);
  }
});

// A composition is the sum of its terms' updates, and what it takes is known before anything is loaded.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createAdapterLoader, type LoadLimits } from '../../adapters/cache/load.ts';
import { adapterDigest, CONFIG_FILE, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import type { AdaptedBase } from '../../adapters/peft/outputs.ts';
import type { AdapterWeights, LoraPair } from '../../adapters/peft/weights.ts';
import type { AdapterSourcePart } from '../../src/contracts/generation.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { TARGET_MODULES, type TargetName } from '../../src/model/target-modules.ts';
import { temporaryFolder } from '../fixtures.ts';
import { configBytes, constant, MODEL, type SampleOptions, sampleTensors } from './sample.ts';

/** A folder whose adapter has small multiples of 1/4 for values: sums and products are exact in float32. */
function writeAdapter(
  t: TestContext,
  {
    seed,
    rank = 2,
    tokens,
    ...options
  }: SampleOptions & { seed: number; rank?: number; tokens?: number },
): Omit<AdapterSourcePart, 'weight'> {
  const directory = temporaryFolder(t);
  const { targets = ['q_proj', 'v_proj'] } = options;
  const value = (i: number) => (((i * 7 + seed) % 9) - 4) / 4;
  const tensors = new Map(sampleTensors({ value, rankOf: () => rank, ...options, targets }));
  if (tokens) tensors.set(TABLE, constant([tokens, MODEL.hiddenSize], seed));
  const files = {
    config: configBytes({ r: rank, lora_alpha: 2 * rank, target_modules: targets }),
    weights: serializeSafetensors(tensors),
  };
  writeFileSync(path.join(directory, CONFIG_FILE), files.config);
  writeFileSync(path.join(directory, WEIGHTS_FILE), files.weights);
  return { directory, digest: adapterDigest(files.config, files.weights) };
}

/** The table of a resized vocabulary. That of the base is zeros. */
const TABLE = 'base_model.model.model.embed_tokens.weight';
const base: AdaptedBase = {
  rowNorms: () => assert.fail('not needed'),
  vector: () => assert.fail('not needed'),
  table: async () => constant([MODEL.vocabSize, MODEL.hiddenSize], 0),
};

test('a new vocabulary is whole in a composition, whatever its weight, and there is only one', async (t) => {
  const [resized, other] = [1, 2].map((seed) => writeAdapter(t, { seed, tokens: 18 }));
  const plain = { ...writeAdapter(t, { seed: 3 }), weight: 1 };
  const limits = { ...LIMITS, base };
  const composed = await (await open([{ ...resized!, weight: 0.5 }, plain], limits)).load();
  const { own, embedding } = composed.vocabulary;
  assert.deepEqual([...own!.embedding], Array(2 * MODEL.hiddenSize).fill(1));
  assert.equal(embedding[0]!.weight, 0.5, 'tokens of the base change by the weight');
  const two = [resized!, other!].map((part) => ({ ...part, weight: 1 }));
  const message = /two adapters with vocabularies of their own/;
  const refused = { code: 'adapter_invalid', message };
  await assert.rejects((await open(two, limits)).load(), refused);
});

const LIMITS: LoadLimits = { maxRank: 8, canHold: () => true };

function open(parts: readonly AdapterSourcePart[], limits: LoadLimits = LIMITS) {
  return createAdapterLoader(MODEL, limits)({ digest: 'd', owner: 'local', parts });
}

/** a b, [in, out]: the update's matrix, the plain way; zeros where there is none. */
function update({ layers }: AdapterWeights, layer: number, target: TargetName): number[] {
  const inSize = TARGET_MODULES[target].inFeatures(MODEL);
  const outSize = TARGET_MODULES[target].outFeatures(MODEL);
  const product = new Array<number>(inSize * outSize).fill(0);
  const pair: LoraPair | undefined = layers[layer]![target];
  if (!pair) return product;
  for (let i = 0; i < inSize; i++)
    for (let o = 0; o < outSize; o++)
      for (let r = 0; r < pair.rank; r++)
        product[i * outSize + o]! += pair.a[i * pair.rank + r]! * pair.b[r * outSize + o]!;
  return product;
}

test("a composition's update is the sum of its terms' weighted updates, exactly", async (t) => {
  const one = writeAdapter(t, { seed: 1 });
  const other = writeAdapter(t, { seed: 2, rank: 3, targets: ['v_proj', 'down_proj'] });
  const alone = async (part: typeof one) => (await open([{ ...part, weight: 1 }])).load();
  const [first, second] = [await alone(one), await alone(other)];
  const opened = await open([
    { ...one, weight: 1 },
    { ...other, weight: -0.5 },
  ]);
  const composed = await opened.load();
  for (let layer = 0; layer < MODEL.layerCount; layer++) {
    for (const target of ['q_proj', 'v_proj', 'down_proj', 'k_proj'] as const) {
      const sum = update(first, layer, target).map(
        (value, i) => value - 0.5 * update(second, layer, target)[i]!,
      );
      assert.deepEqual(update(composed, layer, target), sum, `${layer} ${target}`);
    }
  }
  assert.equal(composed.rank, 5);
  assert.deepEqual(composed.targets, ['q_proj', 'v_proj', 'down_proj']);
  assert.equal(composed.byteSize, first.byteSize + second.byteSize);
  assert.equal(opened.byteSize, composed.byteSize);
});

test('one adapter with a weight is that many times its update', async (t) => {
  const part = writeAdapter(t, { seed: 3 });
  const plain = await (await open([{ ...part, weight: 1 }])).load();
  const scaled = await (await open([{ ...part, weight: 1.5 }])).load();
  const expected = update(plain, 1, 'q_proj').map((value) => 1.5 * value);
  assert.deepEqual(update(scaled, 1, 'q_proj'), expected);
  assert.equal(scaled.rank, plain.rank);
});

test('ranks that add up to more than the limit are refused by the headers alone', async (t) => {
  const parts = [1, 2, 3].map((seed) => ({ ...writeAdapter(t, { seed, rank: 3 }), weight: 1 }));
  assert.equal((await open(parts.slice(0, 2))).byteSize > 0, true);
  const message = /ranks 3 \+ 3 \+ 3 = 9; the limit is 8/;
  await assert.rejects(open(parts), { status: 422, code: 'adapter_invalid', message });
  await assert.rejects(open(parts.slice(0, 1), { ...LIMITS, maxRank: 2 }), { message: /rank 3/ });
});

test('what adapter slots cannot hold is refused by the headers alone', async (t) => {
  const asked: unknown[] = [];
  const canHold: LoadLimits['canHold'] = ({ rank, targets }) => {
    asked.push([rank, targets]);
    return false;
  };
  const part = { ...writeAdapter(t, { seed: 1, rank: 3 }), weight: 1 };
  await assert.rejects(open([part, part], { ...LIMITS, canHold }), {
    status: 422,
    message: /takes more memory than the adapter slots have\. Use a lower rank, or .*--slots/,
  });
  assert.deepEqual(asked, [[6, ['q_proj', 'v_proj']]]);
});

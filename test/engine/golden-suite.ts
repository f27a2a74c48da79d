// Compares with the logits of transformers and peft, on any provider: every supported model and adapter, float32
// weights.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { AdaptedBase } from '../../adapters/peft/outputs.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import { toFloat32 } from '../../src/common/tensor.ts';
import { BASE_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { adapterStart } from '../../src/scheduler/sequence.ts';
import { PROVIDERS, type Provider } from '../../src/settings/provider.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { createRunner, runLogits, worstDifference } from './runner.ts';

const LIMIT = 2e-4;
const DQ_KEY = 'logits_nf4_dq';

/** The folders of all models, or of all adapters, by name. */
function foldersOf(kind: 'models' | 'adapters'): ReadonlyMap<string, string> {
  const parents = [sharedPath('golden', kind), sharedPath('golden', 'breadth', kind)];
  const found = parents.flatMap((parent) =>
    parent ? readdirSync(parent).map((name) => [name, path.join(parent, name)] as const) : [],
  );
  return new Map(found);
}

const models = foldersOf('models');
const adapters = foldersOf('adapters');

type Quantization = { quantization: 'none' | 'nf4'; doubleQuantization: boolean };
const DOUBLE: Quantization = { quantization: 'nf4', doubleQuantization: true };

export interface Form {
  readonly name: string;
  readonly quantization: Quantization;
  readonly file: string;
  /** The largest difference of logits. */
  readonly key: string;
}

export const UNQUANTIZED: Form = {
  name: 'unquantized',
  quantization: { quantization: 'none', doubleQuantization: false },
  file: 'cases',
  key: 'logits',
};

const FORMS: readonly Form[] = [
  UNQUANTIZED,
  {
    name: 'NF4',
    quantization: { quantization: 'nf4', doubleQuantization: false },
    file: 'cases-nf4',
    key: 'logits_nf4',
  },
  { name: 'double-quantized NF4', quantization: DOUBLE, file: 'cases-nf4', key: DQ_KEY },
];

const supported = [...adapters.keys()].filter((name) => !name.includes('.'));

export interface GoldenOptions {
  readonly provider: Provider;
  readonly skip?: string | false;
  /** The forms of the base that are tested. Default: all. */
  readonly forms?: readonly Form[];
}

/** Declares a test per model and form, per model for greedy ids, per adapter, and one for a mixed batch. */
export function goldenSuite(name: string, { provider, skip, forms = FORMS }: GoldenOptions): void {
  const options = { skip: skipUnless(sharedPath('golden')) || skip || false };
  const golden = goldenOn(provider);
  const optionsOf = (model: string) => {
    const isRefused = model === 'gemma2' && !PROVIDERS[provider].capsAttention;
    return isRefused
      ? { skip: `${provider} computes it wrongly, and the server refuses it` }
      : options;
  };
  for (const model of models.keys()) {
    for (const form of forms) {
      test(`${name}, ${model}, ${form.name}: logits equal transformers'`, optionsOf(model), (t) =>
        testLogits(t, golden, { model, form }),
      );
    }
    test(`${name}, ${model}: greedy ids equal transformers'`, optionsOf(model), (t) =>
      testGreedy(t, golden, model),
    );
  }
  for (const adapter of supported) {
    test(`${name}, adapter ${adapter}: logits equal peft's`, optionsOf(baseOf(adapter)), (t) =>
      testAdapter(t, golden, adapter),
    );
  }
  test(`${name}: each row of a mixed batch has peft's logits`, options, (t) =>
    testMixed(t, golden),
  );
  test(`${name}: adapters of all kinds have peft's logits in one batch`, options, (t) =>
    testKinds(t, golden),
  );
}

async function testLogits(
  t: TestContext,
  golden: Golden,
  { model, form: { quantization, file, key } }: { model: string; form: Form },
): Promise<void> {
  const cases = readCases(path.join(models.get(model)!, `${file}.safetensors`), key);
  const maxSeqLength = cases[0]!.ids.length;
  const { runner } = await golden(t, model, { quantization, maxSeqLength });
  for (const { ids, logits } of cases) {
    const logitRows = ids.map((_, row) => row);
    const input = { tokenIds: ids, firstSlot: 1, pastLengths: [0], logitRows };
    const data = await runLogits(runner, { ...input, slots: [0] });
    const worst = worstDifference(data, logits);
    assert.ok(worst < LIMIT, `${ids.length} tokens are off by ${worst}`);
  }
}

async function testGreedy(t: TestContext, golden: Golden, model: string): Promise<void> {
  const file = path.join(models.get(model)!, 'greedy.json');
  const cases: { prompt: number[]; ids: number[] }[] = JSON.parse(readFileSync(file, 'utf8')).cases;
  const maxSeqLength = Math.max(...cases.map(({ prompt, ids }) => prompt.length + ids.length));
  const { quantization } = UNQUANTIZED;
  const { runner, config } = await golden(t, model, { quantization, maxSeqLength });
  for (const { prompt, ids } of cases) {
    const got: number[] = [];
    let tokenIds = prompt;
    for (let past = 0; got.length < ids.length; past += tokenIds.length, tokenIds = got.slice(-1)) {
      const input = { tokenIds, firstSlot: 0, pastLengths: [past], slots: [0] };
      const data = await runLogits(runner, { ...input, logitRows: [tokenIds.length - 1] });
      assert.equal(data.length, config.vocabSize);
      got.push(data.indexOf(Math.max(...data)));
    }
    assert.deepEqual(got, ids);
  }
}

function baseOf(adapter: string): string {
  const file = path.join(adapters.get(adapter)!, 'adapter_config.json');
  return JSON.parse(readFileSync(file, 'utf8')).base_model_name_or_path;
}

async function testAdapter(t: TestContext, golden: Golden, name: string): Promise<void> {
  const served = await golden(t, baseOf(name), { quantization: DOUBLE });
  const weights = await goldenAdapter(name, served);
  const { invocation } = weights;
  served.slots.attach(weights);
  const file = path.join(adapters.get(name)!, 'cases.safetensors');
  for (const { ids, logits } of readCases(file, DQ_KEY)) {
    const from = invocation ? adapterStart(ids, invocation) : 0;
    const data: number[] = [];
    for (const [start, end, slot] of [
      [0, from, 0],
      [from, ids.length, 1],
    ] as const) {
      const tokenIds = ids.slice(start, end);
      if (tokenIds.length === 0) continue;
      const logitRows = tokenIds.map((_, row) => row);
      const input = { tokenIds, firstSlot: 0, pastLengths: [start], logitRows, slots: [slot] };
      data.push(...(await runLogits(served.runner, input)));
    }
    const worst = worstDifference(Float32Array.from(data), logits);
    assert.ok(worst < LIMIT, `${ids.length} tokens are off by ${worst}`);
  }
}

async function testMixed(t: TestContext, golden: Golden): Promise<void> {
  const { rows } = JSON.parse(readFileSync(adapters.get('mixed.json')!, 'utf8'));
  const cases = readCases(adapters.get('mixed.safetensors')!, DQ_KEY);
  const mine = (rows as (string | null)[])
    .map((name, i) => ({ name: name ?? undefined, ...cases[i]! }))
    .filter(({ name }) => name === undefined || supported.includes(name));
  assert.ok(mine.length >= 8);
  await assertRows(t, golden, mine);
}

/** Every adapter of one base, and the base. */
async function testKinds(t: TestContext, golden: Golden): Promise<void> {
  const kinds = supported.filter((name) => baseOf(name) === 'llama-tied');
  const [base] = readCases(path.join(models.get('llama-tied')!, 'cases-nf4.safetensors'), DQ_KEY);
  const rows = kinds.map((name) => {
    const [first] = readCases(path.join(adapters.get(name)!, 'cases.safetensors'), DQ_KEY);
    return { name, ...first! };
  });
  assert.ok(rows.length >= 8);
  await assertRows(t, golden, [{ name: undefined, ...base! }, ...rows]);
}

/** Decodes rows together, token by token, each with its adapter, and compares the logits. */
async function assertRows(
  t: TestContext,
  golden: Golden,
  rows: readonly { name: string | undefined; ids: number[]; logits: Float32Array }[],
): Promise<void> {
  const length = Math.min(...rows.map(({ ids }) => ids.length));
  const served = await golden(t, 'llama-tied', { quantization: DOUBLE, slotCount: rows.length });
  const starts = new Map<string | undefined, (ids: readonly number[]) => number>();
  for (const name of new Set(rows.map((row) => row.name))) {
    if (name === undefined) continue;
    const weights = await goldenAdapter(name, served);
    served.slots.attach(weights);
    const { invocation } = weights;
    if (invocation) starts.set(name, (ids) => adapterStart(ids, invocation));
  }
  const { vocabSize } = served.config;
  for (let position = 0; position < length; position++) {
    const slots = rows.map(({ name, ids }) => {
      const from = starts.get(name)?.(ids) ?? 0;
      return served.slots.slotOf(position < from ? undefined : name);
    });
    const data = await runLogits(served.runner, {
      tokenIds: rows.map(({ ids }) => ids[position]!),
      firstSlot: 0,
      pastLengths: rows.map(() => position),
      logitRows: rows.map((_, row) => row),
      slots,
    });
    rows.forEach(({ logits }, row) => {
      const got = data.subarray(row * vocabSize, (row + 1) * vocabSize);
      const want = logits.subarray(position * vocabSize, (position + 1) * vocabSize);
      assert.ok(worstDifference(got, want) < LIMIT, `row ${row} at ${position}`);
    });
  }
}
interface Served extends ReturnType<typeof createRunner> {
  readonly base: AdaptedBase;
}

interface GoldenRun {
  readonly quantization: Quantization;
  readonly slotCount?: number;
  /** Default: 128. As in transformers, longrope depends on the length of the sequence. */
  readonly maxSeqLength?: number;
}

type Golden = (t: TestContext, model: string, run: GoldenRun) => Promise<Served>;

const goldenOn =
  (provider: Provider): Golden =>
  async (t, model, { quantization, slotCount = 2, maxSeqLength = 128 }) => {
    const dir = path.join(temporaryFolder(t), 'artifact');
    await importModel(models.get(model)!, dir, quantization);
    const artifact = readArtifact(dir);
    t.after(() => artifact.tensors.close());
    const cacheDir = temporaryFolder(t);
    const servingDir = await ensureServingFiles(artifact, { weights: 'f32', cacheDir });
    const runner = createRunner(t, servingDir, { slotCount, maxSeqLength, provider });
    return { ...runner, base: adaptedBaseOf(artifact) };
  };

/** The `input_ids` [B][T], and the logits with a key, by row [T * V]. */
function readCases(file: string, key: string) {
  const { tensors } = parseSafetensors(readFileSync(file), BASE_LIMITS);
  const ids = tensors.get('input_ids')!;
  const [batch, length] = ids.shape as [number, number];
  const flat = Array.from(new BigInt64Array(new Uint8Array(ids.data).buffer), Number);
  const logits = toFloat32(tensors.get(key)!);
  const rowSize = logits.length / batch;
  return Array.from({ length: batch }, (_, row) => ({
    ids: flat.slice(row * length, (row + 1) * length),
    logits: logits.subarray(row * rowSize, (row + 1) * rowSize),
  }));
}

async function goldenAdapter(name: string, { config, base }: Served) {
  const read = (file: string) => readFileSync(path.join(adapters.get(name)!, file));
  const files = {
    configBytes: read('adapter_config.json'),
    weightsBytes: read('adapter_model.safetensors'),
  };
  return parseAdapter({ ...files, digest: name }, config, base);
}

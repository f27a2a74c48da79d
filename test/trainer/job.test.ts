// What a job may say: every fault by the name of its key, and what is left open settled by model and data.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { fromFloat32, toFloat32 } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { planAdapter } from '../../trainer/job/adapter-plan.ts';
import { parseJob } from '../../trainer/job/job.ts';
import {
  resolveMaxLength,
  resolveMethod,
  resolveSettings,
} from '../../trainer/job/resolve-settings.ts';
import { writeAdapter } from '../../trainer/run/result-files.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';

const BASE = { model: 'm', data: 'd.jsonl' };
const { config, artifact } = tinyModel();

function faultsOf(json: unknown): readonly string[] {
  try {
    parseJob(json);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
}

test('a job needs a model and data only', () => {
  const job = parseJob(BASE);
  assert.equal(job.batchSize, 8);
  assert.deepEqual(job.betas, [0.9, 0.999]);
  assert.equal(job.recompute, true);
  assert.deepEqual(faultsOf({}), ['model: is missing', 'data: is missing']);
});

test('an unknown key is refused by its name', () => {
  assert.deepEqual(faultsOf({ ...BASE, learning_rate: 1 }), [
    'learning_rate: is not a key of a job',
  ]);
  assert.deepEqual(faultsOf([]).length, 1);
});

test('values out of bounds are refused by the name of their key', () => {
  const bad: Record<string, unknown[]> = {
    learningRate: [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '1e-3', 2],
    epochs: [0, 1e6, 1.5],
    batchSize: [0, -1, 2.5],
    seed: [0.5, -1, 2 ** 31],
    name: ['../x', 'a/b', '', '..', 'x'.repeat(64)],
    rank: [0, -1, 1.5, 513],
    alpha: [0, -2],
    dropout: [1, -0.1],
    schedule: ['cubic'],
    method: ['dora'],
    maxLength: [1],
    validationSplit: [0.6, -1],
    betas: [[0.9], [0.9, 1]],
    layers: [[-1], []],
    gradAccumulation: [0],
    shuffle: ['no'],
  };
  for (const [key, values] of Object.entries(bad)) {
    for (const value of values) {
      const faults = faultsOf({ ...BASE, [key]: value });
      assert.equal(faults.length, 1, `${key}: ${JSON.stringify(value)}`);
      assert.ok(faults[0]!.startsWith(key), faults[0]);
    }
  }
});

test('a fault says what a value must be', () => {
  const bad: readonly (readonly [key: string, value: unknown, fault: string])[] = [
    ['rank', 0, 'rank: must be at least 1'],
    ['rank', 1.5, 'rank: must be a whole number'],
    ['rank', 'four', 'rank: must be a number'],
    ['learningRate', 0, 'learningRate: must be above 0'],
    ['learningRate', 'fast', 'learningRate: must be a number'],
    ['dropout', 1, 'dropout: must be below 1'],
    ['epochs', 1e6, 'epochs: must be at most 1000'],
    ['shuffle', 'no', 'shuffle: must be true or false'],
    ['method', 'dora', 'method: must be qlora, lora or full'],
    ['compute', 'int4', 'compute: must be float32 or int8'],
    ['betas', [0.9], 'betas: must have at least 2 entries'],
    ['layers', [], 'layers: is empty'],
    ['data', '', 'data: is empty'],
    [
      'targets',
      7,
      'targets: must be all-linear, a regular expression of up to 2048 characters, or a list of up to 64 module names of up to 256',
    ],
    ['rankPattern', 3, 'rankPattern: must be an object'],
  ];
  for (const [key, value, fault] of bad) {
    assert.deepEqual(faultsOf({ ...BASE, [key]: value }), [fault]);
  }
});

test('keys that contradict each other are refused', () => {
  assert.deepEqual(faultsOf({ ...BASE, patience: 2, evalEvery: 5 }), [
    'evalEvery: needs validation or validationSplit',
    'patience: needs validation or validationSplit',
  ]);
  assert.deepEqual(faultsOf({ ...BASE, method: 'full', rank: 4, name: 'x' }).length, 2);
  assert.deepEqual(faultsOf({ ...BASE, method: 'full', compute: 'int8' }), [
    'compute: must be float32, because method is full and no linear is frozen',
  ]);
  assert.match(faultsOf({ ...BASE, validation: 'v', validationSplit: 0.1 })[0]!, /validationSplit/);
});

test('kinds of adapters that do not go together are refused', async () => {
  assert.deepEqual(faultsOf({ ...BASE, dora: true, loraBias: true }), [
    'loraBias: cannot be combined with dora',
  ]);
  const activated = { ...BASE, alora: [5, 6] };
  assert.deepEqual(faultsOf({ ...activated, dora: true, bias: 'all' }), [
    'dora: cannot be combined with alora',
    'bias: cannot be combined with alora',
  ]);
  assert.deepEqual(faultsOf({ ...BASE, init: 'pissa', initAdapter: 'a' }), [
    'init: does not apply, because initAdapter has the initial weights',
  ]);
  assert.deepEqual(faultsOf({ ...BASE, init: 'pissa', rankPattern: { q_proj: 300 } }), [
    'rank: must be at most 256 with init pissa, because the file has twice the rank',
  ]);
  assert.match(faultsOf({ ...BASE, alora: [-1] })[0]!, /^alora.0: must be at least 0/);
  assert.match(faultsOf({ ...BASE, method: 'full', dora: true })[0]!, /^dora: does not apply/);
  await assert.rejects(planAdapter(parseJob({ ...BASE, bias: 'all' }), artifact), {
    message: /bias: all would train nothing, because the base has no biases/,
  });
});

test('an adapter is on all linears at rank 16 and alpha 32, with A uniform and B zero', async () => {
  const { lora, peft } = await planAdapter(parseJob(BASE), artifact);
  assert.equal(lora.modules.size, 14);
  assert.deepEqual(lora.modules.get('model.layers.1.mlp.up_proj'), { rank: 16, scaling: 2 });
  assert.equal((peft.target_modules as string[]).length, 7);
  const key = 'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight';
  const a = toFloat32(lora.init.get(key)!);
  assert.deepEqual(lora.init.get(key)!.shape, [16, 128]);
  const bound = 1 / Math.sqrt(128);
  assert.ok(a.every((value) => Math.abs(value) <= bound));
  const variance = a.reduce((sum, value) => sum + value * value, 0) / a.length;
  assert.ok(Math.abs(variance / (bound ** 2 / 3) - 1) < 0.1); // of a uniform distribution
  const b = lora.init.get(key.replace('_A.', '_B.'))!;
  assert.ok(toFloat32(b).every((value) => value === 0));
});

test('the first values follow from the seed', async () => {
  const bytes = async (seed: number) => {
    const { lora } = await planAdapter(parseJob({ ...BASE, seed }), artifact);
    return Buffer.from(serializeSafetensors(lora.init)).toString('hex');
  };
  assert.equal(await bytes(1), await bytes(1));
  assert.notEqual(await bytes(1), await bytes(2));
});

test('names, a regular expression, patterns, layers and rsLoRA say which modules and how', async () => {
  const modulesOf = async (job: object) =>
    (await planAdapter(parseJob({ ...BASE, ...job }), artifact)).lora.modules;
  const named = await modulesOf({ targets: ['q_proj', 'v_proj'], layers: [1], rank: 4 });
  assert.deepEqual(
    [...named.keys()],
    ['model.layers.1.self_attn.q_proj', 'model.layers.1.self_attn.v_proj'],
  );
  const matched = await modulesOf({ targets: '.*\\.0\\..*(gate|up)_proj' });
  assert.deepEqual(
    [...matched.keys()],
    ['model.layers.0.mlp.gate_proj', 'model.layers.0.mlp.up_proj'],
  );
  const patterned = await modulesOf({
    rank: 4,
    rslora: true,
    rankPattern: { 'layers.0.self_attn.q_proj': 16 },
    alphaPattern: { q_proj: 32 },
  });
  assert.deepEqual(patterned.get('model.layers.0.self_attn.q_proj'), { rank: 16, scaling: 8 });
  assert.deepEqual(patterned.get('model.layers.1.self_attn.q_proj'), { rank: 4, scaling: 16 });
  assert.deepEqual(patterned.get('model.layers.1.self_attn.k_proj'), { rank: 4, scaling: 4 });
});

test('targets that match nothing, and a pattern that is none, are refused by key', async () => {
  const refused = (job: object, pattern: RegExp) =>
    assert.rejects(planAdapter(parseJob({ ...BASE, ...job }), artifact), {
      name: 'ConfigError',
      message: pattern,
    });
  await refused({ targets: ['nothing'] }, /^targets: no module of the model matches/);
  await refused({ targets: 'q_proj' }, /^targets: no module/);
  await refused({ targets: '(' }, /^targets: /);
  await refused({ targets: '.*q_proj', layers: [0] }, /^layers: /);
  await refused({ rankPattern: { '(': 4 } }, /^rankPattern\[0\]: /);
  await refused({ rank: 1, alpha: 1000 }, /^alpha: /);
  await refused({ layers: [1, 2, 9] }, /^layers: the model has blocks 0 to 1, not 2, 9$/);
});

test('a started adapter brings its settings; keys that say otherwise are refused', async (t) => {
  const dir = path.join(temporaryFolder(t), 'adapter');
  const first = await planAdapter(
    parseJob({ ...BASE, rank: 4, targets: ['q_proj', 'v_proj'], rslora: true, layers: [1] }),
    artifact,
  );
  const parameters = [...first.lora.init].map(([name, tensor]) => ({
    name,
    shape: tensor.shape,
    data: toFloat32(tensor).map((value) => value + 1),
  }));
  await writeAdapter(dir, { parameters, peft: first.peft, baseName: 'tiny', dtype: 'F32' });
  const same = { rank: 4, alpha: 8, targets: ['v_proj', 'q_proj'], rslora: true, layers: [1] };
  for (const job of [{}, same]) {
    const { lora, peft } = await planAdapter(
      parseJob({ ...BASE, ...job, initAdapter: dir }),
      artifact,
    );
    assert.deepEqual([...lora.modules], [...first.lora.modules]);
    assert.deepEqual(toFloat32(lora.init.get(parameters[0]!.name)!), parameters[0]!.data);
    assert.equal(peft.r, 4);
  }
  const other = { rank: 8, targets: 'all-linear', rslora: false, layers: [0], alpha: 9 };
  for (const [key, value] of Object.entries(other)) {
    const job = parseJob({ ...BASE, initAdapter: dir, [key]: value });
    await assert.rejects(
      planAdapter(job, artifact),
      new RegExp(`^ConfigError: ${key}: .* contradicts`),
    );
  }
});

test('an adapter to start from that is none is refused', async (t) => {
  const dir = temporaryFolder(t);
  const job = parseJob({ ...BASE, initAdapter: dir });
  await assert.rejects(planAdapter(job, artifact), /initAdapter: .*adapter_config.json/);
  mkdirSync(path.join(dir, 'x'));
  writeFileSync(path.join(dir, 'adapter_config.json'), '{"peft_type":"IA3"}');
  writeFileSync(path.join(dir, 'adapter_model.safetensors'), '');
  await assert.rejects(planAdapter(job, artifact), /initAdapter: .*peft_type/);
});

test('an adapter to start from that is served only, such as LoHa, is refused with the reason', async (t) => {
  const dir = temporaryFolder(t);
  const module = 'base_model.model.model.layers.0.self_attn.q_proj';
  const width = config.hiddenSize;
  const tensors = ['w1_a', 'w1_b', 'w2_a', 'w2_b'].map((name) => {
    const shape = name.endsWith('a') ? [width, 2] : [2, width];
    const tensor = fromFloat32(new Float32Array(2 * width), shape, 'F32');
    return [`${module}.hada_${name}`, tensor] as const;
  });
  const weights = serializeSafetensors(new Map(tensors));
  writeFileSync(path.join(dir, 'adapter_model.safetensors'), weights);
  const targets = { target_modules: ['q_proj'], layers_to_transform: [0] };
  const settings = { peft_type: 'LOHA', r: 2, alpha: 2, ...targets };
  writeFileSync(path.join(dir, 'adapter_config.json'), JSON.stringify(settings));
  const job = parseJob({ ...BASE, initAdapter: dir });
  await assert.rejects(
    planAdapter(job, artifact),
    /initAdapter: .*peft_type: .*can be served, but not trained/,
  );
});

test('a method needs its kind of base, and the refusal names the import', () => {
  const dense = artifact.info;
  const nf4 = { ...dense, quantization: 'nf4' } as typeof dense;
  assert.equal(resolveMethod(parseJob(BASE), dense), 'lora');
  assert.equal(resolveMethod(parseJob(BASE), nf4), 'qlora');
  const refusal = (method: string, info: typeof dense) => () =>
    resolveMethod(parseJob({ ...BASE, method }), info);
  assert.throws(refusal('qlora', dense), /lorikeet import tiny --out DIR --quantization nf4/);
  assert.throws(refusal('lora', nf4), /lorikeet import tiny --out DIR --quantization none/);
  assert.throws(refusal('full', nf4), /needs an unquantized base/);
});

const DATA = { method: 'qlora', maxLength: 64, stepsPerEpoch: 1 } as const;

test('what a job leaves open is settled by model and rows', () => {
  const options = { ...DATA, stepsPerEpoch: 50, hasValidation: true };
  const settings = resolveSettings(parseJob(BASE), config, options);
  assert.equal(settings.totalSteps, 150);
  assert.equal(settings.schedule.warmupSteps, 4);
  assert.equal(settings.evalEvery, 50);
  assert.equal(settings.checkpointEvery, 15);
  const job = parseJob({ ...BASE, maxSteps: 7, learningRate: 1e-3 });
  const asked = resolveSettings(job, config, options);
  assert.deepEqual([asked.totalSteps, asked.schedule.peak], [7, 1e-3]);
  assert.equal(resolveMaxLength(parseJob(BASE), config), 128);
  assert.throws(() => resolveMaxLength(parseJob({ ...BASE, maxLength: 129 }), config), /maxLength/);
});

test('the rate of SmolLM2-135M is the documented one', () => {
  const shape = { ...config, hiddenSize: 576 };
  const settings = resolveSettings(parseJob(BASE), shape, { ...DATA, hasValidation: false });
  assert.equal(settings.schedule.peak, 1.3e-3);
});

test('embedding, head and norms: what does not go together is refused by name', async () => {
  const tied = { trainEmbeddings: 'full', ensureWeightTying: true };
  const faults: readonly (readonly [job: Record<string, unknown>, fault: RegExp])[] = [
    [{ trainHead: 'lora', dropout: 0.1 }, /^dropout: cannot be combined with trainHead lora$/],
    [{ trainHead: 'lora', targets: '.*q_proj' }, /^trainHead: lora needs targets to be a list/],
    [{ trainHead: 'lora', dora: true }, /^trainHead: lora cannot be combined with dora$/],
    [{ trainEmbeddings: 'lora', init: 'pissa' }, /^trainEmbeddings: lora cannot be .* init$/],
    [{ modulesToSave: ['norm'], alora: 'x' }, /^modulesToSave: cannot be combined with alora$/],
    [{ ensureWeightTying: true }, /^ensureWeightTying: needs trainEmbeddings$/],
    [{ ...tied, trainHead: 'full' }, /^trainHead: cannot be combined with ensureWeightTying$/],
    [{ trainHead: 'full', initAdapter: 'x' }, /^trainHead: does not apply, because initAdapter/],
    [{ trainHead: 'all' }, /^trainHead: /],
    [{ method: 'full', trainHead: 'full' }, /^trainHead: does not apply, because method is full$/],
  ];
  for (const [job, fault] of faults) {
    const found = faultsOf({ ...BASE, ...job });
    assert.equal(found.length, 1, `${JSON.stringify(job)}: ${found}`);
    assert.match(found[0]!, fault);
  }
  const capped = tinyModel({ model_type: 'gemma2', final_logit_softcapping: 12 });
  const untied = tinyModel({ tie_word_embeddings: false });
  const ofBase: readonly (readonly [typeof capped, Record<string, unknown>, RegExp])[] = [
    [capped, { trainHead: 'full' }, /^trainHead: gemma2 caps its logits/],
    [untied, tied, /^ensureWeightTying: the base does not tie/],
    [untied, { modulesToSave: ['norm', 'q_proj'] }, /^modulesToSave\[1\]: no norm of the model/],
  ];
  for (const [base, job, fault] of ofBase) {
    const planned = planAdapter(parseJob({ ...BASE, ...job }), base.artifact);
    await assert.rejects(planned, { name: 'ConfigError', message: fault });
  }
  const classes = ['a', 'b'];
  await assert.rejects(
    planAdapter(parseJob({ ...BASE, trainHead: 'lora' }), untied.artifact, { classes }),
    /trainHead: does not apply, because the rows have labels/,
  );
  const both = { trainEmbeddings: 'full', modulesToSave: ['model.norm'] };
  const { peft } = await planAdapter(parseJob({ ...BASE, ...both }), artifact, { classes });
  assert.deepEqual(peft.modules_to_save, [
    ...['classifier', 'model.embed_tokens', 'model.norm', 'score'],
  ]);
});

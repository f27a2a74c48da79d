// Every kind of adapter that the trainer makes, trained step by step beside peft: the same losses, and the same weights at the
// end. peft opens the trainer's folder with the loss that the trainer measured.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { learnFromInvocation } from '../../trainer/data/invocation.ts';
import { type AdapterPlan, planAdapter } from '../../trainer/job/adapter-plan.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { clipFactor, createAdamW, globalNorm } from '../../trainer/optimizer.ts';
import { writeAdapter } from '../../trainer/run/result-files.ts';
import type { MicroBatch, ProbedModel } from '../../trainer/types.ts';
import { worstDifference } from '../engine/runner.ts';
import { readTensors, seededRandom, temporaryFolder } from '../fixtures.ts';
import { openBase } from '../imported-base.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { trainModel } from '../trainer/tiny-training.ts';
import { pythonJson, skipWithout } from './python.ts';

const LIMIT = 1e-4;
const RATE = 1e-3;
const [STEPS, ROWS, LENGTH] = [8, 3, 20];
const INVOCATION = [7, 9, 11];
const models = sharedPath('golden', 'models');
const skip = skipUnless(models) || skipWithout('torch', 'transformers', 'peft');

interface Case {
  readonly base: string;
  /** Arguments of peft's LoraConfig. */
  readonly config: Record<string, unknown>;
  /** Keys of our job, if it draws the initial weights itself. */
  readonly job?: Record<string, unknown>;
}

const SOME = ['q_proj', 'v_proj', 'down_proj'];
const ALL = [...SOME, 'k_proj', 'o_proj', 'gate_proj', 'up_proj'];
const RANKS = { r: 4, lora_alpha: 8 };
const TIED = { ensure_weight_tying: true };

const CASES: Readonly<Record<string, Case>> = {
  LoRA: { base: 'llama-tied', config: { ...RANKS, target_modules: ALL } },
  DoRA: { base: 'llama-tied', config: { ...RANKS, use_dora: true, target_modules: ALL } },
  'DoRA with rsLoRA and all biases': {
    base: 'qwen2',
    config: { ...RANKS, use_dora: true, use_rslora: true, bias: 'all', target_modules: SOME },
  },
  'all biases': { base: 'qwen2', config: { ...RANKS, bias: 'all', target_modules: SOME } },
  'biases of adapted linears': {
    base: 'qwen2',
    config: { ...RANKS, bias: 'lora_only', target_modules: SOME },
  },
  'biases of B': { base: 'qwen2', config: { ...RANKS, lora_bias: true, target_modules: ALL } },
  'activated LoRA': {
    base: 'llama-tied',
    config: { ...RANKS, alora_invocation_tokens: INVOCATION, target_modules: ALL },
  },
  'a head of its own under a tied embedding, and norms': {
    base: 'llama-tied',
    config: { ...RANKS, modules_to_save: ['lm_head', 'norm'], target_modules: SOME },
  },
  'both uses of a tied embedding': {
    base: 'llama-tied',
    config: { ...RANKS, ...TIED, modules_to_save: ['embed_tokens'], target_modules: SOME },
  },
  'one use of a tied embedding': {
    base: 'llama-tied',
    config: { ...RANKS, modules_to_save: ['embed_tokens'], target_modules: SOME },
  },
  'an embedding and a head': {
    base: 'phi3',
    config: { ...RANKS, modules_to_save: ['embed_tokens', 'lm_head'], target_modules: ['o_proj'] },
  },
  'updates of a tied embedding and its head': {
    base: 'llama-tied',
    config: { ...RANKS, target_modules: [...SOME, 'embed_tokens', 'lm_head'] },
  },
  'an update of both uses of a tied embedding': {
    base: 'llama-tied',
    config: { ...RANKS, ...TIED, target_modules: [...SOME, 'embed_tokens'] },
  },
  'updates of an embedding and a head, and norms': {
    base: 'qwen3',
    config: {
      ...RANKS,
      modules_to_save: ['norm'],
      target_modules: [...SOME, 'embed_tokens', 'lm_head'],
    },
  },
  PiSSA: {
    base: 'llama-tied',
    config: { ...RANKS, init_lora_weights: 'pissa', target_modules: ALL },
    job: { rank: 4, alpha: 8, init: 'pissa' },
  },
  'PiSSA with rsLoRA': {
    base: 'qwen2',
    config: { ...RANKS, init_lora_weights: 'pissa', use_rslora: true, target_modules: SOME },
    job: { rank: 4, alpha: 8, init: 'pissa', rslora: true, targets: SOME },
  },
};

for (const [name, { base, config, job }] of Object.entries(CASES)) {
  test(`${name}: losses and weights are those of peft`, { skip }, async (t) => {
    const source = path.join(models!, base);
    const rows = drawRows('alora_invocation_tokens' in config);
    const settings = JSON.stringify({ config, rate: RATE, ...rows });
    const folder = temporaryFolder(t);
    const expected = runTrainer(source, settings, folder);
    const artifact = await openBase(t, source);
    const keys = job ?? { initAdapter: path.join(folder, 'initial') };
    const plan = await planAdapter(parseJob({ model: 'm', data: 'd', ...keys }), artifact);
    const model = trainModel(t, { artifact }, { adapter: plan.lora });
    const batches = toBatches(rows);
    for (const [step, loss] of (await trainSteps(model, batches)).entries()) {
      const difference = Math.abs(loss - expected[step]!);
      assert.ok(difference < LIMIT, `step ${step}: ${loss}, peft has ${expected[step]}`);
    }
    const own = path.join(temporaryFolder(t), 'own');
    const { parameters } = model;
    await writeAdapter(own, { parameters, peft: plan.peft, baseName: source, dtype: 'F32' });
    const isPissa = plan.peft.init_lora_weights === 'pissa';
    if (isPissa) comparePairs(readFolder(own), readFolder(path.join(folder, 'final')), plan);
    else compareTensors(model, readTensors(path.join(folder, 'trained.safetensors')));
    const opened = runTrainer(source, settings, '--loss', own);
    for (const [i, batch] of batches.entries()) {
      const { loss, weight } = await model.evaluate(batch);
      assert.ok(Math.abs(loss / weight - opened[i]!) < LIMIT, `batch ${i}: ${opened[i]} in peft`);
    }
  });
}

interface DrawnRows {
  readonly batches: number[][][];
  /** Unshifted; -100 where nothing counts. */
  readonly labels: number[][][];
}

/** With an invocation, each row has it once, twice or not at all. */
function drawRows(withInvocation: boolean): DrawnRows {
  const random = seededRandom(6);
  const draw = (from: number, to: number) => from + Math.floor(((random() + 1) / 2) * (to - from));
  const rows = Array.from({ length: STEPS * ROWS }, (_, row) => {
    const ids = Int32Array.from({ length: LENGTH }, () => draw(20, 120));
    const places = withInvocation ? [2, 3 + draw(3, 10)].slice(0, row % 3) : [];
    for (const place of places) ids.set(INVOCATION, place);
    return ids;
  });
  const encode = learnFromInvocation(
    () => {
      const ids = rows.shift()!;
      return { ids, labels: ids.map((id, i) => (i % 4 === 1 ? -1 : id)), weights: undefined };
    },
    withInvocation ? INVOCATION : undefined,
  );
  const none = undefined as never; // the encoder above reads no row
  const examples = Array.from({ length: STEPS * ROWS }, () => encode(none));
  const inBatches = <T>(values: T[]) =>
    Array.from({ length: STEPS }, (_, step) => values.slice(step * ROWS, (step + 1) * ROWS));
  return {
    batches: inBatches(examples.map(({ ids }) => [...ids])),
    labels: inBatches(examples.map(({ labels }) => Array.from(labels, (l) => (l < 0 ? -100 : l)))),
  };
}

function toBatches({ batches, labels }: DrawnRows): MicroBatch[] {
  return batches.map((rows, step) => {
    const targets = Int32Array.from(
      labels[step]!.flatMap((row) => [...row.slice(1), -1].map((label) => Math.max(-1, label))),
    );
    return {
      rows: ROWS,
      length: LENGTH,
      inputIds: Int32Array.from(rows.flat()),
      positions: targets.map((_, i) => i % LENGTH),
      segments: new Int32Array(targets.length),
      targets,
      weights: Float32Array.from(targets, (target) => (target < 0 ? 0 : 1)),
    };
  });
}

async function trainSteps(model: ProbedModel, batches: readonly MicroBatch[]): Promise<number[]> {
  const { parameters } = model;
  const adam = { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 } as const;
  const optimizer = createAdamW(parameters, adam);
  const losses: number[] = [];
  for (const [step, batch] of batches.entries()) {
    for (const { grad } of parameters) grad.fill(0);
    const { loss, weight } = await model.accumulate(batch);
    losses.push(loss / weight);
    const norm = globalNorm(parameters.map(({ grad }) => grad)) / weight;
    optimizer.step(step + 1, RATE, clipFactor(norm, 1) / weight);
  }
  return losses;
}

function runTrainer(source: string, settings: string, ...rest: string[]): number[] {
  const script = path.resolve('test/e2e/train_adapter.py');
  return pythonJson<number[]>([script, source, settings, ...rest]);
}

type Tensors = ReadonlyMap<string, Tensor>;

function compareTensors({ parameters }: ProbedModel, expected: Tensors): void {
  const names = parameters.map(({ name }) => name).sort();
  assert.deepEqual(names, [...expected.keys()].sort());
  for (const { name, data } of parameters) {
    const difference = worstDifference(data, toFloat32(expected.get(name)!));
    assert.ok(difference < LIMIT, `${name} is off by ${difference}`);
  }
}

/** Compares the products B A. Singular vectors have no sign of their own, so the factors may differ in it. */
function comparePairs(own: Tensors, expected: Tensors, { lora }: AdapterPlan): void {
  assert.deepEqual([...own.keys()].sort(), [...expected.keys()].sort());
  for (const [module, { rank }] of lora.modules) {
    const products = [own, expected].map((tensors) => {
      const [a, b] = ['A', 'B'].map((factor) =>
        tensors.get(`base_model.model.${module}.lora_${factor}.weight`),
      );
      assert.equal(a!.shape[0], 2 * rank);
      return product(b!, a!);
    });
    const difference = worstDifference(products[0]!, products[1]!);
    assert.ok(difference < LIMIT, `${module} is off by ${difference}`);
  }
}

/** b [rows, inner] a [inner, cols] */
function product(b: Tensor, a: Tensor): Float32Array {
  const [rows, inner] = b.shape as [number, number];
  const cols = a.shape[1]!;
  const [left, right] = [toFloat32(b), toFloat32(a)];
  return new Float32Array(rows * cols).map((_, i) => {
    let sum = 0;
    for (let k = 0; k < inner; k++) {
      sum += left[Math.floor(i / cols) * inner + k]! * right[k * cols + (i % cols)]!;
    }
    return sum;
  });
}

function readFolder(folder: string): Tensors {
  return readTensors(path.join(folder, 'adapter_model.safetensors'));
}

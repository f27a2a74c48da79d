// peft's and transformers' recorded runs by the command: thirty steps, the weights they end with, and the folders they
// leave, which other commands take.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { BASE_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import { worstDifference } from '../engine/runner.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless, testUnless } from '../shared.ts';
import { serveFor, succeed } from './program.ts';
import { readLines, servedLoss, writeRows } from './rows.ts';

const golden = sharedPath('golden');
const skip = skipUnless(golden);
const test = testUnless(skip);

interface Log {
  readonly settings: Readonly<Record<string, number>>;
  readonly log: readonly { readonly loss: number; readonly grad_norm: number }[];
}

interface Case {
  readonly method: string;
  readonly quantization: 'none' | 'nf4';
  /** The folder in the run with its weights. */
  readonly result: string;
  /** The file of the record with the weights to compare with. */
  readonly final: string;
}

const LORA = {
  result: 'adapter/adapter_model.safetensors',
  final: 'final/adapter_model.safetensors',
};
const CASES: Readonly<Record<string, Case>> = {
  'lora-qv': { method: 'lora', quantization: 'none', ...LORA },
  'qlora-all': { method: 'qlora', quantization: 'nf4', ...LORA },
  rslora: { method: 'lora', quantization: 'none', ...LORA },
  full: {
    method: 'full',
    quantization: 'none',
    result: 'model/model.safetensors',
    final: 'final-some.safetensors',
  },
};

function tensorsOf(...parts: string[]): ReadonlyMap<string, Tensor> {
  return parseSafetensors(readFileSync(path.join(...parts)), BASE_LIMITS).tensors;
}

interface Run {
  readonly home: string;
  readonly dir: string;
}

async function repeat(t: TestContext, name: string): Promise<Run> {
  const home = temporaryFolder(t);
  const base = path.join(home, 'base');
  const { method, quantization } = CASES[name]!;
  const source = path.join(golden!, 'models/llama-tied');
  const flags = ['--out', base, '--quantization', quantization];
  await succeed(['import', source, ...flags], home);
  const { settings, log } = readLog(name);
  const job = {
    model: base,
    data: writeGoldenRows(home),
    method,
    shuffle: false,
    batchSize: 3,
    gradAccumulation: settings['gradient_accumulation'],
    maxSteps: log.length,
    learningRate: settings['learning_rate'],
    warmupSteps: settings['warmup_steps'],
    weightDecay: settings['weight_decay'],
    ...(method !== 'full' && { initAdapter: path.join(golden!, 'train', name, 'initial') }),
    checkpointEvery: 10,
    // After the last step, so that all steps count.
    validation: writeRows(home),
    evalEvery: log.length,
  };
  const file = path.join(home, 'job.json');
  writeFileSync(file, JSON.stringify(job));
  const dir = path.join(home, 'run');
  await succeed(['train', file, '--out', dir], home);
  return { home, dir };
}

function readLog(name: string): Log {
  return JSON.parse(readFileSync(path.join(golden!, 'train', name, 'log.json'), 'utf8'));
}

/** 180 rows of at most 24 tokens; prompts are masked. */
function writeGoldenRows(dir: string): string {
  const tensors = tensorsOf(golden!, 'train/batches.safetensors');
  const [windows, batch, length] = tensors.get('input_ids')!.shape as [number, number, number];
  const valuesOf = (name: string) =>
    Array.from(new BigInt64Array(new Uint8Array(tensors.get(name)!.data).buffer), Number);
  const [ids, labels, mask] = ['input_ids', 'labels', 'attention_mask'].map(valuesOf);
  const rows = Array.from({ length: windows * batch }, (_, row) => {
    const at = row * length;
    const end = at + mask!.slice(at, at + length).reduce((sum, value) => sum + value, 0);
    return JSON.stringify({ input_ids: ids!.slice(at, end), labels: labels!.slice(at, end) });
  });
  const file = path.join(dir, 'golden.jsonl');
  writeFileSync(file, rows.join('\n'));
  return file;
}

function assertFollows({ dir }: Run, name: string): void {
  const { log } = readLog(name);
  const metrics = readLines(path.join(dir, 'metrics.jsonl'));
  assert.equal(metrics.length, log.length);
  for (const [i, expected] of log.entries()) {
    const { loss, gradNorm } = metrics[i] as { loss: number; gradNorm: number };
    assert.ok(Math.abs(loss - expected.loss) < 1e-4, `step ${i + 1}: ${loss}`);
    assert.ok(Math.abs(gradNorm / expected.grad_norm - 1) < 1e-4, `step ${i + 1}: ${gradNorm}`);
  }
  const { result, final } = CASES[name]!;
  const weights = tensorsOf(dir, result);
  for (const [tensor, expected] of tensorsOf(golden!, 'train', name, final)) {
    const difference = worstDifference(toFloat32(weights.get(tensor)!), toFloat32(expected));
    assert.ok(difference < 2e-4, `${tensor}: off by ${difference}`);
  }
}

function assertPlanned({ dir }: Run): void {
  const events = readLines(path.join(dir, 'events.jsonl'));
  const [plan, last] = [events[0]!, events.at(-1)!];
  assert.equal(last['type'], 'succeeded');
  const planned = (plan['data'] as { memory: { total: number } }).memory.total;
  const { peakBytes } = last['data'] as { peakBytes: number };
  assert.ok(Math.abs(planned / peakBytes - 1) < 0.2, `planned ${planned}, took ${peakBytes}`);
}

for (const name of ['lora-qv', 'qlora-all', 'rslora']) {
  test(`${name}: losses, gradient norms and the last weights are peft's`, async (t) => {
    const run = await repeat(t, name);
    assertFollows(run, name);
    assertPlanned(run);
  });
}

test("full: the last weights are transformers', and are imported and served", async (t) => {
  const run = await repeat(t, 'full');
  assertFollows(run, 'full');
  assertPlanned(run);
  const model = path.join(run.home, 'trained');
  const flags = ['--out', model, '--quantization', 'none'];
  await succeed(['import', path.join(run.dir, 'model'), ...flags], run.home);
  const server = await serveFor(t, ['--model', model, '--weights', 'f32'], run.home);
  const { validationLoss } = readLines(path.join(run.dir, 'metrics.jsonl')).at(-1)!;
  const served = await servedLoss(server.url, 'base');
  assert.ok(Math.abs(served - Number(validationLoss)) < 1e-4, `${served} ${validationLoss}`);
});

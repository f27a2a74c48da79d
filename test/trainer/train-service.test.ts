// A trainer that serves several adapters: whether they share their base, wait in memory or on the disk, or are saved and loaded,
// each gets the bytes that it gets alone.
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { AdamStep, ServiceTask, TokenDatum } from '../../src/contracts/training-service.ts';
import { TrainService } from '../../trainer/service/train-service.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';

const { artifact } = tinyModel();
const ADAM: AdamStep = {
  learningRate: 0.01,
  betas: [0.9, 0.95],
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 0,
};

function sequence(first: number, weights: readonly number[]): TokenDatum {
  const ids = weights.map((_, i) => first + i);
  return {
    inputIds: Int32Array.from(ids),
    targets: Int32Array.from(ids, (id) => id + 1),
    inputs: { weights: Float32Array.from(weights) },
  };
}
const DATA = [sequence(1, [1, 1, 1, 1]), sequence(5, [0, -0.5, 1])];

function start(t: TestContext): TrainService {
  return new TrainService({ artifact, threads: 1, directory: temporaryFolder(t) });
}

const create = (model: string, rank: number): ServiceTask => ({
  kind: 'create',
  model,
  adapter: { rank, seed: rank, trainsMlp: true, trainsAttention: true, trainsHead: true },
});
const pass = (model: string, data = DATA, isForwardOnly = false): ServiceTask => ({
  kind: 'pass',
  model,
  data,
  loss: { name: 'cross_entropy', config: {} },
  isForwardOnly,
});
const update = (model: string): ServiceTask => ({ kind: 'step', model, adam: ADAM });

/** Runs two steps of some models in turns, and returns what each of them computed. */
async function train(service: TrainService, ranks: readonly number[]): Promise<unknown[]> {
  const models = ranks.map((rank, i) => ({ id: `m${i}`, rank, results: [] as unknown[] }));
  for (const { id, rank } of models) await service.perform(create(id, rank));
  for (let step = 0; step < 2; step++) {
    for (const task of [pass, pass, update]) {
      for (const { id, results } of models) results.push(await service.perform(task(id)));
    }
  }
  for (const { id, results } of models) results.push(await service.perform(pass(id, DATA, true)));
  return models.map(({ results }) => results);
}

test('twelve models of three ranks in turns compute what each computes alone, in memory and on disk', async (t) => {
  const ranks = Array.from({ length: 12 }, (_, i) => 2 + (i % 3));
  const alone: unknown[] = [];
  for (const rank of ranks.slice(0, 3)) alone.push(...(await train(start(t), [rank])));
  const expected = ranks.map((_, i) => alone[i % 3]);
  assert.deepEqual(await train(start(t), ranks), expected);
  const directory = temporaryFolder(t);
  const service = new TrainService({ artifact, threads: 1, directory, parkedBytes: 0 });
  assert.deepEqual(await train(service, ranks), expected, 'with all that wait on the disk');
  // Two seats hold models; the others wait.
  assert.equal(readdirSync(directory).length, 10);
  for (let i = 0; i < 12; i++) await service.perform({ kind: 'drop', model: `m${i}` });
  assert.deepEqual(readdirSync(directory), []);
});

/** Gives some models gradients. Returns the files of those that wait on the disk. */
async function park(t: TestContext, ids: readonly string[], parkedBytes: number) {
  const directory = temporaryFolder(t);
  const service = new TrainService({ artifact, threads: 1, directory, parkedBytes });
  for (const id of ids) {
    await service.perform(create(id, 2));
    await service.perform(pass(id));
  }
  return readdirSync(directory).map((name) => path.join(directory, name));
}

test('a model or a pass beyond the memory of trainers is refused, and smaller passes still run', async (t) => {
  const memory = 160e6; // Node and the graphs are estimated at 150 MB
  const service = new TrainService({ artifact, threads: 1, directory: temporaryFolder(t), memory });
  await service.perform(create('a', 2));
  const long = Array.from({ length: 64 }, () => sequence(1, new Array(60).fill(1)));
  await assert.rejects(service.perform(pass('a', long)), {
    code: 'invalid_request',
    message: /^Training takes about .* MiB, and the server leaves 152\.6 MiB to it\. Send shorter/,
  });
  await service.perform(pass('a'));
  const small = new TrainService({
    artifact,
    threads: 1,
    directory: temporaryFolder(t),
    memory: 1,
  });
  await assert.rejects(small.perform(create('a', 2)), /Use a lower rank; operators can raise/);
});

test('models move to the disk only beyond the limit, the one that waited longest first', async (t) => {
  const [file] = await park(t, ['a', 'b'], 0);
  const twoModels = 2.5 * statSync(file!).size;
  const files = await park(t, ['a', 'b', 'c', 'd', 'e'], twoModels);
  assert.deepEqual(files.map((name) => path.basename(name, '.safetensors')).sort(), ['a', 'b']);
});

test('a saved model continues exactly, and without its moments it starts its optimizer anew', async (t) => {
  const service = start(t);
  const directory = path.join(temporaryFolder(t), 'adapter');
  const momentsFile = path.join(temporaryFolder(t), 'moments.safetensors');
  await service.perform(create('a', 2));
  await service.perform(pass('a'));
  await service.perform(update('a'));
  await service.perform({ kind: 'save', model: 'a', directory, momentsFile, withGradients: false });
  await service.perform({ kind: 'load', model: 'b', directory, momentsFile });
  await service.perform({ kind: 'load', model: 'c', directory, momentsFile: undefined });
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((id) => continueModel(service, id)));
  assert.deepEqual(b, a);
  assert.notDeepEqual(c, a);
});

let last: Promise<unknown> = Promise.resolve();
/** Tasks run one at a time. */
function continueModel(service: TrainService, id: string): Promise<unknown[]> {
  const run = last.then(async () => {
    const results: unknown[] = [];
    for (const task of [pass(id), update(id), pass(id, DATA, true)]) {
      results.push(await service.perform(task));
    }
    return results;
  });
  last = run;
  return run;
}

test('a pass computes the loss, and its gradients add up until a step', async (t) => {
  const service = start(t);
  for (const id of ['once', 'twice']) await service.perform(create(id, 2));
  const [long, short] = DATA as [TokenDatum, TokenDatum];
  const whole = (await service.perform(pass('once'))) as { loss: number; logProbs: Float32Array[] };
  const expected = DATA.flatMap(({ inputs }, i) =>
    [...inputs['weights']!].map((weight, t) => -weight * whole.logProbs[i]![t]!),
  ).reduce((sum, loss) => sum + loss);
  assert.ok(Math.abs(whole.loss - expected) < 1e-5);
  await service.perform(pass('twice', [long]));
  await service.perform(pass('twice', [short]));
  const norms = [];
  for (const id of ['once', 'twice']) {
    norms.push(((await service.perform(update(id))) as { gradNorm: number }).gradNorm);
  }
  assert.ok(Math.abs(norms[0]! - norms[1]!) < 1e-4 * norms[0]!);
});

test('gradients that are not finite are refused, and the model stays as it was', async (t) => {
  const service = start(t);
  await service.perform(create('a', 2));
  const before = await service.perform(pass('a', DATA, true));
  await service.perform(pass('a', [sequence(1, [Number.POSITIVE_INFINITY, 1])]));
  await assert.rejects(service.perform(update('a')), { code: 'non_finite_loss' });
  assert.deepEqual(await service.perform(pass('a', DATA, true)), before);
});

test('a model that trains only its head has only the head', async (t) => {
  const service = start(t);
  const adapter = { rank: 2, seed: 1, trainsMlp: false, trainsAttention: false, trainsHead: true };
  assert.deepEqual(await service.perform({ kind: 'create', model: 'a', adapter }), { rank: 2 });
  await service.perform(pass('a'));
  const { gradNorm } = (await service.perform(update('a'))) as { gradNorm: number };
  assert.ok(gradNorm > 0);
});

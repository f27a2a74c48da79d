// The planner's figures against the published ones, and its recommendation.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDecoderConfig } from '../../src/model/config.ts';
import {
  matrixSaving,
  memoryByMethod,
  type RunChoice,
  recommend,
  recommendCompute,
} from '../../trainer/planner/method-memory.ts';
import { shapeOfText, sizeOfConfig } from '../../trainer/planner/model-size.ts';
import {
  type EstimatedRun,
  fitMemory,
  flopsOfEvaluation,
  flopsOfTraining,
  memoryOfRun,
} from '../../trainer/planner/run-estimate.ts';
import { SMOLLM2 } from '../fixtures.ts';
import { pluck } from '../pluck.ts';

const CONFIG = parseDecoderConfig(SMOLLM2);
const sizeOfText = (text: string) => shapeOfText(text).size;

function totals(size: string, rank = 16) {
  const byMethod = memoryByMethod(sizeOfText(size), rank);
  return Object.fromEntries(byMethod.map(({ method, total, lines }) => [method, { total, lines }]));
}

test('full training of 70B takes three 16-bit copies, 420 GB, and fp32 moments 840', () => {
  const { full } = totals('70B');
  assert.equal(full!.total, 420e9);
  assert.deepEqual(pluck(full!.lines, 'bytes'), [140e9, 140e9, 140e9]);
  assert.match(memoryByMethod(sizeOfText('70B'), 16)[0]!.note, /560 GB instead of 140 GB: 840 GB/);
});

test('QLoRA of 7B takes about 4 GB, of 70B about 40 GB and 1 to 4 more', () => {
  const base = (size: string) => {
    const { lines } = totals(size)['qlora']!;
    return lines[0]!.bytes + lines[1]!.bytes;
  };
  assert.ok(Math.abs(base('7B') - 4e9) < 0.4e9, String(base('7B')));
  assert.ok(Math.abs(base('70B') - 40e9) < 1.5e9, String(base('70B')));
  const more = totals('70B')['qlora']!.total - base('70B');
  assert.ok(more > 1e9 && more < 7e9, String(more));
  const less = totals('7B')['qlora']!.total - base('7B');
  assert.ok(less > 0.5e9 && less < 4e9, String(less));
});

test('rank 8 trains 65 K of the 16.8 M weights of a 4096 x 4096 matrix: 256 times fewer', () => {
  assert.deepEqual(matrixSaving(4096, 8), { weights: 16_777_216, trained: 65_536, factor: 256 });
});

test('SmolLM2-135M has 305,280 adapter parameters per unit of rank', () => {
  const size = sizeOfConfig(CONFIG);
  assert.equal(size.loraPerRank, 305_280);
  assert.equal(size.parameters, 134_515_008);
});

test('sizes in words are read, others refused', () => {
  assert.equal(sizeOfText('135M').parameters, 135e6);
  assert.equal(sizeOfText('1.5b').parameters, 1.5e9);
  for (const text of ['', '7', '7K', 'B', '-7B']) assert.throws(() => sizeOfText(text), /--size/);
});

test('LoRA is recommended where the base has room, QLoRA where it has not, with a rank for the rows', () => {
  const recommendSmall = (trainedTokens: number) =>
    recommend(sizeOfConfig(CONFIG), { memory: 16e9, trainedTokens, bytesOf: () => 1e9 });
  const small = recommendSmall(25_000);
  assert.deepEqual([small.method, small.rank], ['lora', 16]);
  const bytesOf = ({ method }: RunChoice) => (method === 'qlora' ? 18e9 : 40e9);
  const large = recommend(sizeOfText('7B'), { memory: 24e9, trainedTokens: 0, bytesOf });
  assert.deepEqual([large.method, large.bytes], ['qlora', 18e9]);
  assert.match(large.reason, /^takes about 18 GB of 24 GB, which fits; LoRA .* 40 GB/);
  const tight = recommend(sizeOfText('7B'), { memory: 19.8e9, trainedTokens: 0, bytesOf });
  assert.match(tight.reason, /18 GB of 20 GB, which comes closest, but does not fit: use smaller/);
  const many = recommendSmall(20_000_000);
  assert.equal(many.rank, 64);
  assert.match(many.reason, /need about rank 33/);
});

test('int8 is recommended for frozen linears', () => {
  assert.equal(recommendCompute('qlora'), 'int8');
  assert.equal(recommendCompute('full'), 'float32');
});

const HEAD = { size: CONFIG.vocabSize, isTrained: false };

test('memory of a run grows with what it holds', () => {
  const run = {
    method: 'qlora',
    trained: 4_884_480,
    head: HEAD,
    batchTokens: 640,
    length: 160,
    targets: 80,
    recompute: true,
    compute: 'float32',
    blocksPerSegment: 1,
    evaluation: undefined,
  } as const;
  const base = memoryOfRun(CONFIG, run).total;
  const more = (change: Partial<Parameters<typeof memoryOfRun>[1]>) =>
    memoryOfRun(CONFIG, { ...run, ...change }).total > base;
  assert.ok(more({ batchTokens: 1280 }));
  assert.ok(more({ recompute: false }));
  assert.ok(more({ kept: 4_884_480 }));
  assert.ok(more({ isDora: true, recompute: false }));
  assert.ok(more({ targets: 256 })); // the head's chunk above a block's peak
  const ofHead = (head: Parameters<typeof memoryOfRun>[1]['head']) =>
    memoryOfRun(CONFIG, { ...run, targets: 256, head }).total;
  assert.ok(ofHead({ ...HEAD, isTrained: true }) > ofHead(HEAD));
  assert.equal(ofHead({ size: 8, isTrained: true }), base, 'the scores of a classifier are few');
  assert.ok(more({ method: 'lora' }));
  const int8 = (method: 'lora' | 'qlora') =>
    memoryOfRun(CONFIG, { ...run, method, compute: 'int8' }).total;
  assert.ok(int8('qlora') <= base, 'more weights leave less for activations');
  assert.ok(int8('lora') < memoryOfRun(CONFIG, { ...run, method: 'lora' }).total);
  assert.ok(more({ method: 'full', trained: 134_515_008 }));
  assert.ok(more({ blocksPerSegment: 5 }));
  assert.ok(more({ evaluation: { batchTokens: 4096, length: 512, targets: 80 } }));
  assert.ok(!more({ evaluation: { batchTokens: 320, length: 160, targets: 80 } })); // in what training leaves
});

test('a run that recomputes keeps as many activations as its memory allows', () => {
  const { config, size } = shapeOfText('8B');
  const run: EstimatedRun = {
    ...{ method: 'qlora', compute: 'float32', recompute: true, blocksPerSegment: 1 },
    ...{ trained: 16 * size.loraPerRank, head: { size: config.vocabSize, isTrained: false } },
    ...{ batchTokens: 1000, length: 1000, targets: 500, evaluation: undefined },
  };
  const fit = (memory: number, samplingEngineBytes = 0, change: object = {}) =>
    memoryOfRun(config, fitMemory(config, { ...run, ...change }, { memory, samplingEngineBytes }))
      .total;
  const [least, all] = [fit(0), memoryOfRun(config, run).total];
  assert.ok(least < 11e9 && all > 15e9, `${least} to ${all}`);
  const some = fit(15e9);
  assert.ok(some > least && some <= 15e9, `${some} in 15 GB`);
  assert.ok(fit(15e9, 1e9) + 1e9 <= 15e9, 'beside an engine of 1 GB');
  assert.equal(fit(24e9), all, 'a share of the weights is enough');
  assert.equal(
    fit(0, 0, { recompute: false }),
    memoryOfRun(config, { ...run, recompute: false }).total,
  );
});

test('work grows with tokens, and head and recomputation count', () => {
  const run = { method: 'qlora', recompute: true, trained: 4_884_480, head: HEAD } as const;
  const flops = (change: object, targets = 0) =>
    flopsOfTraining(CONFIG, { ...run, ...change }, { positions: 100, targets });
  assert.ok(flops({}) > flops({ recompute: false }));
  assert.ok(flops({}, 100) > flops({}));
  assert.ok(flops({ method: 'full' }) > flops({}));
  assert.ok(flops({ head: { ...HEAD, isTrained: true } }, 100) > flops({}, 100));
  const evaluation = flopsOfEvaluation(CONFIG, HEAD, { positions: 100, targets: 100 });
  assert.ok(evaluation > 0 && evaluation < flops({ recompute: false }, 100) / 1.5);
});

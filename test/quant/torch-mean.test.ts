import assert from 'node:assert/strict';
import test from 'node:test';
import { torchMean } from '../../src/quant/double-quant.ts';

/** 1 / (1 + i mod 1009) in fp32, which every language computes the same. */
const input = (count: number) =>
  Float32Array.from({ length: count }, (_, i) => 1 / (1 + (i % 1009)));

// torch.tensor([1 / (1 + i % 1009) for i in range(n)]).mean().item() with one thread, torch 2.15.
const expected: [count: number, mean: number][] = [
  [1, 1.0],
  [5, 0.45666664838790894],
  [7, 0.37040814757347107],
  [8, 0.33973217010498047],
  [15, 0.22121526300907135],
  [31, 0.1299111396074295],
  [64, 0.07412329316139221],
  [65, 0.07321961969137192],
  [1000, 0.007485470734536648],
  [4096, 0.008461321704089642],
  [5184, 0.008292325772345066],
  [13824, 0.007564127445220947],
  [30000, 0.007484051398932934],
  [100003, 0.007472259923815727],
];

for (const [count, mean] of expected) {
  test(`the mean of ${count} values has torch’s rounding`, () => {
    assert.equal(torchMean(input(count)), mean);
  });
}

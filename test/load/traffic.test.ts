// The pure parts of the load tools.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goodput, jain } from './results.ts';
import { slopePer10Min } from './slope.ts';
import { drawGapMs, drawRequest, type Outcome, promptOf, type Source, uniform } from './traffic.ts';

const SOURCE: Source = {
  name: 'a',
  load: { perSecond: 10 },
  models: ['base', 'one'],
  words: { from: 2, to: 5 },
  tokens: { from: 10, to: 20 },
  mix: { bad: 0.3, abort: 0.2, slow: 0.1 },
};

test('a seed gives the same requests again, in the wanted mix', () => {
  const draw = (seed: number) => {
    const random = uniform(seed);
    return Array.from({ length: 4000 }, () => drawRequest(SOURCE, random));
  };
  const asked = draw(1);
  assert.deepEqual(draw(1), asked);
  assert.notDeepEqual(draw(2), asked);
  const share = (kind: string) => asked.filter((one) => one.kind === kind).length / asked.length;
  for (const [kind, wanted] of Object.entries({ ...SOURCE.mix, good: 0.4 })) {
    assert.ok(Math.abs(share(kind) - wanted) < 0.03, `${kind}: ${share(kind)}`);
  }
  for (const { prompt } of asked) {
    const { text, tokens } = promptOf(SOURCE, prompt);
    assert.ok(text.split(' ').length >= 2 && text.split(' ').length <= 5);
    assert.ok(tokens >= 10 && tokens <= 20);
  }
});

test('gaps between arrivals have the mean and the variance of a Poisson process', () => {
  const random = uniform(1);
  const gaps = Array.from({ length: 20_000 }, () => drawGapMs(50, random));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
  assert.ok(Math.abs(mean - 20) < 0.5, `${mean}`);
  assert.ok(Math.abs(Math.sqrt(variance) - 20) < 1, `${Math.sqrt(variance)}`);
});

test('goodput counts complete good answers by their share in the window', () => {
  const outcome = (firstMs: number, endMs: number, more: Partial<Outcome> = {}): Outcome => ({
    ...{ source: 'a', kind: 'good', model: 'base', ending: 'done', tokens: 100 },
    ...{ dueMs: firstMs, sentMs: firstMs, firstMs, endMs },
    ...more,
  });
  const outcomes = [
    outcome(0, 1000),
    outcome(1500, 2500),
    outcome(0, 1000, { ending: 'left' }),
    outcome(0, 1000, { kind: 'slow' }),
  ];
  assert.equal(goodput(outcomes, { fromMs: 0, toMs: 2000 }), 75);
});

test('a slope is that of the least values', () => {
  const samples = Array.from({ length: 600 }, (_, i) => ({
    atMs: i * 2000,
    value: 100 + (i * 2000 * 3) / 600_000 + (i % 7) * 10,
  }));
  assert.ok(Math.abs(slopePer10Min(samples)! - 3) < 0.1);
  assert.equal(slopePer10Min(samples.slice(0, 3)), undefined);
});

test('the index of Jain is 1 for equal shares and 1/n for one that has all', () => {
  assert.equal(jain([5, 5, 5]), 1);
  assert.equal(jain([6, 0, 0]), 1 / 3);
});

// A label shows a fixed number of its most used values.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OTHER, TopLabels } from '../../src/telemetry/top-labels.ts';

function create(places: number) {
  const shown = new Set<string>();
  const top = new TopLabels({ places, onDrop: (value) => shown.delete(value) });
  const use = (value: string) => {
    const label = top.use(value);
    if (label !== OTHER) shown.add(label);
    assert.ok(shown.size <= places, `${shown.size} values at once`);
    return label;
  };
  return { use, shown };
}

test('the first values have their places, later ones are other', () => {
  const { use } = create(2);
  assert.deepEqual(['a', 'b', 'c', 'a'].map(use), ['a', 'b', OTHER, 'a']);
});

test('ten thousand values that are used once each never show more than the places', () => {
  const { use, shown } = create(32);
  for (let i = 0; i < 10_000; i++) use(`value-${i}`);
  assert.ok(shown.size <= 32);
});

test('a value that becomes the most used takes the place of the least used', () => {
  const { use, shown } = create(2);
  for (const value of ['a', 'a', 'a', 'b', 'b']) use(value);
  const labels = Array.from({ length: 10 }, () => use('c'));
  assert.equal(labels[0], OTHER);
  assert.equal(labels.at(-1), 'c');
  assert.deepEqual([...shown].sort(), ['a', 'c']);
});

test('two values that are used as often do not take turns', () => {
  const { use } = create(1);
  const labels = Array.from({ length: 200 }, (_, i) => use(i % 2 === 0 ? 'a' : 'b'));
  assert.deepEqual(new Set(labels), new Set(['a', OTHER]));
});

test('of Zipf traffic over ten thousand values, the busiest are shown', () => {
  const { use, shown } = create(32);
  // The k-th value is used every k-th time: the head of a Zipf law, the tail in between.
  for (let i = 1; i <= 20_000; i++)
    for (let k = 1; k <= 200; k++) if (i % (k * 10) === 0) use(`head-${k}`);
  for (let k = 1; k <= 16; k++) assert.ok(shown.has(`head-${k}`), `head-${k}`);
});

test('what was used long ago makes room', () => {
  const { use, shown } = create(2);
  for (let i = 0; i < 500; i++) use('old');
  for (let i = 0; i < 20_000; i++) use(i % 2 === 0 ? 'new' : 'newer');
  assert.deepEqual([...shown].sort(), ['new', 'newer']);
});

test('a value that is called other is counted with the others', () => {
  const { use, shown } = create(2);
  assert.equal(use(OTHER), OTHER);
  assert.equal(shown.size, 0);
});

// A packed NFA is unpacked as it was.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  byteEdge,
  callEdge,
  firstByte,
  groupEdges,
  lastByte,
  packNfa,
  ruleOf,
  targetOf,
  unpackNfa,
} from '../../src/grammar/nfa.ts';
import { buildNfa } from '../../src/grammar/nfa-builder.ts';
import { parseRegex } from '../../src/grammar/regex.ts';

test('an NFA with edges of every kind is unpacked as it was', () => {
  const nfa = buildNfa(parseRegex('(ab|[^x]){2,5}(c*|\u{10ffff})?'));
  for (const kind of ['bytes', 'skips', 'calls'] as const) {
    assert.ok(nfa[kind].edges.length > 0, kind);
  }
  assert.deepEqual(unpackNfa(structuredClone(packNfa(nfa))), nfa);
});

test('edges hold the largest numbers', () => {
  const largest = 29_999;
  const [byte, call] = Uint32Array.of(byteEdge(254, 255, largest), callEdge(largest, largest));
  assert.deepEqual([firstByte(byte!), lastByte(byte!), targetOf(byte!)], [254, 255, largest]);
  assert.deepEqual([ruleOf(call!), targetOf(call!)], [largest, largest]);
});

test('edges are grouped in their order, without those that are left out', () => {
  const { at, edges } = groupEdges([7, 3, 9, 5], [2, 0, 2, 2], 4, (edge) => edge !== 9);
  assert.deepEqual([...edges], [3, 7, 5]);
  assert.deepEqual([...at], [0, 1, 1, 3, 3]);
});

test('the largest NFA takes half a megabyte', () => {
  const { byteLength } = packNfa(buildNfa(parseRegex('[a-z]{29900}')));
  assert.ok(byteLength < 500_000, `${byteLength} bytes`);
});

// A packed network is unpacked as it was.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  byteEdge,
  callEdge,
  firstByte,
  groupEdges,
  lastByte,
  packNetwork,
  ruleOf,
  targetOf,
  unpackNetwork,
} from '../../src/grammar/network.ts';
import { buildNetwork } from '../../src/grammar/network-builder.ts';
import { parseRegex } from '../../src/grammar/regex.ts';

test('a network with edges of every kind is unpacked as it was', () => {
  const network = buildNetwork(parseRegex('(ab|[^x]){2,5}(c*|\u{10ffff})?'));
  for (const kind of ['bytes', 'skips', 'calls'] as const) {
    assert.ok(network[kind].edges.length > 0, kind);
  }
  assert.deepEqual(unpackNetwork(structuredClone(packNetwork(network))), network);
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

test('the largest network takes half a megabyte', () => {
  const { byteLength } = packNetwork(buildNetwork(parseRegex('[a-z]{29900}')));
  assert.ok(byteLength < 500_000, `${byteLength} bytes`);
});

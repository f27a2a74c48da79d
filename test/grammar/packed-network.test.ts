// A packed network is unpacked as it was.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packNetwork, unpackNetwork } from '../../src/grammar/constraint.ts';
import { buildNetwork, type Network } from '../../src/grammar/network.ts';
import { parseRegex } from '../../src/grammar/regex.ts';

const repack = (network: Network) => unpackNetwork(structuredClone(packNetwork(network)));

test('a network with edges of every kind is unpacked as it was', () => {
  const network = buildNetwork(parseRegex('(ab|[^x]){2,5}(c*|\u{10ffff})?'));
  for (const kind of ['bytes', 'skips', 'calls'] as const) {
    assert.ok(
      network.nodes.some((node) => node[kind].length > 0),
      kind,
    );
  }
  assert.deepEqual(repack(network), network);
});

test('the largest numbers are unpacked as they were', () => {
  const to = 29_999;
  const bytes = [0, 255].map((first) => ({ first, last: 255, to }));
  const node = { bytes, skips: [to, 0], calls: [{ rule: to, to }] };
  const network = {
    nodes: [node, { bytes: [], skips: [], calls: [] }],
    rules: [{ start: to, end: 0 }],
  };
  assert.deepEqual(repack(network), network);
});

test('the largest network takes half a megabyte', () => {
  const { byteLength } = packNetwork(buildNetwork(parseRegex('[a-z]{29900}')));
  assert.ok(byteLength < 500_000, `${byteLength} bytes`);
});

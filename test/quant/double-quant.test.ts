import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { doubleQuantize, restoreAbsmax } from '../../src/quant/double-quant.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Returns 4,000 scales between 0.2 and 0.7. */
const absmax = Float32Array.from({ length: 4000 }, (_, i) => 0.2 + ((i * 7919) % 10007) / 20014);

test('4,000 scales get the same codes as in bitsandbytes 0.50.2', () => {
  // quantize_blockwise(absmax - absmax.mean(), blocksize=256) with one thread.
  const { codes, nestedAbsmax, offset } = doubleQuantize(absmax);
  assert.equal(offset, 0.4500962495803833);
  assert.equal(sha256(codes), 'ca191eccfc0aaa2c7fd91f076a541de9549e313c471fb7f3bb2cc25ea7712c78');
  assert.equal(
    sha256(new Uint8Array(nestedAbsmax.buffer)),
    'e6eb3e147b9a6f82bc7edc99197ec98e42ae3c1ea24a74cb6f41c0955bb88168',
  );
});

test('restored scales are off by at most half the largest step of the map', () => {
  const nested = doubleQuantize(absmax);
  restoreAbsmax(nested).forEach((value, i) => {
    const scale = nested.nestedAbsmax[Math.floor(i / 256)]!;
    assert.ok(Math.abs(value - absmax[i]!) <= scale * 0.0075, `${i}`);
  });
});

// Attention over a cache of 16-bit floats: with values that 16 bits hold, it computes the same as over floats.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import {
  type Attention,
  ownAttention,
  ownAttributes,
  ownInputs,
  randomAttention,
} from './attention.ts';
import { assertSameBits, runNode } from './one-node.ts';

const skip = ownInstructions() === undefined && 'our own operators do not run on this machine';
const SHAPE = {
  ...{ heads: 6, kvHeads: 2, headDim: 48, rotary: 0, window: 0, softcap: 0, scale: 0.2 },
  ...{ isPacked: false, isInt8: false, pasts: [0, 0], tokens: 37, capacity: 41, magnitude: 1 },
};

/** Random new tokens whose numbers have 11 bits, the most that 16-bit floats hold. */
function shortNumbers(): Attention {
  const a = randomAttention(SHAPE, 1);
  const short = (values: Float32Array<ArrayBuffer>) =>
    values.map((v) => Math.round(v * 1024) / 1024);
  return { ...a, query: short(a.query), key: short(a.key), value: short(a.value) };
}

function halfAttention(a: Attention): Float32Array {
  const { inputs } = ownInputs(a);
  const cache = () => hostTensor('float16', inputs.past_key.shape);
  const [past_key, past_value] = [cache(), cache()];
  const y = hostTensor('float32', [a.pasts.length * a.tokens, a.heads * a.headDim]);
  runNode({
    opType: 'CachedAttentionHalf',
    attributes: ownAttributes(a),
    inputs: { ...inputs, past_key, past_value },
    outputs: { y, present_key: past_key, present_value: past_value },
  });
  return y.data;
}

test('numbers of 11 bits give the same bits as a cache of floats', { skip }, () => {
  const a = shortNumbers();
  assertSameBits(halfAttention(a), ownAttention(a).y, 'y');
});

test('numbers beyond the range are clipped, and one that is not finite reaches its sequence', {
  skip,
}, () => {
  const a = shortNumbers();
  const changed = (values: Float32Array<ArrayBuffer>, value: number) => values.with(5, value);
  for (const sign of [-1, 1]) {
    const far = halfAttention({ ...a, value: changed(a.value, sign * 1e6) });
    assertSameBits(far, halfAttention({ ...a, value: changed(a.value, sign * 65504) }), 'y');
  }
  const healthy = halfAttention(a);
  for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const got = halfAttention({ ...a, key: changed(a.key, wrong) });
    assert.ok(got.subarray(0, 3 * 48).every(Number.isNaN));
    const other = got.length / 2;
    assertSameBits(got.subarray(other), healthy.subarray(other), 'the other sequence');
  }
});

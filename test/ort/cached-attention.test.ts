// Our own operators for attention over a KV cache, against plain code. The runtime's operator computes the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import {
  type Attention,
  type AttentionShape,
  ownAttention,
  ownAttributes,
  ownInputs,
  partOf,
  randomAttention,
  runtimeAttention,
} from './attention.ts';
import { assertSameBits, runNode } from './one-node.ts';
import { assertPlain } from './plain-attention.ts';

const skip = ownInstructions() === undefined && 'our own operators do not run on this machine';

/** Two sequences of a token each, with 3 heads of 64 channels per KV head. */
const COMMON: AttentionShape = {
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  rotary: 64,
  window: 0,
  softcap: 0,
  scale: 0.125,
  isPacked: true,
  isInt8: false,
  pasts: [5, 12],
  tokens: 1,
  capacity: 40,
  magnitude: 2,
};

const CASES: readonly (readonly [name: string, changes: Partial<AttentionShape>])[] = [
  ['one token per sequence', {}],
  ['several tokens', { tokens: 6 }],
  ['more tokens than a tile', { tokens: 37, pasts: [3, 0], capacity: 40 }],
  ['queries, keys and values in three tensors', { isPacked: false, tokens: 3 }],
  ['the first token', { pasts: [0] }],
  ['the first tokens', { pasts: [0, 0], tokens: 5 }],
  ['sequences of very different lengths', { pasts: [0, 39, 1, 16, 17, 31], tokens: 1 }],
  ['a full cache', { pasts: [36], tokens: 4 }],
  ['every head with its own keys', { heads: 3, tokens: 2 }],
  ['one KV head', { heads: 4, kvHeads: 1, tokens: 2 }],
  ['4 heads per KV head', { heads: 8, kvHeads: 2 }],
  ['7 heads per KV head', { heads: 14, kvHeads: 2, tokens: 3 }],
  ['16 channels', { headDim: 16, rotary: 16, tokens: 2 }],
  ['80 channels', { headDim: 80, rotary: 80, tokens: 2 }],
  ['96 channels', { headDim: 96, rotary: 96 }],
  ['128 channels', { headDim: 128, rotary: 128, tokens: 2 }],
  ['256 channels', { headDim: 256, rotary: 256, heads: 4, kvHeads: 1, tokens: 2 }],
  ['half of the channels rotated', { rotary: 32, tokens: 3 }],
  ['a quarter of 80 channels rotated', { headDim: 80, rotary: 16 }],
  ['no rotation', { rotary: 0, tokens: 3 }],
  ['a window inside the cache', { window: 4, tokens: 3 }],
  ['a window of one position', { window: 1, tokens: 3 }],
  ['a window as long as a sequence', { window: 13 }],
  ['a window longer than all', { window: 100, tokens: 3 }],
  ['a window over first tokens', { window: 3, pasts: [0], tokens: 9 }],
  ['capped scores', { softcap: 5, scale: 0.5, tokens: 3 }],
  ['capped scores in a window', { softcap: 30, scale: 1, window: 6, tokens: 2 }],
  ['scores that are not scaled', { scale: 1, tokens: 2 }],
  ['scores of hundreds', { magnitude: 24, tokens: 2 }],
  ['tiny values', { magnitude: 1e-3 }],
  ['long sequences', { pasts: [700, 1023, 911], capacity: 1024 }],
  ['several tokens of a long sequence', { pasts: [765], tokens: 8, capacity: 777 }],
  ['a window in a long sequence', { pasts: [900, 700], window: 512, capacity: 1000 }],
];

const shapes = fc
  .record({
    kvHeads: fc.integer({ min: 1, max: 3 }),
    group: fc.constantFrom(1, 3, 4, 7),
    headDim: fc.constantFrom(16, 64, 80, 96, 128, 256),
    rotation: fc.constantFrom('none', 'partial', 'whole'),
    window: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40 })),
    softcap: fc.constantFrom(0, 0, 5, 30),
    scale: fc.constantFrom(0.05, 0.125, 0.5),
    isPacked: fc.boolean(),
    isInt8: fc.boolean(),
    pasts: fc.array(fc.integer({ min: 0, max: 70 }), { minLength: 1, maxLength: 4 }),
    tokens: fc.oneof(fc.constant(1), fc.integer({ min: 2, max: 9 })),
    unused: fc.integer({ min: 0, max: 20 }),
    magnitude: fc.constantFrom(1, 4),
  })
  .map(({ group, rotation, unused, ...shape }): AttentionShape => {
    const { kvHeads, headDim, pasts, tokens } = shape;
    const partial = headDim === 16 ? 0 : headDim === 80 ? 48 : headDim / 2;
    const rotary = { none: 0, partial, whole: headDim }[rotation]!;
    const capacity = Math.max(...pasts) + tokens + unused;
    return { ...shape, heads: group * kvHeads, rotary, capacity };
  });

/** Runs a check on the cases of the table, over both kinds of cache, and names those that fail. */
function checkTable(check: (a: Attention) => void): void {
  const faults: string[] = [];
  for (const [i, [name, changes]] of CASES.entries()) {
    for (const isInt8 of [false, true]) {
      try {
        check(randomAttention({ ...COMMON, ...changes, isInt8 }, i + 1));
      } catch (error) {
        faults.push(`${name}${isInt8 ? ', int8' : ''}: ${(error as Error).message}`);
      }
    }
  }
  assert.deepEqual(faults, []);
}

/** Runs a check on random cases. A failure tells the smallest case and its seed. */
function checkRandom(check: (a: Attention) => void, numRuns: number): void {
  const property = fc.property(shapes, fc.integer({ min: 1, max: 1e6 }), (shape, seed) =>
    check(randomAttention(shape, seed)),
  );
  fc.assert(property, { numRuns });
}

test('the operators compute what plain code computes', { skip }, () => {
  const check = (a: Attention) => assertPlain(a, ownAttention(a));
  checkTable(check);
  checkRandom(check, 50);
});

test("the runtime's operator computes the same", () => {
  const check = (a: Attention) => {
    if (a.isInt8 && a.tokens > 1) return; // a form that the runtime computes in another way
    assertPlain(a, runtimeAttention(a));
  };
  checkTable(check);
  checkRandom(check, 20);
});

test("a sequence's bits depend neither on the others nor on the threads", { skip }, () => {
  const check = (a: Attention) => {
    const all = ownAttention(a);
    const single = ownAttention(a, 1);
    const alone = [...a.pasts.keys()].map((b) => ownAttention(partOf(a, [b])));
    for (const part of ['y', 'keys', 'values'] as const) {
      assertSameBits(single[part], all[part], `one thread: ${part}`);
      const width = all[part].length / alone.length;
      for (const [b, attended] of alone.entries()) {
        const want = all[part].slice(b * width, (b + 1) * width);
        assertSameBits(attended[part], want, `sequence ${b} alone: ${part}`);
      }
    }
  };
  checkTable(check);
  checkRandom(check, 10);
});

test('tokens have the same bits together and one after the other', { skip }, () => {
  const check = (a: Attention) => {
    const sequences = [...a.pasts.keys()];
    const all = ownAttention(a);
    let { keys, values } = a;
    const width = a.heads * a.headDim;
    for (let s = 0; s < a.tokens; s++) {
      const step = ownAttention({ ...partOf(a, sequences, [s, s + 1]), keys, values });
      for (const b of sequences) {
        const row = b * a.tokens + s;
        const want = all.y.subarray(row * width, (row + 1) * width);
        const got = step.y.subarray(b * width, (b + 1) * width);
        assertSameBits(got, want, `token ${s} of sequence ${b}`);
      }
      ({ keys, values } = step);
    }
    assertSameBits(keys, all.keys, 'keys');
    assertSameBits(values, all.values, 'values');
  };
  checkTable((a) => a.tokens > 1 && check(a));
  checkRandom(check, 10);
});

for (const isInt8 of [false, true]) {
  const kind = isInt8 ? 'int8' : 'float';
  for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    test(`a ${wrong} shows in its rows and in no other sequence, ${kind}`, { skip }, () => {
      for (const tensor of ['query', 'key', 'value'] as const) {
        for (const changes of [{}, { isPacked: false }, { rotary: 0 }, { softcap: 5 }]) {
          const shape = { ...COMMON, isInt8, pasts: [7, 3, 12], tokens: 4, ...changes };
          checkNonFinite(randomAttention(shape, 3), tensor, wrong);
        }
      }
    });
  }

  test(`what lies behind a sequence in the cache is not read, ${kind}`, { skip }, () => {
    const a = randomAttention({ ...COMMON, isInt8, pasts: [0, 7, 12, 18], tokens: 3 }, 5);
    const want = ownAttention(a);
    // With NaNs in a float cache and other codes in an int8 cache. Here are zeros.
    const [keys, values] = [a.keys.slice(), a.values.slice()];
    const width = a.capacity * a.headDim;
    a.pasts.forEach((past, b) => {
      for (let g = 0; g < a.kvHeads; g++) {
        const slot = (b * a.kvHeads + g) * width;
        for (const cache of [keys, values]) cache.fill(0, slot + past * a.headDim, slot + width);
      }
    });
    assertSameBits(ownAttention({ ...a, keys, values }).y, want.y, 'y');
  });
}

/**
 * Puts a value that is not finite into the second of four tokens of the second sequence. One value of a row that is not finite is
 * enough, because the next linear then makes the whole row NaN. Codes, weights of zero and caps would hide such keys and values from
 * later rows, so all rows of the sequence are NaN.
 */
function checkNonFinite(healthy: Attention, tensor: 'query' | 'key' | 'value', wrong: number) {
  const { heads, headDim, tokens, isPacked, rotary, softcap } = healthy;
  const [sequence, row] = [1, tokens + 1];
  const data = healthy[tensor].slice();
  const width = data.length / (healthy.pasts.length * tokens);
  const before = ownAttention(healthy);
  for (const channel of [0, headDim + 5, width - 1]) {
    const label = `${tensor} ${channel}, ${JSON.stringify({ isPacked, rotary, softcap })}`;
    data.set(healthy[tensor]);
    data[row * width + channel] = wrong;
    const after = ownAttention({ ...healthy, [tensor]: data });
    for (let t = 0; t < healthy.pasts.length * tokens; t++) {
      const [from, to] = [t * heads * headDim, (t + 1) * heads * headDim];
      const got = after.y.subarray(from, to);
      const isSequence = Math.floor(t / tokens) === sequence;
      if (isSequence && (tensor !== 'query' || t === row)) {
        assert.ok(!got.every(Number.isFinite), `${label}: row ${t} is finite`);
      } else {
        assertSameBits(got, before.y.subarray(from, to), `${label}: row ${t}`);
      }
    }
  }
}

test('values between two codes are rounded to even, and others clipped', { skip }, () => {
  const shape = { ...COMMON, isInt8: true, rotary: 0, heads: 1, kvHeads: 1, headDim: 16 };
  const a = randomAttention({ ...shape, pasts: [0] }, 1);
  const steps = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127, 127.5, 1e6, -127.5, -128, -128.5, -1e6];
  const codes = [0, 2, 2, 0, -2, 126, 127, 127, 127, -128, -128, -128, -128];
  const scale = 0.25;
  for (const data of [a.keyScales, a.valueScales]) data.fill(scale);
  for (const data of [a.key, a.value]) {
    data.fill(0);
    data.set(steps.map((step) => step * scale));
  }
  const got = ownAttention(a);
  for (const cache of [got.keys, got.values]) {
    assert.deepEqual(Array.from(cache.subarray(0, codes.length)), codes);
  }
  assertPlain(a, got);
});

for (const isInt8 of [false, true]) {
  test(`inputs that do not fit are an error of the run, ${isInt8 ? 'int8' : 'float'}`, {
    skip,
  }, () => {
    const shape = { ...COMMON, isInt8, isPacked: false, tokens: 2 };
    const a = randomAttention(shape, 1);
    const run = (changes: Readonly<Record<string, readonly number[] | Int32Array | undefined>>) => {
      const { opType, inputs } = ownInputs(a);
      const changed: Record<string, ReturnType<typeof hostTensor> | undefined> = { ...inputs };
      for (const [name, change] of Object.entries(changes)) {
        const { type } = inputs[name as 'query']!;
        changed[name] =
          change instanceof Int32Array
            ? hostTensor('int32', [change.length], change as Int32Array<ArrayBuffer>)
            : change && hostTensor(type, change);
      }
      const y = hostTensor('float32', [4, 9 * 64]);
      const outputs = {
        y,
        present_key: changed['past_key']!,
        present_value: changed['past_value']!,
      };
      runNode({ opType, attributes: ownAttributes(a), inputs: changed, outputs });
    };
    run({});
    const wrong: Parameters<typeof run>[0][] = [
      { query: [4, 8 * 64] },
      { query: [4, 9, 64] },
      { query: [3, 9 * 64] },
      { query: [6, 9 * 64] },
      { key: undefined },
      { value: undefined },
      { key: undefined, value: undefined },
      { key: [4, 2 * 64] },
      { key: [2, 3 * 64] },
      { value: [4, 4 * 64] },
      { value: [5, 3 * 64] },
      { past_key: [2, 3, 39, 64] },
      { past_key: [2, 2, 40, 64] },
      { past_key: [2, 3, 40, 32] },
      { past_key: [2, 3, 40 * 64] },
      { past_key: [1, 3, 40, 64] },
      { past_value: [2, 3, 41, 64] },
      { past_value: [2, 3, 40, 80] },
      { past_value: [3, 3, 40, 64] },
      { past_key: [2, 3, 40, 48], past_value: [2, 3, 40, 48] },
      { seqlens: [3] },
      { seqlens: [1] },
      { seqlens: [2, 1] },
      { cos: undefined },
      { sin: undefined },
      { cos: [40, 31] },
      { sin: [39, 32] },
      { cos: [13, 32], sin: [13, 32] },
      { cos: [40, 33], sin: [40, 33] },
      { seqlens: Int32Array.of(40, 5) }, // beyond the cache
      { seqlens: Int32Array.of(5, 0) }, // fewer tokens than the new ones
      { seqlens: Int32Array.of(5, -1) },
      { seqlens: Int32Array.of(5, 2 ** 31 - 1) },
      ...(isInt8
        ? [
            { k_scale: undefined },
            { v_scale: undefined },
            { k_scale: undefined, v_scale: undefined },
            { k_scale: [1, 3, 1, 32] },
            { k_scale: [1, 2, 1, 64] },
            { v_scale: [1, 4, 1, 64] },
            { v_scale: [3, 64] },
          ]
        : []),
    ];
    for (const change of wrong) {
      assert.throws(() => run(change), /CachedAttention/, JSON.stringify(change));
    }
  });
}

test('a present cache in other memory than the past is an error of the run', { skip }, () => {
  const a = randomAttention(COMMON, 1);
  const { opType, inputs } = ownInputs(a);
  for (const half of ['key', 'value'] as const) {
    const outputs = {
      y: hostTensor('float32', [2, 9 * 64]),
      present_key: inputs.past_key,
      present_value: inputs.past_value,
      [`present_${half}`]: hostTensor('float32', inputs.past_key.shape),
    };
    const run = () => runNode({ opType, attributes: ownAttributes(a), inputs, outputs });
    assert.throws(run, /CachedAttention/, half);
  }
});

// Our own operator for the largest logits, against a sort in plain code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { seededRandom } from '../fixtures.ts';
import { runNode } from './one-node.ts';

const skip = ownInstructions() === undefined && 'our own operators do not run on this machine';

interface Top {
  /** [L, k] */
  readonly values: readonly number[];
  readonly ids: readonly number[];
  /** [L] */
  readonly logSumExp: readonly number[];
}

/** Runs the operator over rows of logits. */
function ownTop(
  logits: Float32Array<ArrayBuffer>,
  rows: number,
  threads?: number,
  k?: number,
): Top {
  const vocabSize = logits.length / rows;
  const count = k ?? Math.min(64, vocabSize);
  const outputs = {
    values: hostTensor('float32', [rows, count]),
    ids: hostTensor('int64', [rows, count]),
    log_sum_exp: hostTensor('float32', [rows]),
  };
  const inputs = { logits: hostTensor('float32', [rows, vocabSize], logits) };
  runNode({ opType: 'TopLogits', attributes: { k: count }, inputs, outputs, threads });
  const { values, ids, log_sum_exp } = outputs;
  return {
    values: Array.from(values.data),
    ids: Array.from(ids.data, Number),
    logSumExp: Array.from(log_sum_exp.data),
  };
}

/** The plain twin. */
function plainTop(logits: Float32Array, rows: number): Top {
  const vocabSize = logits.length / rows;
  const tops = Array.from({ length: rows }, (_, l) => {
    const row = logits.subarray(l * vocabSize, (l + 1) * vocabSize);
    const ids = Array.from(row.keys());
    // Not a difference, because infinities have none.
    ids.sort((a, b) => (row[a] === row[b] ? a - b : row[a]! > row[b]! ? -1 : 1));
    const max = row[ids[0]!]!;
    const sum = row.reduce((total, value) => total + Math.exp(value - max), 0);
    const largest = ids.slice(0, 64);
    return { ids: largest, values: largest.map((id) => row[id]!), sum: max + Math.log(sum) };
  });
  return {
    values: tops.flatMap(({ values }) => values),
    ids: tops.flatMap(({ ids }) => ids),
    logSumExp: tops.map(({ sum }) => sum),
  };
}

function checkTop(logits: Float32Array<ArrayBuffer>, rows: number, name = ''): void {
  const got = ownTop(logits, rows);
  const want = plainTop(logits, rows);
  const k = want.ids.length / rows;
  want.logSumExp.forEach((value, l) => {
    const label = `${name}, row ${l}`;
    const top = (all: readonly number[]) => all.slice(l * k, (l + 1) * k);
    assert.deepEqual(top(got.ids), top(want.ids), `${label}: ids`);
    assert.deepEqual(top(got.values), top(want.values), `${label}: values`);
    const sum = got.logSumExp[l]!;
    const isRight = Number.isFinite(value)
      ? Math.abs(sum - value) <= 1e-5 * Math.max(1, Math.abs(value))
      : !Number.isFinite(sum);
    assert.ok(isRight, `${label}: log-sum-exp ${sum} instead of ${value}`);
  });
  assert.deepEqual(ownTop(logits, rows, 1), got, `${name}: one thread`);
}

type Random = () => number;

/** Logits by their id. */
const KINDS: Readonly<Record<string, (id: number, random: Random) => number>> = {
  random: (_, random) => 10 * random(),
  ascending: (id) => id / 16,
  descending: (id) => -id / 16,
  'all equal': () => 1.5,
  'all zeros of both signs': (id) => (id % 3 === 0 ? -0 : 0),
  'three values': (_, random) => Math.round(1.4 * random()),
  'equal values at the border of the first 64': (id) => (id % 7 === 0 ? 2 : id % 5 === 0 ? 1 : 0),
  'one large value behind the first 64': (id, random) => (id === 64 ? 90 : random()),
  'large values far apart': (id, random) => (id % 97 === 50 ? 30 + random() : random()),
  'a few that are not minus infinity': (id, random) => (id % 11 === 4 ? random() : -Infinity),
  'minus infinity in between': (_, random) => (random() > 0.5 ? -Infinity : random()),
  'minus infinity alone': () => -Infinity,
  'large negative values': (_, random) => -1e30 * (random() + 2),
  'large positive values': (_, random) => 1e4 * (random() + 2),
  'the largest floats': (id) => (id % 2 ? 3.4028234663852886e38 : -3.4028234663852886e38),
  'subnormal values': (_, random) => 1e-40 * random(),
};

test('the largest logits are those of a sort, equal ones by their id', { skip }, () => {
  const random = seededRandom(3);
  const kinds = Object.entries(KINDS);
  for (const vocabSize of [1, 5, 16, 63, 64, 65, 80, 96, 127, 1000, 4099]) {
    const rows = kinds.map(([, logit]) =>
      Float32Array.from({ length: vocabSize }, (_, id) => logit(id, random)),
    );
    const logits = Float32Array.from(rows.flatMap((row) => Array.from(row)));
    checkTop(logits, rows.length, `V = ${vocabSize}`);
  }
  const logits = Float32Array.from({ length: 2 * 49_152 }, () => 5 * random());
  checkTop(logits, 2, 'the vocabulary of SmolLM2');
});

test('random rows of random kinds', { skip }, () => {
  const kinds = fc.array(fc.constantFrom(...Object.keys(KINDS)), { minLength: 1, maxLength: 33 });
  const sizes = fc.integer({ min: 1, max: 700 });
  fc.assert(
    fc.property(kinds, sizes, fc.integer({ min: 1, max: 1e6 }), (names, vocabSize, seed) => {
      const random = seededRandom(seed);
      const logits = new Float32Array(names.length * vocabSize);
      names.forEach((name, l) => {
        for (let id = 0; id < vocabSize; id++) {
          // Moves the values to other ids.
          const from = Math.floor((vocabSize * (random() + 1)) / 2);
          logits[l * vocabSize + id] = KINDS[name]!(from, random);
        }
      });
      checkTop(logits, names.length);
    }),
    { numRuns: 30 },
  );
});

test('a row has the same bits alone and among any number of others', { skip }, () => {
  const vocabSize = 333;
  const random = seededRandom(4);
  const logits = Float32Array.from({ length: 33 * vocabSize }, () => 8 * random());
  const all = ownTop(logits, 33);
  for (const rows of [1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33]) {
    const first = ownTop(logits.slice(0, rows * vocabSize), rows);
    assert.deepEqual(first.logSumExp, all.logSumExp.slice(0, rows), `${rows} rows`);
    assert.deepEqual(first.ids, all.ids.slice(0, rows * 64), `${rows} rows`);
    const last = ownTop(logits.slice((rows - 1) * vocabSize, rows * vocabSize), 1);
    assert.deepEqual(last.logSumExp, all.logSumExp.slice(rows - 1, rows), `row ${rows} alone`);
    assert.deepEqual(
      last.values,
      all.values.slice((rows - 1) * 64, rows * 64),
      `row ${rows} alone`,
    );
  }
});

test('a NaN and a positive infinity show in the sum of their row alone', { skip }, () => {
  const random = seededRandom(5);
  for (const vocabSize of [5, 64, 100, 1003]) {
    const healthy = Float32Array.from({ length: 4 * vocabSize }, () => 8 * random());
    const want = ownTop(healthy, 4);
    const k = Math.min(64, vocabSize);
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY]) {
      for (const id of [0, vocabSize >> 1, vocabSize - 1]) {
        const logits = healthy.slice();
        logits[2 * vocabSize + id] = wrong;
        const got = ownTop(logits, 4);
        const label = `${wrong} at ${id} of ${vocabSize}`;
        for (const l of [0, 1, 3]) {
          assert.equal(got.logSumExp[l], want.logSumExp[l], label);
          assert.deepEqual(got.ids.slice(l * k, (l + 1) * k), want.ids.slice(l * k, (l + 1) * k));
        }
        assert.ok(!Number.isFinite(got.logSumExp[2]), `${label}: ${got.logSumExp[2]}`);
        const ids = got.ids.slice(2 * k, 3 * k);
        assert.ok(
          ids.every((i) => i >= 0 && i < vocabSize),
          `${label}: ${ids}`,
        );
        if (wrong === Number.POSITIVE_INFINITY) assert.equal(ids[0], id, label);
      }
      const logits = healthy.slice().fill(wrong, vocabSize, 2 * vocabSize);
      const got = ownTop(logits, 4);
      assert.ok(!Number.isFinite(got.logSumExp[1]), `a row of ${wrong}: ${got.logSumExp[1]}`);
      assert.deepEqual(got.ids.slice(2 * k), want.ids.slice(2 * k), `after a row of ${wrong}`);
    }
  }
});

test('more than there are is an error of the run, not a crash', { skip }, () => {
  assert.throws(() => ownTop(new Float32Array(20), 2, 2, 11), /TopLogits/);
  assert.throws(() => ownTop(new Float32Array(20), 2, 2, 0), /TopLogits/);
  const outputs = {
    values: hostTensor('float32', [2, 5]),
    ids: hostTensor('int64', [2, 5]),
    log_sum_exp: hostTensor('float32', [2]),
  };
  for (const shape of [[10], [2, 5, 2]]) {
    const inputs = { logits: hostTensor('float32', shape) };
    const run = () => runNode({ opType: 'TopLogits', attributes: { k: 5 }, inputs, outputs });
    assert.throws(run, /TopLogits/, `[${shape}]`);
  }
});

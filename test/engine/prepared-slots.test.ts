// Adapter slots that are filled in the background: attached slots hold the same values as without it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { AdapterSlots } from '../../src/engine/adapters/adapter-slots.ts';
import { formOf, slotBytes, slotOperands } from '../../src/engine/adapters/slot-form.ts';
import type { RowPacking } from '../../src/model/row-weights.ts';
import { TARGETS_OF, type TargetName } from '../../src/model/target-modules.ts';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';
import { tinyAdapter, tinyModel } from '../fixtures.ts';
import { plainCodes } from '../ort/plain-codes.ts';

const { config } = tinyModel();
const adapter = (
  seed: number,
  rank: number,
  targets: readonly TargetName[] = TARGETS_OF.separate,
) => tinyAdapter(config, { seed, rank, targets });

const ADAPTERS = [
  adapter(1, 4),
  adapter(2, 4, ['q_proj', 'v_proj']),
  adapter(3, 8),
  adapter(4, 40, ['q_proj', 'v_proj']),
  adapter(5, 3),
];

/** The reference: the values of the adapter in a slot of this form, one by one. */
function expected(slots: AdapterSlots, weights: AdapterWeights, packing: RowPacking): number[][] {
  return [...slotOperands(config, slots.form, packing)].map(({ source, shape }) => {
    if ('vectors' in source) {
      return source.vectors.flatMap(({ name, length }) => [
        ...(weights.vectors.get(name) ?? new Float32Array(length)),
      ]);
    }
    const pairs = weights.layers[source.layer]!;
    if ('codes' in source) {
      const { codes, parts } = source;
      const size = shape.reduce((product, dim) => product * dim);
      const widths = parts.reduce((sum, { width }) => sum + width, 0);
      return parts.flatMap(({ target, width }) => {
        const pair = pairs[target];
        const values = pair ? plainCodes(pair, slots.form.rank)[codes] : [];
        const length = codes === 'codesB' ? (size * width) / widths : size / parts.length;
        return [...values, ...new Array<number>(length - values.length).fill(0)];
      });
    }
    const [, blocks, rows, cols] = shape as [number, number, number, number];
    const at = (block: number, row: number, col: number): number => {
      if ('b' in source) return pairs[source.b]?.b[row * cols + col] ?? 0; // rows past its rank lie past its end
      const ranks = (blocks * cols) / source.a.length;
      const column = block * cols + col;
      const pair = pairs[source.a[Math.floor(column / ranks)]!];
      const inPair = column % ranks;
      return pair && inPair < pair.rank ? pair.a[row * pair.rank + inPair]! : 0;
    };
    return Array.from({ length: blocks * rows * cols }, (_, i) =>
      at(Math.floor(i / (rows * cols)), Math.floor(i / cols) % rows, i % cols),
    );
  });
}

const references = new Map<string, number[][]>();

function assertSlots(slots: AdapterSlots, packing: RowPacking): void {
  for (const weights of ADAPTERS) {
    if (!slots.keys().includes(weights.digest)) continue;
    const held = slots.range(slots.slotOf(weights.digest), 1);
    const key = JSON.stringify([weights.digest, slots.form, packing]);
    const wanted = references.get(key) ?? expected(slots, weights, packing);
    references.set(key, wanted);
    for (const [i, { tensor }] of held.entries()) {
      assert.deepEqual([...tensor.data], wanted[i], `${weights.digest}, operand ${i}`);
    }
  }
  for (const { tensor } of slots.range(0, 1)) assert.ok(tensor.data.every((value) => value === 0));
}

const operation = fc.oneof(
  fc.record({ type: fc.constant('prepare' as const), pick: fc.nat(4) }),
  fc.record({ type: fc.constant('toggle' as const), pick: fc.nat(4) }),
  fc.record({ type: fc.constant('turns' as const), pick: fc.integer({ min: 1, max: 30 }) }),
  fc.record({ type: fc.constant('runs' as const), pick: fc.integer({ min: 1, max: 80 }) }),
);

const PACKINGS: readonly RowPacking[] =
  ownInstructions() === undefined ? ['plain'] : ['plain', 'packed'];

function canAttach(slots: AdapterSlots, weights: AdapterWeights): boolean {
  const attached = ADAPTERS.filter(({ digest }) => slots.keys().includes(digest));
  return slots.canHold([...attached, weights]);
}

const LIMITS = PACKINGS.flatMap((packing) => {
  const widest = slotBytes(config, formOf(ADAPTERS), packing);
  return [
    { packing, memory: 'enough', capacityBytes: 2 ** 40 },
    { packing, memory: 'little', capacityBytes: 3 * widest },
  ];
});

/** The last of three narrow adapters stays, and the next one makes all slots wide. */
const WIDER_AND_FEWER = [0, 1, 4, 0, 1, 3].map((pick) => ({ type: 'toggle' as const, pick }));

for (const { packing, memory, capacityBytes } of LIMITS) {
  test(`I06: attached ${packing} slots in ${memory} memory hold their adapters, and slot 0 zeros, whatever is prepared`, async () => {
    const run = async (operations: { type: string; pick: number }[]) => {
      const slots = new AdapterSlots(config, { capacity: 4, capacityBytes, packing });
      const preparations: Promise<void>[] = [];
      for (const { type, pick } of operations) {
        const weights = ADAPTERS[pick % ADAPTERS.length]!;
        if (type === 'prepare') preparations.push(slots.prepare(weights));
        if (type === 'turns') for (let i = 0; i < pick; i++) await nextTurn();
        if (type === 'runs') for (let i = 0; i < pick; i++) slots.noteRun();
        if (type !== 'toggle') continue;
        if (slots.keys().includes(weights.digest)) slots.detach(weights.digest);
        else if (slots.keys().length < 4 && canAttach(slots, weights)) slots.attach(weights);
        assert.ok(slots.usedSlots * slotBytes(config, slots.form, packing) <= capacityBytes);
        assertSlots(slots, packing);
      }
      await Promise.all(preparations);
      assertSlots(slots, packing);
    };
    const property = fc.asyncProperty(fc.array(operation, { maxLength: 30 }), run);
    await fc.assert(property, { numRuns: 60, seed: 7, examples: [[WIDER_AND_FEWER]] });
  });
}

/** Changes the values of an adapter, so that a later copy of it would differ. */
function spoil(weights: AdapterWeights): void {
  for (const layer of weights.layers) {
    for (const pair of Object.values(layer)) pair.a.fill(7);
  }
}

const holdsSeven = (slots: AdapterSlots, { digest }: AdapterWeights) =>
  slots
    .range(slots.slotOf(digest), 1)
    .some(({ tensor }) => (tensor as OrtTensor<'float32'>).data.includes(7));

for (const [what, second] of [
  ['of the same form', adapter(12, 4)],
  ['that makes all slots wider', adapter(12, 16)],
] as const) {
  test(`an adapter ${what} is not copied again when it is attached, and neither are the others`, async () => {
    const slots = new AdapterSlots(config, { capacity: 4, capacityBytes: 2 ** 40 });
    const first = adapter(11, 4);
    slots.attach(first);
    await slots.prepare(second);
    for (const weights of [first, second]) spoil(weights);
    slots.attach(second);
    assert.deepEqual([holdsSeven(slots, first), holdsSeven(slots, second)], [false, false]);
  });
}

test('slots that have been too wide are narrowed once narrow ones are ready', async () => {
  const slots = new AdapterSlots(config, { capacity: 4, capacityBytes: 2 ** 40 });
  const [narrow, wide] = [adapter(11, 4), adapter(12, 16)];
  for (const weights of [narrow, wide]) slots.attach(weights);
  slots.detach(wide.digest);
  const { version } = slots;
  for (let run = 0; run < 100; run++) slots.noteRun();
  assert.equal(slots.version, version, 'a run would have to wait for it');
  while (slots.version === version) {
    await nextTurn();
    slots.noteRun();
  }
  assert.equal(slots.form.rank, 4);
});

test('prepared slots of another form are dropped if they are not used', async () => {
  const slots = new AdapterSlots(config, { capacity: 4, capacityBytes: 2 ** 40 });
  const [first, second] = [adapter(11, 4), adapter(12, 16)];
  slots.attach(first);
  await slots.prepare(second);
  for (let run = 0; run < 70; run++) slots.noteRun();
  spoil(second);
  slots.attach(second);
  assert.ok(holdsSeven(slots, second), 'it was copied again');
});

test('in packed form, an adapter that was detached is not copied again until another has taken its slot', {
  skip: ownInstructions() === undefined && 'our own operators cannot run here',
}, () => {
  const slots = new AdapterSlots(config, {
    capacity: 3,
    capacityBytes: 2 ** 40,
    packing: 'packed',
  });
  const [first, second, third, fourth] = [
    ...[adapter(11, 4), adapter(12, 4)],
    ...[adapter(13, 4), adapter(14, 4)],
  ] as const;
  const codes = () =>
    slots.range(slots.slotOf(first.digest), 1).map(({ tensor }) => tensor.data.slice());
  slots.attach(first);
  const before = codes();
  for (const weights of [second, third]) slots.attach(weights);
  for (const weights of [first, second]) slots.detach(weights.digest);
  spoil(first);
  slots.attach(first);
  assert.deepEqual(codes(), before, 'it was still there');
  for (const weights of [first, third]) slots.detach(weights.digest);
  slots.attach(fourth); // takes the slot of the one that was detached first, the second
  slots.attach(first);
  assert.deepEqual(codes(), before, 'it was still there');
  slots.attach(second); // takes the last slot, the third's
  slots.detach(first.digest);
  slots.attach(third);
  slots.detach(second.digest);
  slots.attach(first);
  assert.notDeepEqual(codes(), before, 'it was copied again');
});

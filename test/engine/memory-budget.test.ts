import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { elementCount } from '../../src/common/tensor.ts';
import { formOf, slotBytes, slotOperands } from '../../src/engine/adapters/slot-form.ts';
import { type MemoryRequest, planMemory } from '../../src/engine/memory/memory-budget.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { targetNames } from '../../src/model/target-modules.ts';
import { SMOLLM2 } from '../fixtures.ts';

const config = parseDecoderConfig(SMOLLM2);
const DEFAULTS: MemoryRequest = { provider: 'cpu', weights: 'int8', kv: 'f32', prefillChunk: 256 };

const plan = (bytes: number, request: Partial<MemoryRequest> = {}) =>
  planMemory(config, { ...DEFAULTS, ...request }, { bytes, source: 'test' });

test('with enough memory the defaults apply, without a message', () => {
  const { slots, maxSeqLength, adapterCacheBytes, reduced } = plan(32e9);
  assert.deepEqual(
    { slots, maxSeqLength, adapterCacheBytes, reduced },
    { slots: 32, maxSeqLength: 4096, adapterCacheBytes: 2 ** 30, reduced: undefined },
  );
});

test('sequences have the usual length if all slots of the long one do not fit, without a message', () => {
  for (const [bytes, request, expected] of [
    [8e9, {}, [32, 2048]],
    [8e9, { slots: 8 }, [8, 4096]],
    [32e9, { maxSeq: 2048 }, [32, 2048]],
    [32e9, { provider: 'cuda' }, [32, 2048]],
  ] as const) {
    const { slots, maxSeqLength, reduced } = plan(bytes, request);
    assert.deepEqual([slots, maxSeqLength, reduced], [...expected, undefined]);
  }
  const short = parseDecoderConfig({ ...SMOLLM2, max_position_embeddings: 1024 });
  const { maxSeqLength } = planMemory(short, DEFAULTS, { bytes: 32e9, source: 'test' });
  assert.equal(maxSeqLength, 1024);
});

test('serving leaves to trainers what the operator asks for', () => {
  const [whole, shared] = [plan(6e9), plan(6e9, { trainMemoryBytes: 2e9 })];
  assert.equal(shared.budget.parts.trainers, 2e9);
  assert.ok(shared.budget.totalBytes <= 6e9, `${shared.budget.totalBytes}`);
  assert.ok(shared.slots < whole.slots, `${shared.slots} of ${whole.slots}`);
  assert.throws(() => plan(6e9, { trainMemoryBytes: 6e9 }), /trainers 5,723 MiB.*--train-memory/);
});

for (const [slots, guests] of [
  [1, 1],
  [12, 1],
  [13, 2],
  [32, 3],
] as const) {
  test(`${guests} guest slots are planned beside ${slots} others`, () => {
    const [without, beside] = [
      plan(32e9, { slots }),
      plan(32e9, { slots, hasReservedSlots: true }),
    ];
    assert.deepEqual([beside.slots, beside.reservedSlots], [slots, guests]);
    const perSlot = without.budget.parts.kvCache / slots;
    assert.equal(beside.budget.parts.kvCache, perSlot * (slots + guests));
  });
}

test('fewer slots are planned if the guests do not fit beside them', () => {
  const [without, beside] = [plan(2.4e9), plan(2.4e9, { hasReservedSlots: true })];
  assert.ok(beside.budget.totalBytes <= 2.4e9);
  assert.ok(beside.slots < without.slots, `${beside.slots} of ${without.slots}`);
});

test('the parts add up to the total, which is within the limit for every plan', () => {
  let before = 0;
  for (let bytes = 850e6; bytes < 16e9; bytes *= 1.1) {
    const { slots, maxSeqLength, budget, adapterCacheBytes } = plan(bytes);
    const parts = Object.values(budget.parts).reduce((sum: number, part: number) => sum + part, 0);
    assert.equal(budget.totalBytes, parts);
    assert.ok(budget.totalBytes <= bytes, `${budget.totalBytes} of ${bytes}`);
    assert.equal(budget.parts.kvCache, 2 * 30 * 3 * 64 * 4 * slots * maxSeqLength);
    assert.ok(adapterCacheBytes > 0);
    assert.ok(slots * maxSeqLength >= before, 'more memory never serves less');
    before = slots * maxSeqLength;
  }
});

test('with 920 MB there are fewer and shorter sequences, and a message says why', () => {
  const { slots, maxSeqLength, reduced } = plan(920e6);
  assert.ok(slots >= 4 && slots < 32 && maxSeqLength < 2048, `${slots} x ${maxSeqLength}`);
  assert.match(reduced!, /--slots \d+ --max-seq \d+ instead of 32 and 2048: .* 878 MiB \(test\)/);
});

test('F31, B67: 200 MB are refused, with the figures', () => {
  assert.throws(
    () => plan(200e6),
    (error) =>
      error instanceof ConfigError &&
      /serving takes \d+ MiB .* 191 MiB \(test\) .*base 141 MiB, tokenizer 48 MiB.*Use a smaller model or --weights nf4, or raise the memory limit/.test(
        error.message,
      ),
  );
});

test('B67: requested sizes are kept or refused, never reduced', () => {
  assert.throws(() => plan(1100e6, { slots: 32, maxSeq: 2048 }), /KV cache of 32 x 2048 positions/);
  assert.throws(
    () => plan(1100e6, { adapterCacheBytes: 2 ** 30 }),
    (error) => error instanceof ConfigError && /Lower --adapter-cache,/.test(error.message),
  );
  const shorter = plan(1100e6, { slots: 16 });
  assert.equal(shorter.slots, 16);
  assert.ok(shorter.maxSeqLength < 2048);
  const fewer = plan(1100e6, { maxSeq: 2048 });
  assert.equal(fewer.maxSeqLength, 2048);
  assert.ok(fewer.slots < 4);
  const cached = plan(4e9, { adapterCacheBytes: 3e8 });
  assert.equal(cached.adapterCacheBytes, 3e8);
});

test('the prefix cache has a share of what is left, its requested size, or nothing', () => {
  assert.equal(plan(32e9).prefixCacheBytes, 2 ** 30);
  const small = plan(1100e6);
  assert.ok(small.prefixCacheBytes > 5e6 && small.prefixCacheBytes < 60e6);
  assert.equal(plan(1100e6, { prefixCacheBytes: 0 }).slots, small.slots);
  assert.equal(plan(1100e6, { prefixCacheBytes: 0 }).prefixCacheBytes, 0);
  const { prefixCacheBytes, budget, ...with200 } = plan(1100e6, { prefixCacheBytes: 2e8 });
  assert.deepEqual([prefixCacheBytes, budget.parts.prefixCache], [2e8, 2e8]);
  const positions = (sizes: { slots: number; maxSeqLength: number }) =>
    sizes.slots * sizes.maxSeqLength;
  assert.ok(positions(with200) < positions(small), 'sequences make room for it');
  assert.throws(() => plan(1100e6, { prefixCacheBytes: 8e8 }), /prefix cache 763 MiB/);
  const inDevice = plan(1100e6, { provider: 'cuda', prefixCacheBytes: 2e8 });
  assert.equal(inDevice.prefixCacheBytes, 0);
});

test('on a device, the base and the cache take no memory of the host', () => {
  const { slots, budget } = plan(900e6, { provider: 'cuda' });
  assert.deepEqual([slots, budget.parts.base, budget.parts.kvCache], [32, 0, 0]);
});

const LARGER = parseDecoderConfig({
  ...SMOLLM2,
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 24,
  num_attention_heads: 32,
  num_key_value_heads: 32,
});

test('an int8 cache takes a quarter, and the defaults of a 1.7B model fit in 24 GB', () => {
  const planLarger = (request: Partial<MemoryRequest>) =>
    planMemory(LARGER, { ...DEFAULTS, ...request }, { bytes: 24e9, source: 'test' });
  const { slots, maxSeqLength, budget, reduced } = planLarger({ kv: 'int8' });
  assert.deepEqual([slots, maxSeqLength, reduced], [32, 2048, undefined]);
  assert.equal(budget.parts.kvCache, 2 * 24 * 32 * 64 * 32 * 2048);
  assert.ok(planLarger({ kv: 'f32' }).slots < 32, 'defaults are fitted');
  const requested = { slots: 32, maxSeq: 2048 };
  assert.throws(() => planLarger({ kv: 'f32', ...requested }), /Lower .*, use --kv int8, or raise/);
  assert.throws(
    () => planLarger({ kv: 'int8', slots: 256, maxSeq: 2048 }),
    /Lower --slots or --max-seq, or raise/,
  );
});

test('in little memory, an adapter of rank 8 on all linears still fits', () => {
  const targets = targetNames(config);
  const bytes = slotBytes(config, formOf([{ rank: 8, targets, parts: [] }]));
  assert.ok(plan(900e6).adapterSlotBytes >= 2 * bytes, 'slot 0 has the same size');
});

test('our own operators need a quarter of the slot, and half of the cache, and neither scores nor copies', () => {
  const form = formOf([{ rank: 8, targets: targetNames(config), parts: [] }]);
  const [floats, codes] = [slotBytes(config, form), slotBytes(config, form, 'packed')];
  assert.ok(codes > floats / 4 && codes < 0.3 * floats, `${codes} of ${floats}`);
  // As much memory for adapters as one of the default rank needs.
  assert.ok(plan(900e6, { packing: 'packed' }).adapterSlotBytes >= 2 * codes);
  for (const [ofRuntime, ofOperators] of [
    ['f32', 'f16'],
    ['int8', 'int8'],
  ] as const) {
    const chunks = { prefillChunk: 1024 };
    const runtime = plan(32e9, { ...chunks, kv: ofRuntime }).budget.parts;
    const own = plan(32e9, { ...chunks, kv: ofOperators, packing: 'packed' }).budget.parts;
    const scores = 4 * 9 * 4096 * 1024 - 4 * 1024 * 4 * 1536;
    const copies = ofRuntime === 'int8' ? 2 * 2 * 3 * 64 * 4096 * 4 : 0;
    assert.equal(runtime.activations - own.activations, scores + copies);
    assert.equal(own.kvCache, runtime.kvCache / (ofRuntime === 'f32' ? 2 : 1));
  }
});

test('the bytes of a slot are those of all its operands', () => {
  const targets = targetNames(config);
  for (const some of [targets, targets.slice(0, 1), []]) {
    for (const parts of [[], ['outputs'], ['outputs', 'norms']] as const) {
      const form = formOf([{ rank: 8, targets: some, parts }]);
      for (const packing of ['plain', 'packed'] as const) {
        const sizes = [...slotOperands(config, form, packing)].map(
          ({ shape, type }) => elementCount(shape) * (type === 'int8' ? 1 : 4),
        );
        const sum = sizes.reduce((total, size) => total + size, 0);
        assert.equal(slotBytes(config, form, packing), sum);
      }
    }
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { ServeError } from '../../src/common/errors.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { adapterBytes, CONFIG, configBytes, MODEL, sampleTensors } from './sample.ts';

const GOOD_WEIGHTS = serializeSafetensors(sampleTensors());
const GOOD_CONFIG = configBytes();
const RUNS = 5000; // of each kind: 10,000 in all
const MAX_GROWTH_BYTES = 16 * 1024 * 1024;

/** Overwrites, cuts out and inserts bytes; most mutations hit the header, where the structure is. */
const mutation = fc.record({
  kind: fc.constantFrom('set', 'cut', 'insert', 'truncate'),
  at: fc.oneof(fc.nat(1200), fc.nat(4000)),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
    fc.constantFrom(
      ...[
        '"',
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        '0',
        '-1',
        '9e9',
        'null',
        'F16',
        'BF16',
        '\\u0000',
        '__proto__',
        '18446744073709551615',
      ].map((s) => Buffer.from(s)),
    ),
  ),
});

function mutate(
  bytes: Uint8Array,
  { kind, at, bytes: patch }: { kind: string; at: number; bytes: Uint8Array },
) {
  const from = Math.min(at, bytes.length);
  const head = bytes.subarray(0, from);
  if (kind === 'truncate') return head;
  if (kind === 'cut') return Buffer.concat([head, bytes.subarray(from + patch.length)]);
  if (kind === 'insert') return Buffer.concat([head, patch, bytes.subarray(from)]);
  return Buffer.concat([head, patch, bytes.subarray(from + patch.length)]);
}

async function answers(config: Uint8Array, weights: Uint8Array): Promise<void> {
  try {
    const parsed = await parseAdapter(adapterBytes(config, weights), MODEL);
    assert.ok(parsed.byteSize > 0);
  } catch (error) {
    if (!(error instanceof ServeError && error.status === 422 && error.param)) throw error;
  }
}

/** Bytes that stay in use after a run, garbage collected. */
async function growthOf(run: () => Promise<void>): Promise<number> {
  const used = () => {
    globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const before = used();
  await run();
  return used() - before;
}

test('T07: mutated weights are parsed or refused, and leave no memory behind', async () => {
  const property = fc.asyncProperty(
    fc.array(mutation, { minLength: 1, maxLength: 3 }),
    (mutations) => answers(GOOD_CONFIG, mutations.reduce(mutate, GOOD_WEIGHTS)),
  );
  const growth = await growthOf(() => fc.assert(property, { numRuns: RUNS }));
  assert.ok(!globalThis.gc || growth < MAX_GROWTH_BYTES, `${growth} bytes`);
});

test('mutated configurations are parsed or refused, and leave no memory behind', async () => {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom('.*', '(a*)*', 'all-linear', '(?P<x>', '[', 'q_proj', 1e308, -1, 2 ** 53, {}),
  );
  const field = fc.constantFrom(
    ...Object.keys(CONFIG),
    'rank_pattern',
    'alpha_pattern',
    'exclude_modules',
    'layers_to_transform',
    'layers_pattern',
    'use_rslora',
    'init_lora_weights',
    'auto_mapping',
    '__proto__',
  );
  const changed = fc
    .dictionary(field, value, { maxKeys: 3 })
    .map((changes) => configBytes(changes));
  const damaged = fc
    .array(mutation, { minLength: 1, maxLength: 3 })
    .map((m) => m.map((one) => ({ ...one, at: one.at % 160 })).reduce(mutate, GOOD_CONFIG));
  const property = fc.asyncProperty(fc.oneof(changed, damaged), (config) =>
    answers(config, GOOD_WEIGHTS),
  );
  const growth = await growthOf(() => fc.assert(property, { numRuns: RUNS }));
  assert.ok(!globalThis.gc || growth < MAX_GROWTH_BYTES, `${growth} bytes`);
});

import assert from 'node:assert/strict';
import test from 'node:test';
import { FileError } from '../../src/common/errors.ts';
import type { Tensor } from '../../src/common/tensor.ts';
import {
  ADAPTER_LIMITS,
  parseSafetensors,
  serializeSafetensors,
} from '../../src/formats/safetensors.ts';

const CASES = 10_000;
/** The external memory that 10,000 rejected files may leave behind. Less than one header asks for. */
const MAX_GROWTH_BYTES = 16 * 1024 * 1024;

/** mulberry32. A failure can be reproduced by its case number. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const tokens = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '0',
  '9',
  '-1',
  '1e9',
  'null',
  '99999999999',
];

function mutate(seed: Uint8Array, random: (below: number) => number): Uint8Array {
  let bytes = Buffer.from(seed);
  for (let edits = 1 + random(4); edits > 0; edits--) {
    const at = random(Math.min(bytes.length, 300)); // mostly the header
    const kind = random(5);
    if (kind === 0) bytes[at] = random(256);
    else if (kind === 1) bytes[at] = bytes[at]! ^ (1 << random(8));
    else if (kind === 2)
      bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(8))]);
    else {
      const token = kind === 3 ? tokens[random(tokens.length)]! : String.fromCharCode(random(128));
      bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(token), bytes.subarray(at)]);
      if (random(2) === 0 && bytes.length > 8) fixLength(bytes, token.length);
    }
    if (bytes.length === 0) break;
  }
  return bytes;
}

/** Corrects the header length, so the mutation reaches the parser. */
function fixLength(bytes: Buffer, inserted: number): void {
  bytes.writeBigUInt64LE(BigInt.asUintN(64, bytes.readBigUInt64LE(0) + BigInt(inserted)), 0);
}

test(`T07: ${CASES} mutated files give tensors or a FileError, and keep no memory`, () => {
  const tensors = new Map<string, Tensor>([
    ['m.lora_A.weight', { dtype: 'F32', shape: [2, 3], data: new Uint8Array(24) }],
    ['m.lora_B.weight', { dtype: 'F16', shape: [3, 2], data: new Uint8Array(12) }],
  ]);
  const seed = serializeSafetensors(tensors, { format: 'pt' });
  const before = process.memoryUsage();
  let refused = 0;
  for (let i = 0; i < CASES; i++) {
    const bytes = mutate(seed, createRandom(i));
    try {
      const parsed = parseSafetensors(bytes, ADAPTER_LIMITS);
      for (const { data } of parsed.tensors.values()) assert.ok(data.length <= bytes.length);
    } catch (error) {
      if (!(error instanceof FileError)) throw new Error(`case ${i}`, { cause: error });
      refused++;
    }
  }
  assert.ok(refused > CASES / 2, `${refused} of ${CASES} refused`);
  globalThis.gc?.();
  const after = process.memoryUsage();
  const growth = after.external + after.heapUsed - before.external - before.heapUsed;
  assert.ok(growth < MAX_GROWTH_BYTES, `grew by ${growth} bytes`);
});

// Every target of the fuzzer for a moment, with another seed on every run, and the fuzzer itself on parsers with bugs.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import { checkCase, corpusOf, fuzz, type Target } from './fuzz.ts';
import { HTTP_TARGETS } from './http-targets.ts';
import { PARSERS } from './targets.ts';

/** `npm test` gives each target this long. */
const MAX_MS = 400;
const MAX_ROUNDS = 50;
/** Garbage of the runtime itself stays below it. */
const MAX_LEFT_BYTES = 16 * 2 ** 20;

const TARGETS = [...PARSERS, ...HTTP_TARGETS];
const targetNamed = (name: string) => TARGETS.find((target) => target.name === name)!;

/** Buffers are freed some time after the collection that found them unused. */
async function heldBytes(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await nextTurn();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Fuzzes a target, and checks that it refused some files and holds no memory afterwards. */
async function fuzzFor(name: string): Promise<void> {
  const target = targetNamed(name);
  for (const file of [...target.seeds, ...corpusOf(target).values()]) await checkCase(target, file);
  const before = await heldBytes();
  const seed = randomInt(2 ** 31);
  let refused = name === 'slow-reader' ? 1 : 0;
  // On a busy machine a moment may be too short for an edit that is refused.
  for (let round = 0; round === 0 || (refused === 0 && round < MAX_ROUNDS); round++) {
    const report = await fuzz(target, { seed: seed + round, cases: 1_000_000, maxMs: MAX_MS });
    refused += report.refused;
  }
  assert.ok(refused > 0, `seed ${seed}`);
  const left = (await heldBytes()) - before;
  assert.ok(!globalThis.gc || left < MAX_LEFT_BYTES, `${left} bytes are left after seed ${seed}`);
}

test('T07: edited weights are parsed or refused by name, in bounded time and memory', async () => {
  await fuzzFor('safetensors');
  await fuzzFor('adapter-weights');
});

test('T08: edited configurations of adapters are parsed or refused by field', () =>
  fuzzFor('adapter-config'));

test('edited GGUF files are read or refused by name', () => fuzzFor('gguf'));

test('edited training rows are parsed or refused by field', () => fuzzFor('training-rows'));

test('T36: an edited keys file is read or refused by field', () => fuzzFor('keys-file'));

test('B27: edited schemas, expressions and grammars are compiled or refused', async () => {
  await fuzzFor('json-schema');
  await fuzzFor('regex');
  await fuzzFor('grammar');
});

test('edited sampling defaults and training origins are read or refused by name', async () => {
  await fuzzFor('generation-config');
  await fuzzFor('training-origin');
});

test("edited files of a training loop's journal are read or refused by name", () =>
  fuzzFor('journal-entry'));

test('B68: edited manifests and aliases are read, or count as damaged', async () => {
  await fuzzFor('manifest');
  await fuzzFor('aliases');
});

test('B01: an edited request gets an answer or the envelope of an error, and no failure is logged', () =>
  fuzzFor('http'));

test('F29: however slowly a stream is read, its text is that of a whole answer', () =>
  fuzzFor('slow-reader'));

test('every valid file is accepted', async () => {
  for (const target of TARGETS) {
    for (const seed of target.seeds) await target.run(seed);
  }
});

/** Finds a planted bug of a parser. Returns the message of the failure. */
async function findBug(run: Target['run']): Promise<string> {
  const target = { ...targetNamed('safetensors'), run };
  const failure = await fuzz(target, { seed: 1, cases: 20_000 }).catch((error: Error) => error);
  assert.ok(failure instanceof Error, 'nothing was found');
  assert.match(failure.message, /^npm run fuzz -- --target safetensors --seed 1 --path \d/);
  return String(failure.cause);
}

test('the fuzzer finds a parser that believes a length, and one that lets a wrong error out', async () => {
  const believing = await findBug((file) => {
    const claimed = new DataView(file.buffer, file.byteOffset).getUint32(0, true);
    if (claimed < 2 ** 26) new Uint8Array(claimed).fill(1, 0, 1);
    parseSafetensors(file, ADAPTER_LIMITS);
  });
  assert.match(believing, /bytes of memory for a file of|RangeError/);
  const wrong = await findBug((file) => {
    JSON.parse(Buffer.from(file.subarray(8, 8 + file[0]! + 256 * file[1]!)).toString());
  });
  assert.match(wrong, /SyntaxError/);
});

test('the path that a failure prints repeats its case', async () => {
  const target: Target = {
    ...targetNamed('keys-file'),
    run(file) {
      if (file.length % 7 === 3) throw new Error('planted');
    },
  };
  const failure = await fuzz(target, { seed: 5, cases: 1000 }).catch((error: Error) => error);
  const path = /--path ([\d:]+)/.exec((failure as Error).message)![1]!;
  await assert.rejects(fuzz(target, { seed: 5, cases: 1, path }), {
    message: (failure as Error).message,
  });
});

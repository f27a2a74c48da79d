// The tests of our own operators and of int8 weights in per-token form on an emulated CPU with AVX2 alone, where the runtime's product
// of uint8 and int8 saturates. Debian's package qemu-user has the emulator.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { skipUnlessLong } from '../shared.ts';

const EMULATOR = ['qemu-x86_64', '-cpu', 'Haswell'] as const;

/** Test files, with a pattern for the names of the tests that concern int8 or our own operators. */
const FILES: readonly (readonly [file: string, tests: string])[] = [
  ['test/quant/row-int8.test.ts', '.'],
  ['test/ort/row-linear.test.ts', '.'],
  ['test/ort/rounded-updates.test.ts', '.'],
  ['test/ort/cached-attention.test.ts', '^(?!the runtime)'],
  ['test/ort/top-logits.test.ts', '.'],
  ['test/trainer/row-int8.test.ts', '.'],
  ['test/engine/int8-form.test.ts', '.'],
  ['test/trainer/trained-kinds.test.ts', 'int8'],
  ['test/trainer/resume.test.ts', 'int8'],
];

const isEmulated = spawnSync(EMULATOR[0], ['--version']).status === 0;
const skip = skipUnlessLong || (!isEmulated && `${EMULATOR[0]} is not installed`);

for (const [file, tests] of FILES) {
  test(`${file} passes on a Haswell`, { skip }, async () => {
    const command = [...EMULATOR, process.execPath, '--expose-gc', '--import', 'tsx'];
    // Without --test, because the runner would start the file's process on the real CPU.
    const [program, ...args] = [...command, `--test-name-pattern=${tests}`, file];
    const { code, output } = await run(program!, args);
    assert.equal(code, 0, output);
    assert.match(output, /^# pass [1-9]/m);
  });
}

function run(program: string, args: readonly string[]): Promise<{ code: number; output: string }> {
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
  return new Promise((resolve) => {
    const child = execFile(program, args, { env, maxBuffer: 1e8 }, (_, out, errors) => {
      resolve({ code: child.exitCode ?? 1, output: out + errors });
    });
  });
}

// Garbage collection during runs: results stay correct, unreferenced native objects are freed, and the process exits
// cleanly.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { programUrl } from '../../src/common/fork-program.ts';
import { RunOptions } from '../../src/ort/binding.ts';
import { createSession } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { argumentsOf } from '../node-program.ts';
import { matmul, matmulModel, weightModel, wholeNumbers } from './models.ts';

const gc = globalThis.gc;
const needsGc = gc ? false : 'needs --expose-gc';

/** Allocates garbage of the size of tensors, so that freed memory is soon overwritten. */
function churn(): void {
  for (let i = 0; i < 200; i++) new Float32Array(new ArrayBuffer(4 * (1 + i))).fill(Number.NaN);
}

test('tensors and bindings come and go while runs are in flight', { skip: needsGc }, async () => {
  using session = await createSession(matmulModel(16, 8), { intraOpThreads: 2 });
  async function round(seed: number): Promise<void> {
    const a = wholeNumbers((1 + (seed % 4)) * 16, seed); // 64 bytes at least: also the heap's own arrays
    const b = wholeNumbers(16 * 8, seed + 1);
    const rows = a.length / 16;
    const y = hostTensor('float32', [rows, 8]);
    const binding = session.createBinding();
    // From here on, only the binding refers to the inputs.
    binding.bindInput('A', hostTensor('float32', [rows, 16], a.slice()));
    binding.bindInput('B', hostTensor('float32', [16, 8], b.slice()));
    binding.bindOutput('Y', y);
    if (seed % 5 === 0) gc?.();
    const run = binding.run(seed % 2 ? new RunOptions() : undefined);
    churn();
    if (seed % 7 === 0) gc?.();
    await run;
    assert.deepEqual(y.data, matmul(a, b, 16));
    if (seed % 3 === 0) binding.release(); // the others are left to the collector
  }
  for (let seed = 1; seed <= 240; seed += 8) {
    await Promise.all(Array.from({ length: 8 }, (_, i) => round(seed + i)));
  }
});

test('small arrays do not move once they are tensors', { skip: needsGc }, () => {
  const arrays = Array.from({ length: 500 }, (_, i) => Float32Array.of(i, i + 1));
  const views = arrays.map((array) => hostTensor('float32', [2], array).view([1], 1));
  for (let i = 0; i < 5; i++) {
    churn();
    gc?.();
  }
  arrays.forEach((array, i) => {
    array[1] = -i;
    assert.equal(views[i]!.data[0], -i);
  });
});

test('unreferenced sessions, bindings and tensors free their memory', {
  skip: needsGc,
}, async () => {
  const size = 512;
  const bytes = size * size * 4;
  async function forget(): Promise<void> {
    const weights = hostTensor('float32', [size, size]);
    const session = await createSession(weightModel(size, size), {
      initializers: new Map([['W', weights]]),
    });
    const binding = session.createBinding();
    binding.bindInput('A', hostTensor('float32', [size, size]));
    binding.bindOutput('Y', hostTensor('float32', [size, size]));
    binding.runSync();
  }
  async function settle(): Promise<number> {
    for (let i = 0; i < 4; i++) {
      gc?.();
      await new Promise((resolve) => setImmediate(resolve)); // finalizers run as tasks
    }
    return process.memoryUsage().arrayBuffers;
  }
  await forget();
  const before = await settle();
  for (let i = 0; i < 20; i++) await forget();
  const after = await settle();
  assert.ok(after - before < 3 * bytes, `${after - before} bytes are held by 20 forgotten rounds`);
});

test('tensors of several gigabytes are zeros that take no memory yet', () => {
  const rssBefore = process.memoryUsage.rss();
  using tensor = hostTensor('uint8', [3, 2 ** 30]);
  assert.equal(tensor.view([1], 3 * 2 ** 30 - 1).data[0], 0);
  assert.ok(process.memoryUsage.rss() - rssBefore < 2 ** 28);
});

for (const ending of ['at the end of the program', 'by process.exit during a run']) {
  for (const threads of ['own threads', 'shared threads']) {
    test(`a process with live sessions on ${threads} exits cleanly ${ending}`, () => {
      const program = argumentsOf(programUrl('./exit-program', import.meta.url));
      const args = [...program, ending, threads];
      const child = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
      const { status, signal, stdout } = child;
      assert.deepEqual([status, signal, stdout], [0, null, 'ran\n'], child.stderr);
      // No output, except the runtime's line if the run was still ending when the process exited.
      assert.match(child.stderr, /^(.*terminate flag being set to true.*\n)?$/);
    });
  }
}

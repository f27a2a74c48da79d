// Sessions on the threads of the process. In a file of its own, because the first session decides how many there are.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import test from 'node:test';
import { createSession, type Session } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { matmul, matmulModel, wholeNumbers } from './models.ts';

const skip = process.platform !== 'linux' && 'counts threads in /proc';

test('sessions that share threads add none, and compute the same as others', { skip }, async () => {
  const options = { intraOpThreads: 3, sharesThreads: true };
  using first = await createSession(matmulModel(64, 48), options);
  const before = threadCount();
  using second = await createSession(matmulModel(64, 48), options);
  assert.equal(threadCount(), before);
  using other = await createSession(matmulModel(64, 48), { ...options, intraOpThreads: 5 });
  assert.equal(threadCount(), before + 4, 'another number of threads cannot be shared');
  for (const session of [first, second, other]) await checkMatmul(session);
});

function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}

async function checkMatmul(session: Session): Promise<void> {
  const a = wholeNumbers(5 * 64, 1);
  const b = wholeNumbers(64 * 48, 2);
  const y = hostTensor('float32', [5, 48]);
  using binding = session.createBinding();
  binding.bindInput('A', hostTensor('float32', [5, 64], a));
  binding.bindInput('B', hostTensor('float32', [64, 48], b));
  binding.bindOutput('Y', y);
  await binding.run();
  assert.deepEqual(y.data, matmul(a, b, 64));
}

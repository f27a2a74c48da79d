// A long pass delays others by a micro-batch, and nobody if its session has ended.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { ForwardBackwardOutputSchema } from '../../src/tinker/proto/tinker_pb.js';
import { until } from '../until.ts';
import { startMachine, TENANT } from './machine.ts';
import { begin, done, pass, passOver } from './requests.ts';

/** Three micro-batches, the shortest sequences at the end. */
const LONG = Array.from({ length: 24 }, (_, i) => Array.from({ length: 26 - i }, (_, t) => 3 + t));

test("another tenant's new model waits for a micro-batch, not for the pass", async (t) => {
  const { service, trainer } = await startMachine(t).serve();
  const { modelId } = await begin({ service });
  let other: Promise<unknown> | undefined;
  trainer.onPerformed = () => {
    other ??= begin({ service }, 'other');
    return until('the request', () => service.sessions.of('other')[0]?.models.size === 1);
  };
  // The new model has 50 micro-batches to get its turn, whatever the disk does.
  const sequences = Array.from({ length: 400 }, () => [3, 4, 5]);
  const request = service.submit({ tenant: TENANT, modelId, seq: 1 }, passOver(sequences));
  await done(service, request);
  await other;
  const { performed } = trainer;
  assert.equal(performed.filter((kind) => kind === 'pass').length, 50);
  assert.ok(performed.lastIndexOf('create') < performed.lastIndexOf('pass'));
});

test('a pass ends with its session', async (t) => {
  const machine = startMachine(t);
  const { service, trainer } = await machine.serve();
  const { modelId, sessionId } = await begin({ service });
  trainer.onPerformed = () => service.sessions.end(TENANT, sessionId);
  const request = service.submit({ tenant: TENANT, modelId, seq: 1 }, passOver(LONG));
  await assert.rejects(done(service, request), { code: 'expired' });
  await until('the removal', () => !existsSync(machine.folderOf(sessionId)));
  assert.deepEqual(trainer.performed, ['create', 'pass', 'drop']);
});

test('a pass computes for each sequence what a pass over it alone computes', async (t) => {
  const { service } = await startMachine(t).serve();
  const { modelId } = await begin({ service });
  let seq = 0;
  const run = async (request: ReturnType<typeof passOver>) => {
    const value = await done(
      service,
      service.submit({ tenant: TENANT, modelId, seq: ++seq }, request),
    );
    const { lossFnOutputs, metrics } = fromBinary(ForwardBackwardOutputSchema, value as Uint8Array);
    const { data } = lossFnOutputs[0]!.fields['logprobs']!;
    return { logProbs: [...new Float32Array(data.slice().buffer)], loss: metrics['loss:sum']! };
  };
  const whole = await run(passOver(LONG));
  const alone = [];
  for (const tokens of LONG) alone.push(await run(pass(...tokens)));
  const logProbs = alone.flatMap((one) => one.logProbs);
  assert.equal(whole.logProbs.length, logProbs.length);
  for (const [i, value] of logProbs.entries()) {
    assert.ok(Math.abs(whole.logProbs[i]! - value) < 1e-4);
  }
  const loss = alone.reduce((sum, one) => sum + one.loss, 0);
  assert.ok(Math.abs(whole.loss - loss) < 1e-3);
});

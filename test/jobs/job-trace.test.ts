// The trace of a job as a collector receives it: the job's span, its epochs, and the work in and after them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { createLog } from '../../src/common/log.ts';
import type { JobRecord } from '../../src/jobs/job.ts';
import { type Exports, openOtelExports } from '../../src/telemetry/otel/open.ts';
import { Telemetry } from '../../src/telemetry/telemetry.ts';
import {
  type OtlpReceiver,
  type ReceivedSpan,
  startOtlpReceiver,
} from '../telemetry/otlp-receiver.ts';
import { startServer } from './simulated.ts';

let receiver: OtlpReceiver;
let exports: Exports;
let succeeded: JobRecord;
let failed: JobRecord;

before(async () => {
  receiver = await startOtlpReceiver();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.url;
  exports = openOtelExports({ traces: true, metrics: false, closeMs: 10_000 }, createLog('warn'));
  const { tracing } = exports;
  assert.ok(tracing);
  const telemetry = new Telemetry({
    id: 'toy',
    baseDigest: 'b'.repeat(64),
    tracing,
  });
  const server = startServer(createMemoryStore(), {
    observe: ({ id, tenant, token: attempt }) => telemetry.observeRun({ id, tenant, attempt }),
  });
  succeeded = await server.until(await server.create({ steps: 4, perEpoch: 2 }), 'succeeded');
  const fault = { code: 'non_finite_loss', message: 'The loss is not finite.' };
  failed = await server.until(await server.create({ steps: 2, perEpoch: 2, fault }), 'failed');
  await server.worker.close(0);
  await exports.close();
});
after(() => receiver.close());

function rootOf({ id }: JobRecord): ReceivedSpan {
  const found = receiver.spans.filter(
    ({ name, attributes }) => name === 'fine_tuning' && attributes['lorikeet.job.id'] === id,
  );
  assert.equal(found.length, 1);
  assert.equal(found[0]!.parentSpanId, '');
  return found[0]!;
}

const below = (parent: ReceivedSpan) =>
  receiver.spans
    .filter(({ parentSpanId }) => parentSpanId === parent.spanId)
    .sort((a, b) => (a.startNs < b.startNs ? -1 : 1));
const namesOf = (spans: readonly ReceivedSpan[]) => spans.map(({ name }) => name);

test('a job is a trace: job, epochs, a checkpoint in each, and its publication', () => {
  const root = rootOf(succeeded);
  assert.equal(root.status, 0);
  assert.equal(root.attributes['lorikeet.job.status'], 'succeeded');
  assert.equal(root.attributes['lorikeet.tenant'], 'acme');
  const children = below(root);
  const outer = children.filter(({ name }) => name !== 'archive');
  assert.deepEqual(namesOf(outer), ['prepare', 'epoch', 'epoch', 'publish']);
  assert.ok(children.some(({ name }) => name === 'archive'));
  const epochs = children.filter(({ name }) => name === 'epoch');
  assert.deepEqual(
    epochs.map(({ attributes }) => [
      attributes['lorikeet.job.epoch'],
      attributes['lorikeet.job.step'],
    ]),
    [
      [1, 2],
      [2, 4],
    ],
  );
  for (const epoch of epochs) assert.deepEqual(namesOf(below(epoch)), ['checkpoint']);
  const all = [root, ...children, ...epochs.flatMap(below)];
  for (const { startNs, endNs, traceId } of all) {
    assert.equal(traceId, root.traceId);
    assert.ok(startNs <= endNs && endNs <= root.endNs + 1_000_000n, 'within the job, to the ms');
  }
});

test('a failed job has its error, and no span for an epoch without work', () => {
  const root = rootOf(failed);
  assert.equal(root.status, 2);
  assert.equal(root.attributes['error.type'], 'non_finite_loss');
  assert.equal(below(root).filter(({ name }) => name === 'epoch').length, 1);
  assert.ok(!namesOf(below(root)).includes('publish'));
});

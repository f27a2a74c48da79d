// The life of a batch: its check, its answers, retries, cancellation, expiry, faults, and what is left in the store.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LineRequest } from '../../src/batches/context.ts';
import { type Clock, systemClock } from '../../src/common/waiting.ts';
import { listKeys } from '../adapters/store/wrapped-store.ts';
import { until } from '../until.ts';
import {
  answerNumber,
  errorResponse,
  hastyClock,
  lineOf,
  linesOf,
  openBatches,
  TENANT,
} from './simulated.ts';

const HOUR_MS = 3_600_000;

const idsOf = (lines: readonly { custom_id: string }[]) => lines.map((line) => line.custom_id);

describe('a batch', () => {
  test('answers each line, keeps errors apart, and sums up what was used', async () => {
    const server = openBatches();
    const metadata = { team: 'paint' };
    const batch = await server.create(linesOf(7), { metadata });
    assert.equal(batch.status, 'validating');
    server.worker.start();
    const done = await server.until(batch, 'completed');
    assert.deepEqual([done.total, done.completed, done.failed], [7, 6, 1]);
    assert.deepEqual(done.usage, { inputTokens: 12, cachedTokens: 6, outputTokens: 6 });
    assert.deepEqual(done.metadata, metadata);
    const output = await server.read(done.outputFile);
    const first = output.find((line) => line.custom_id === 'line-0')!;
    const usage = {
      prompt_tokens: 2,
      completion_tokens: 1,
      prompt_tokens_details: { cached_tokens: 1 },
    };
    assert.deepEqual(first, {
      id: `batch_req_${batch.id.slice('batch-'.length)}000000`,
      custom_id: 'line-0',
      response: { status_code: 200, request_id: 'req_0', body: { answer: 0, usage } },
      error: null,
    });
    const [error] = await server.read(done.errorFile);
    assert.deepEqual([error?.custom_id, error?.response?.status_code], ['line-4', 400]);
    const { purpose, filename } = await server.files.get(TENANT, done.outputFile!);
    assert.deepEqual([purpose, filename], ['batch_output', `${batch.id}_output.jsonl`]);
  });

  test('leaves neither parts nor a mark in the store', async () => {
    const server = openBatches();
    const batch = await server.create(linesOf(5));
    server.worker.start();
    await server.until(batch, 'completed');
    await until('the mark to be gone', async () => {
      const keys = await listKeys(server.store);
      const rest = keys.filter((key) => key.includes('/parts/') || key.startsWith('.active'));
      return rest.length === 0;
    });
  });

  test('answers no more lines at a time than it may, as the tenant, in idle time and without its limits', async () => {
    let running = 0;
    let most = 0;
    const tenants: LineRequest['tenant'][] = [];
    const server = openBatches({
      tenantOf: (id) => ({ id, isAdmin: false, weight: 2, limits: { requestsPerMinute: 1 } }),
      async answer(line) {
        tenants.push(line.tenant);
        most = Math.max(most, ++running);
        const response = await answerNumber(line);
        running--;
        return response;
      },
    });
    server.worker.start();
    await server.until(await server.create(linesOf(20)), 'completed');
    assert.equal(most, 3);
    assert.deepEqual(tenants[0], {
      id: TENANT,
      isAdmin: false,
      weight: 2,
      limits: {},
      isIdle: true,
    });
  });
});

describe('a batch on a server that fails', () => {
  test('tries lines again that the server could not answer, and gives up on an adapter', async () => {
    const tries = new Map<number, number>();
    const server = openBatches({
      async answer(line) {
        const { n } = JSON.parse(line.body);
        tries.set(n, (tries.get(n) ?? 0) + 1);
        if (n === 0 && tries.get(n)! < 4) return errorResponse(503, 'overloaded');
        if (n === 1 && tries.get(n)! < 3) return errorResponse(503, 'engine_restarting');
        if (n === 2) return errorResponse(503, 'quarantined');
        return answerNumber(line);
      },
    });
    server.worker.start();
    const done = await server.until(await server.create(linesOf(4)), 'completed');
    assert.deepEqual(
      [...tries],
      [
        [0, 4],
        [1, 3],
        [2, 1],
        [3, 1],
      ],
    );
    assert.deepEqual(idsOf(await server.read(done.errorFile)), ['line-2']);
  });

  test('continues on another server after a stop, without the lines that are answered', async () => {
    let stops = false;
    const answered: number[] = [];
    const slow = (line: LineRequest) =>
      JSON.parse(line.body).n > 5
        ? new Promise<never>((_, reject) => {
            stops = true;
            line.signal.addEventListener('abort', () => reject(line.signal.reason));
          })
        : answerNumber(line);
    const first = openBatches({ answer: slow });
    const batch = await first.create(linesOf(12));
    first.worker.start();
    await until('a line that hangs', () => stops);
    await first.worker.close(1000);
    const between = await first.get(batch);
    assert.equal(between.lease, undefined);
    assert.equal(between.completed + between.failed, 6);
    const second = openBatches({
      store: first.store,
      answer: (line) => {
        answered.push(JSON.parse(line.body).n);
        return answerNumber(line);
      },
    });
    second.worker.start();
    const done = await second.until(batch, 'completed');
    assert.deepEqual(
      answered.sort((a, b) => a - b),
      [6, 7, 8, 9, 10, 11],
    );
    assert.equal(done.completed + done.failed, 12);
  });
});

/** Answers the first lines and lets the others hang until they are aborted. */
const hangsFrom = (first: number) => (line: LineRequest) =>
  JSON.parse(line.body).n < first
    ? answerNumber(line)
    : new Promise<Awaited<ReturnType<typeof answerNumber>>>((resolve) => {
        line.signal.addEventListener('abort', () => resolve(errorResponse(499, 'gone')));
      });

describe('a batch that is not finished', () => {
  test('keeps its results when it is cancelled, and says which lines did not run', async () => {
    const server = openBatches({ answer: hangsFrom(3) });
    const batch = await server.create(linesOf(6));
    server.worker.start();
    await until('results', async () => (await server.get(batch)).completed === 3);
    assert.equal((await server.service.cancel(TENANT, batch.id)).status, 'cancelling');
    const done = await server.until(batch, 'cancelled');
    assert.deepEqual(idsOf(await server.read(done.outputFile)).sort(), [
      'line-0',
      'line-1',
      'line-2',
    ]);
    const rest = await server.read(done.errorFile);
    assert.deepEqual(idsOf(rest), ['line-3', 'line-4', 'line-5']);
    assert.deepEqual([rest[0]?.response, rest[0]?.error?.code], [null, 'batch_cancelled']);
  });

  test('expires after a day', async () => {
    let endDay = () => {};
    const schedule: Clock['schedule'] = (delayMs, callback) => {
      if (delayMs < HOUR_MS) return systemClock.schedule(delayMs, callback);
      assert.ok(delayMs > 23 * HOUR_MS && delayMs <= 24 * HOUR_MS);
      endDay = callback;
      return () => {};
    };
    const clock = { ...hastyClock(), schedule };
    const server = openBatches({ answer: hangsFrom(2), clock });
    const batch = await server.create(linesOf(4));
    server.worker.start();
    await until('results', async () => (await server.get(batch)).completed === 2);
    endDay();
    const done = await server.until(batch, 'expired');
    assert.equal(done.completed, 2);
    const rest = await server.read(done.errorFile);
    assert.deepEqual(idsOf(rest), ['line-2', 'line-3']);
    assert.equal(rest[0]?.error?.code, 'batch_expired');
  });

  test('fails if its file or its tenant is gone', async () => {
    const server = openBatches({ tenantOf: () => undefined });
    const inputFile = await server.upload(linesOf(2));
    const request = { endpoint: '/v1/chat/completions', inputFile } as const;
    const keyless = await server.service.create(TENANT, request);
    server.worker.start();
    const failed = await server.until(keyless, 'failed');
    assert.equal(failed.errors?.[0]?.code, 'invalid_api_key');
    await server.worker.close(0);
    const second = openBatches({ store: server.store });
    const fileless = await second.service.create(TENANT, request);
    await second.files.remove(TENANT, inputFile);
    second.worker.start();
    assert.equal((await second.until(fileless, 'failed')).errors?.[0]?.code, 'input_file_gone');
  });
});

describe('the input of a batch', () => {
  const faults: [string, string, string | null, unknown][] = [
    ['no JSON', 'invalid_json_line', null, '{"custom_id": '],
    ['no object', 'invalid_json_line', null, [1]],
    ['no custom_id', 'missing_required_parameter', 'custom_id', { method: 'POST' }],
    [
      'a custom_id that is a number',
      'invalid_custom_id',
      'custom_id',
      { ...lineOf(1), custom_id: 1 },
    ],
    ['a repeated custom_id', 'duplicate_custom_id', 'custom_id', lineOf(0)],
    ['another method', 'invalid_method', 'method', { ...lineOf(1), method: 'GET' }],
    ['another url', 'mismatched_url', 'url', { ...lineOf(1), url: '/v1/embeddings' }],
    ['a body that is text', 'invalid_body', 'body', { ...lineOf(1), body: 'x' }],
    ['a stream', 'invalid_body', 'body.stream', lineOf(1, { stream: true })],
    ['the background', 'invalid_body', 'body.background', lineOf(1, { background: true })],
  ];
  for (const [what, code, param, line] of faults) {
    test(`is refused with the line: ${what}`, async () => {
      const server = openBatches();
      const text = typeof line === 'string' ? line : JSON.stringify(line);
      const batch = await server.create(`${JSON.stringify(lineOf(0))}\n\n${text}\n`);
      server.worker.start();
      const failed = await server.until(batch, 'failed');
      const [error] = failed.errors!;
      assert.deepEqual([error?.code, error?.line, error?.param], [code, 3, param]);
      assert.equal(failed.outputFile, undefined);
    });
  }

  test('is refused if it is too long', async () => {
    const server = openBatches({ maxLines: 3 });
    server.worker.start();
    const failed = await server.until(await server.create(linesOf(4)), 'failed');
    assert.equal(failed.errors?.[0]?.code, 'too_many_requests');
  });

  test('reaches the route as the client wrote it', async () => {
    const bodies: string[] = [];
    const server = openBatches({
      answer: (line) => {
        bodies.push(line.body);
        return answerNumber({ body: '{"n": 0}' });
      },
    });
    const line =
      '{"body": {"n": 1.0, "n": 2}, "custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}';
    server.worker.start();
    await server.until(await server.create(line), 'completed');
    assert.equal(bodies[0]?.trim(), '{"n": 1.0, "n": 2}');
  });
});

describe('a client', () => {
  test('creates a batch only from a file for batches, and has a limited number', async () => {
    const server = openBatches({ maxActive: 1 });
    const request = { endpoint: '/v1/chat/completions' } as const;
    const create = (inputFile: string) => server.service.create(TENANT, { ...request, inputFile });
    const rows = await server.upload(linesOf(1), 'fine-tune');
    await assert.rejects(create(rows), { code: 'invalid_request', param: 'input_file_id' });
    await assert.rejects(create('file-unknown'), { code: 'not_found', param: 'input_file_id' });
    await create(await server.upload(linesOf(1)));
    await assert.rejects(create(await server.upload(linesOf(1))), { code: 'rate_limit_exceeded' });
  });

  test('sees its batches, newest first, and nobody else’s', async () => {
    const server = openBatches();
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) ids.unshift((await server.create(linesOf(1))).id);
    const page = await server.service.list(TENANT, { limit: 2 });
    assert.deepEqual([page.items.map(({ id }) => id), page.hasMore], [ids.slice(0, 2), true]);
    const rest = await server.service.list(TENANT, { limit: 2, after: ids[1] });
    assert.deepEqual(
      rest.items.map(({ id }) => id),
      ids.slice(2),
    );
    assert.deepEqual((await server.service.list('umbrella', { limit: 2 })).items, []);
    await assert.rejects(server.service.get('umbrella', ids[0]!), { code: 'not_found' });
    await assert.rejects(server.service.cancel('umbrella', ids[0]!), { code: 'not_found' });
  });
});

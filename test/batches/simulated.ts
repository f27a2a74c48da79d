// A server's batches over a store, with answers that a test scripts. Parts are written after nearly every line.
import { after } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { BatchRecord, NewBatch } from '../../src/batches/batch.ts';
import type { BatchesOptions, LineRequest } from '../../src/batches/context.ts';
import { type Batches, createBatches } from '../../src/batches/create-batches.ts';
import { createLog } from '../../src/common/log.ts';
import { systemClock } from '../../src/common/waiting.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { Files } from '../../src/jobs/files.ts';
import { createIds } from '../../src/jobs/names.ts';
import { temporaryFolder } from '../fixtures.ts';
import { until } from '../until.ts';

export const TENANT = 'local';
const log = createLog('silent');
/** Leases never expire: a test says which owners are gone. */
const TIMING = { leaseMs: 1e9, renewMs: 5, pollMs: 5 };

/** A clock on which a second passes with each look, so that every line is reason enough for a part. */
export function hastyClock() {
  let nowMs = 0;
  return { ...systemClock, now: () => (nowMs += 1000) };
}

export interface BatchServer extends Batches {
  readonly files: Files;
  readonly store: ObjectStore;
  upload(lines: readonly object[] | string, purpose?: 'batch' | 'fine-tune'): Promise<string>;
  /** Creates a batch of chats over these lines. */
  create(lines: readonly object[] | string, changes?: Partial<NewBatch>): Promise<BatchRecord>;
  get(batch: Pick<BatchRecord, 'id'>): Promise<BatchRecord>;
  until(batch: Pick<BatchRecord, 'id'>, status: BatchRecord['status']): Promise<BatchRecord>;
  /** The lines of a file. */
  read(file: string | undefined): Promise<ResultLine[]>;
}

export interface ResultLine {
  readonly id: string;
  readonly custom_id: string;
  readonly response: { status_code: number; request_id: string; body: unknown } | null;
  readonly error: { code: string; message: string } | null;
}

/** The line with this number. */
export function lineOf(n: number, body: object = { n }): object {
  return { custom_id: `line-${n}`, method: 'POST', url: '/v1/chat/completions', body };
}

export const linesOf = (count: number) => Array.from({ length: count }, (_, n) => lineOf(n));

/** Every fifth line is wrong. The answer repeats the line's number. */
export async function answerNumber({ body }: Pick<LineRequest, 'body'>) {
  const { n } = JSON.parse(body);
  await new Promise(setImmediate);
  if (n % 5 === 4) return errorResponse(400, 'invalid_request');
  const usage = {
    prompt_tokens: 2,
    completion_tokens: 1,
    prompt_tokens_details: { cached_tokens: 1 },
  };
  return { status: 200, requestId: `req_${n}`, body: JSON.stringify({ answer: n, usage }) };
}

export function errorResponse(status: number, code: string) {
  const error = { message: 'No.', type: 'any', param: null, code };
  return { status, requestId: 'req_error', body: JSON.stringify({ error }) };
}

let serverCount = 0;

export function openBatches(options: Partial<BatchesOptions> = {}): BatchServer {
  const { store = createMemoryStore(), now = Date.now, clock = hastyClock() } = options;
  const limits = { maxFiles: 100, maxFilesBytes: 2 ** 30, maxActive: 1, maxTraining: 0 };
  const createId = createIds(now);
  const files = new Files({ store: guardStore(store, log), createId, now, clock, limits });
  const batches = createBatches({
    store,
    files,
    base: 'b'.repeat(64),
    root: temporaryFolder(),
    maxActive: 20,
    maxLines: 1000,
    maxRunning: 2,
    maxInFlight: () => 3,
    answer: answerNumber,
    tenantOf: (id) => ({ ...LOCAL_TENANT, id }),
    log,
    owner: { name: `server-${++serverCount}`, isGone: () => false },
    clock,
    timing: TIMING,
    ...options,
  });
  after(() => batches.worker.close(0));
  const { service } = batches;
  const upload: BatchServer['upload'] = async (lines, purpose = 'batch') => {
    const text =
      typeof lines === 'string' ? lines : lines.map((line) => JSON.stringify(line)).join('\n');
    const source = Buffer.from(text);
    const facts = { byteSize: source.length, filename: 'lines.jsonl', purpose };
    return (await files.create(TENANT, { source, ...facts })).id;
  };
  const get: BatchServer['get'] = ({ id }) => service.get(TENANT, id);
  return {
    ...batches,
    files,
    store,
    upload,
    get,
    async create(lines, changes = {}) {
      const inputFile = await upload(lines);
      return service.create(TENANT, { endpoint: '/v1/chat/completions', inputFile, ...changes });
    },
    until: (batch, status) =>
      until(`${batch.id} to be ${status}`, async () => {
        const now = await get(batch);
        return now.status === status && now.lease === undefined ? now : undefined;
      }),
    async read(file) {
      if (file === undefined) return [];
      const { body } = await files.open(TENANT, file);
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk);
      const lines = Buffer.concat(chunks).toString().split('\n');
      return lines.flatMap((line) => (line === '' ? [] : JSON.parse(line)));
    },
  };
}

// /v1/batches: answers many requests from a file, in time that no other request wants. A tenant sees only its own.
import type { BatchRecord, NewBatch } from '../../batches/batch.ts';
import type { BatchService } from '../../batches/batch-service.ts';
import {
  type BatchObject,
  batchListSchema,
  batchObjectSchema,
} from '../../contracts/batch-object.ts';
import { toUnixSeconds } from '../../contracts/openai.ts';
import type { Deps } from '../deps.ts';
import { batchListQuery, type CreateBatchBody, createBatchSchema } from '../schema/batches.ts';
import { type App, addRoute, json, ownId } from '../wire/route.ts';
import { toListResponse } from './api-objects.ts';

const PATH = '/v1/batches';

/** Adds the routes. */
export function addBatchRoutes(
  app: App,
  { limits }: Pick<Deps, 'limits'>,
  batches: BatchService,
): void {
  addRoute(app, `POST ${PATH}`, {
    summary: 'Answer the requests in an uploaded file when the server is idle',
    body: { schema: createBatchSchema, limits },
    response: json(batchObjectSchema),
    handle: async (c, body) => toBatch(await batches.create(c.get('tenant').id, toNewBatch(body))),
  });
  addRoute(app, `GET ${PATH}`, {
    summary: 'List batches, the newest first',
    query: batchListQuery,
    response: json(batchListSchema),
    handle: async (c, query) =>
      toListResponse(await batches.list(c.get('tenant').id, query), toBatch),
  });
  addRoute(app, `GET ${PATH}/{id}`, {
    summary: 'Get one batch, with its progress',
    response: json(batchObjectSchema),
    handle: async (c) => toBatch(await batches.get(...ownId(c))),
  });
  addRoute(app, `POST ${PATH}/{id}/cancel`, {
    summary: 'Cancel a batch; the results so far stay',
    response: json(batchObjectSchema),
    handle: async (c) => toBatch(await batches.cancel(...ownId(c))),
  });
}

function toNewBatch(body: CreateBatchBody): NewBatch {
  const { endpoint, input_file_id: inputFile, metadata, output_expires_after: expiry } = body;
  return {
    endpoint,
    inputFile,
    ...(metadata != null && { metadata }),
    ...(expiry != null && { keepMs: expiry.seconds * 1000 }),
  };
}

function toBatch(batch: BatchRecord): BatchObject {
  const { id, endpoint, model, errors, status, outputFile, errorFile, usage } = batch;
  const { inputTokens, cachedTokens, outputTokens } = usage;
  const times = Object.entries(batch.atMs).map(([name, ms]) => [`${name}_at`, toUnixSeconds(ms)]);
  return {
    id,
    object: 'batch',
    endpoint,
    ...(model !== undefined && { model }),
    ...(errors && { errors: { object: 'list', data: errors } }),
    input_file_id: batch.inputFile,
    completion_window: '24h',
    status,
    ...(outputFile !== undefined && { output_file_id: outputFile }),
    ...(errorFile !== undefined && { error_file_id: errorFile }),
    created_at: toUnixSeconds(batch.createdMs),
    expires_at: toUnixSeconds(batch.expiresMs),
    ...Object.fromEntries(times),
    request_counts: { total: batch.total, completed: batch.completed, failed: batch.failed },
    usage: {
      input_tokens: inputTokens,
      input_tokens_details: { cached_tokens: cachedTokens },
      output_tokens: outputTokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: inputTokens + outputTokens,
    },
    metadata: batch.metadata ?? null,
  };
}

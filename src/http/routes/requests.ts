// GET /v1/requests: the generations of this tenant that are running or have ended lately. Operators see all tenants.
import { z } from '@hono/zod-openapi';
import {
  type Request,
  type RequestList,
  requestListSchema,
} from '../../contracts/management-api.ts';
import type { EngineClient } from '../../engine-client/client.ts';
import { durationsOf, type RequestRecord, stateOf } from '../../telemetry/request-log.ts';
import type { Deps } from '../deps.ts';
import { type App, addRoute, json } from '../wire/route.ts';

const querySchema = z.strictObject({
  id: z.string().optional().describe('The x-request-id of a single request'),
});

/** Adds the route. It must be added before the limits: a client may ask every second what its request waits for. */
export function addRequestsRoute(app: App, deps: Deps): void {
  const { telemetry, client, jobs, now } = deps;
  addRoute(app, 'GET /v1/requests', {
    summary: 'List running and recent requests',
    query: querySchema,
    response: json(requestListSchema),
    handle(c, { id }) {
      const tenant = c.get('tenant');
      const records = telemetry.requests.list(tenant.isAdmin ? undefined : tenant.id);
      const { nowMs } = telemetry;
      const clock = { nowMs, unixMs: now() };
      const body: RequestList = {
        object: 'list',
        data: records
          .filter((record) => id === undefined || record.id === id)
          .map((record) => toRequest(record, clock, client)),
        is_training: (jobs?.trainerCpuMs() ?? 0) > 0,
      };
      return c.json(body, 200, { 'cache-control': 'no-store' });
    },
  });
}

function toRequest(
  record: RequestRecord,
  { nowMs, unixMs }: { nowMs: number; unixMs: number },
  client: EngineClient,
): Request {
  const state = stateOf(record);
  const { waiting, prefill, decode } = durationsOf(record, nowMs);
  return {
    id: record.id,
    object: 'request',
    tenant: record.tenant,
    model: record.model,
    state,
    reason: state === 'queued' ? client.waitReason(record.tenant) : null,
    outcome: record.end?.outcome ?? null,
    prompt_tokens: record.promptTokens,
    output_tokens: record.tokens,
    arrived_at: (unixMs - (nowMs - record.startMs)) / 1000,
    waiting_ms: Math.round(waiting),
    prefill_ms: prefill === undefined ? null : Math.round(prefill),
    decode_ms: decode === undefined ? null : Math.round(decode),
  };
}

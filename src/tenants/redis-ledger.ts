// A ledger in a Redis-compatible server. A report is one round trip. If Redis does not answer, each server keeps to its share of
// the limits, and looks every second whether Redis is back.
import { randomUUID } from 'node:crypto';
import { createClient, defineScript } from '@redis/client';
import type { Logger } from '../common/log.ts';
import { every, orAfter } from '../common/waiting.ts';
import type { FleetUse, LimitLedger, LimitReport } from './limit-ledger.ts';
import { DECIDE_SCRIPT, JOIN_SCRIPT } from './redis-scripts.ts';
import type { WindowEntry } from './window-sum.ts';

/** How long a request waits for Redis. In the same zone an answer takes less than a millisecond. */
const TIMEOUT_MS = 250;
const PROBE_INTERVAL_MS = 1000;
/** Stands for no limit. Lua counts exactly up to 2^53. */
const NO_LIMIT = Number.MAX_SAFE_INTEGER;

const script = (SCRIPT: string) =>
  defineScript({
    SCRIPT,
    NUMBER_OF_KEYS: 1,
    parseCommand(parser, key: string, values: readonly (string | number)[]) {
      parser.pushKey(key);
      for (const value of values) parser.push(String(value));
    },
    transformReply: (reply: unknown) => reply,
  });

/** The limits in a script's answer, by their numbers. */
const REFUSALS = [undefined, 'requestsPerMinute', 'concurrentRequests', 'tokensPerMinute'] as const;

/** A ledger, and how to leave it. */
interface RedisLedger extends LimitLedger {
  close(): void;
}

/**
 * Opens a ledger. Does not wait for Redis: until it answers, it counts as down.
 * @param url `redis://` or `rediss://`, with a password and the number of a database if needed
 */
export function openRedisLedger(
  url: string,
  log: Pick<Logger, 'warn' | 'info'>,
  nowMs: () => number = () => performance.now(),
): RedisLedger {
  const server = randomUUID();
  const { host } = new URL(url);
  const client = createClient({
    url,
    RESP: 2,
    disableOfflineQueue: true,
    disableClientInfo: true,
    scripts: { decide: script(DECIDE_SCRIPT), join: script(JOIN_SCRIPT) },
    socket: { connectTimeout: 2000, reconnectStrategy: PROBE_INTERVAL_MS },
  });
  let state: 'up' | 'down' | 'unknown' = 'unknown';
  let servers = 1;
  let reason: unknown;
  let isClosed = false;
  const mark = (next: 'up' | 'down') => {
    if (state === next || isClosed) return;
    if (next === 'down')
      log.warn(
        { redis: host, err: reason, servers },
        'shared limits: Redis does not answer, so this server keeps to its share',
      );
    else if (state === 'down') log.info({ redis: host }, 'shared limits: Redis answers again');
    state = next;
  };
  /** Resolves with undefined if the call fails or takes too long. */
  const answer = async (call: () => Promise<unknown>): Promise<unknown> => {
    const work = call().catch((error: unknown) => {
      reason = error;
      return undefined;
    });
    const reply = await orAfter(work, TIMEOUT_MS, undefined);
    mark(reply === undefined ? 'down' : 'up');
    return reply;
  };
  const probe = async () => {
    const count = await answer(() => client.join('lorikeet:limit-servers', [server]));
    if (count !== undefined) servers = Number(count);
  };
  client.on('error', (error: unknown) => {
    reason = error;
  });
  client.connect().then(probe, () => {}); // it only rejects if it is closed first
  const stop = every(PROBE_INTERVAL_MS, () => void probe());
  return {
    get isUp() {
      return state === 'up';
    },
    get servers() {
      return servers;
    },
    async exchange(report) {
      if (state === 'down') return undefined;
      const reply = await answer(() =>
        client.decide(`lorikeet:limits:${report.tenant}`, [server, ...numbersOf(report)]),
      );
      return reply === undefined ? undefined : toFleetUse(reply, nowMs());
    },
    close() {
      isClosed = true;
      stop();
      client.destroy();
    },
  };
}

/** The arguments of the script after the server. */
function numbersOf({ limits, asks, ...report }: LimitReport): number[] {
  const { requestsPerMinute, tokensPerMinute, concurrentRequests } = limits;
  const most = [requestsPerMinute, tokensPerMinute, concurrentRequests];
  return [
    ...[report.requests, report.tokens, report.running, report.reserved],
    ...most.map((limit = NO_LIMIT) => limit),
    ...asks.flatMap(({ requests, tokens }) => [requests, tokens]),
  ];
}

type Reply = [
  refusals: number[],
  ms: number,
  reservedByOthers: number,
  requests: number[],
  tokens: number[],
];

function toFleetUse(reply: unknown, nowMs: number): FleetUse {
  const [refusals, ms, reservedByOthers, requests, tokens] = reply as Reply;
  return {
    refusals: refusals.map((refusal) => REFUSALS[refusal]),
    requests: toEntries(requests, nowMs - ms),
    tokens: toEntries(tokens, nowMs - ms),
    reservedByOthers,
  };
}

/**
 * Converts pairs of ages in seconds and amounts. An amount counts from the end of its second.
 * @param secondMs when Redis's current second began, by this server's clock
 */
function toEntries(pairs: readonly number[], secondMs: number): WindowEntry[] {
  return Array.from({ length: pairs.length / 2 }, (_, i) => {
    const lastMs = secondMs + 1000 * (1 - pairs[2 * i]!);
    return { firstMs: lastMs, lastMs, amount: pairs[2 * i + 1]! };
  });
}

import type { TestContext } from 'node:test';
import { programUrl } from '../../src/common/fork-program.ts';
import { createLog } from '../../src/common/log.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { createProcessClient, type EngineClient } from '../../src/engine-client/client.ts';
import type { SupervisorOptions } from '../../src/engine-client/supervisor.ts';
import type { EngineEvent } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { request, source } from '../scheduler/fake-engine.ts';

export const entry = programUrl('./fake-engine-program', import.meta.url);

/** First prompt tokens that make the fixture fail. */
export const [CRASH, HANG, WEDGE, GAP, THROW, LATE_CRASH, LATE_HANG] = [
  41, 42, 43, 44, 45, 46, 47,
] as const;

/** A delay before a restart that no test waits for. */
export const NEVER_MS = 60_000;

export const long = request([1, 2], { maxTokens: 60 });

export interface Bench {
  client: EngineClient;
  log: string[];
  fatal: Promise<Error>;
}

/** A client of a forked engine, drained when the test ends. */
export function start(t: TestContext, options: Partial<SupervisorOptions> = {}): Bench {
  const log: string[] = [];
  let client: EngineClient | undefined;
  const fatal = new Promise<Error>((resolve) => {
    client = createProcessClient({
      entry,
      hostOptions: {},
      log: createLog('info', { write: (line) => log.push(line) }),
      onFatal: resolve,
      restartDelaysMs: [0, 0],
      ...options,
    });
  });
  t.after(() => client!.drain(0));
  return { client: client!, log, fatal };
}

export interface Stream {
  events: EngineEvent[];
  accepted: Promise<void>;
  /** Resolves with the first token. */
  started: Promise<void>;
  ended: Promise<EngineEvent>;
}

export function generate(client: EngineClient, of = long, adapter = source('a')): Stream {
  const events: EngineEvent[] = [];
  const waiters = new Map<EngineEvent['type'], () => void>();
  const seen = (type: EngineEvent['type']) =>
    new Promise<void>((resolve) => {
      waiters.set(type, resolve);
    });
  const accepted = seen('accepted');
  const started = seen('token');
  const ended = new Promise<EngineEvent>((resolve) => {
    client.submit(LOCAL_TENANT, adapter, of, (event) => {
      events.push(event);
      waiters.get(event.type)?.();
      if (isTerminal(event)) resolve(event);
    });
  });
  return { events, accepted, started, ended };
}

export function tokensOf({ events }: Stream): number[] {
  return events.flatMap((event) => (event.type === 'token' ? [event.tokenId] : []));
}

export function errorCode(end: EngineEvent): string | undefined {
  return end.type === 'failed' ? end.error.code : undefined;
}

export function pidOf(client: EngineClient): number {
  return Number(client.model!.provider.replace('pid ', ''));
}

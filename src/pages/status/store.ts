// The state of the status page, read from the server every two seconds. If it stops answering, the last figures stay.
import { effect, signal } from '@preact/signals';
import type { BatchObject } from '../../contracts/batch-object.ts';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import type { MetricsHistory, MetricsStatus, RequestList } from '../../contracts/management-api.ts';
import { ApiError, errorText, NO_ANSWER, poll, readOptional, requestJson } from '../api.ts';
import { keyHeaders } from '../key.ts';
import { query } from '../store/query.ts';
import { type Health, type Reading, type ServerStatus, statusOfHealth } from './figures.ts';

const POLL_MS = 2_000;
/** A server that takes longer is away. */
const timeoutMs = 10_000;
const LISTS_POLL_MS = 10_000;
const JOBS_WAIT_MS = 1_000;
/** A new half hour appears this late at most. */
const HISTORY_MS = 600_000;
/** An hour of readings. */
const MAX_READINGS = 1_800;

/** How the page is connected to the server. */
type Connection =
  | { readonly kind: 'connecting' | 'connected' }
  | {
      readonly kind: 'away';
      readonly sinceMs: number;
      readonly problem: string;
      /** Whether there are answers, but only errors. */
      readonly isAnswering: boolean;
    }
  | { readonly kind: 'signed out'; readonly problem: string };

/** Everything that the page shows. */
export type StatusStore = ReturnType<typeof createStatusStore>;

/** Starts to read. It ends if the user declines to sign in; signing in later loads the page again. */
export function createStatusStore() {
  const connection = signal<Connection>({ kind: 'connecting' });
  /** Oldest first. */
  const readings = signal<readonly Reading[]>([]);
  /** The server's own readings, and what it runs on; undefined without an admin key. */
  const history = signal<MetricsHistory>();
  /** Undefined without a key that the server needs. */
  const requests = signal<RequestList>();
  /** Whether the user's key is not an admin key. */
  const isPublicOnly = signal(false);
  const jobs = newest<FineTuningJob>('v1/fine_tuning/jobs');
  const batches = newest<BatchObject>('v1/batches');
  const jobsRead = new Promise<void>((resolve) => {
    effect(() => {
      if (jobs.isRead.value) resolve();
    });
  });
  let historyMs = 0;

  /** Read now and then, and when the server responds again, since it may be a new process. */
  async function refreshHistory() {
    historyMs = Date.now();
    const path = 'metrics/history';
    history.value = isPublicOnly.value
      ? undefined
      : await readOptional<MetricsHistory>(path, { timeoutMs });
  }

  /** Asks for a key if the server needs one. */
  async function readStatus(): Promise<ServerStatus> {
    if (isPublicOnly.value) {
      const health = await readHealth();
      if ('processor' in health) return statusOfHealth(health); // else the key was revoked
    }
    try {
      const status = await requestJson<MetricsStatus>('metrics/status', { timeoutMs });
      isPublicOnly.value = false;
      return status;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 403) throw error;
      isPublicOnly.value = true;
      return statusOfHealth(await readHealth());
    }
  }

  poll(POLL_MS, async () => {
    try {
      const status = await readStatus();
      const isOld = Date.now() - historyMs > HISTORY_MS;
      if (connection.value.kind === 'away' || isOld) await refreshHistory();
      // Everything appears together, unless the jobs take long.
      const isFirst = readings.value.length === 0;
      if (isFirst) await Promise.race([jobsRead, afterMs(JOBS_WAIT_MS)]);
      requests.value = await readOptional<RequestList>('v1/requests', { timeoutMs });
      const { prompt_tokens = null, generated_tokens = null } = status.engine ?? {};
      const reading = { at: Date.now() / 1000, prompt_tokens, generated_tokens, status };
      readings.value = [...readings.value, reading].slice(-MAX_READINGS);
      connection.value = { kind: 'connected' };
      return undefined;
    } catch (error) {
      const problem = errorText(error);
      if (error instanceof ApiError && error.status === 401) {
        connection.value = { kind: 'signed out', problem };
        return 'done';
      }
      const { value: last } = connection;
      const sinceMs = last.kind === 'away' ? last.sinceMs : Date.now();
      const isAnswering = error instanceof ApiError && error.status > 0;
      connection.value = { kind: 'away', sinceMs, problem, isAnswering };
      return undefined;
    }
  });
  return { connection, readings, history, requests, isPublicOnly, jobs, batches };
}

/** Reads the newest items of a list now and then. */
function newest<Item>(path: string) {
  const list = query(() =>
    requestJson<{ readonly data: readonly Item[] }>(`${path}?limit=10`, { isQuiet: true }),
  );
  list.follow(LISTS_POLL_MS);
  return list;
}

/** The health is an answer with status 503 as well. */
async function readHealth(): Promise<Health> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch('health', { headers: keyHeaders(), cache: 'no-store', signal });
    return await response.json();
  } catch {
    throw new ApiError(NO_ANSWER);
  }
}

function afterMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

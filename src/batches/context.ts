// Everything that the parts of a server's batches share.
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { BatchEndpoint } from '../contracts/batch-status.ts';
import type { Tenant } from '../contracts/tenant.ts';
import type { JobsOptions } from '../jobs/context.ts';
import type { Files } from '../jobs/files.ts';
import type { LeaseTiming } from '../jobs/lease-worker.ts';
import type { CreateId } from '../jobs/names.ts';
import type { BatchStore } from './batch-store.ts';

/** One line for the route that answers it. */
export interface LineRequest {
  readonly tenant: Tenant;
  readonly url: BatchEndpoint;
  readonly body: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** The answer of a route to one line. */
export interface LineResponse {
  readonly status: number;
  readonly requestId: string;
  /** One JSON value without line breaks. */
  readonly body: string;
}

/** Answers a line as the route answers a single request. Does not reject: an error is a response. */
export type RunLine = (line: LineRequest) => Promise<LineResponse>;

/** Settings of `createBatches`. */
export interface BatchesOptions extends Pick<JobsOptions, 'owner' | 'log' | 'now' | 'clock'> {
  readonly store: ObjectStore;
  readonly files: Files;
  /** The digest of the served base. */
  readonly base: string;
  /** The parent of the batches' temporary folders. */
  readonly root: string;
  /** The most unfinished batches of one tenant. */
  readonly maxActive: number;
  /** The most lines of one batch. */
  readonly maxLines: number;
  /** The most batches that this server works on. With 0, it leaves them to other servers. */
  readonly maxRunning: number;
  /** Returns the most lines of one batch that are answered at the same time. */
  readonly maxInFlight: () => number;
  /** Called only while the worker works. */
  readonly answer: RunLine;
  /** Returns a tenant. Undefined if it has no key any more. */
  readonly tenantOf: (id: string) => Tenant | undefined;
  readonly timing?: Partial<LeaseTiming>;
}

/** Everything that the parts of a server's batches share. */
export interface BatchesContext
  extends Omit<BatchesOptions, 'store' | 'timing' | 'now' | 'clock'>,
    Required<Pick<BatchesOptions, 'now' | 'clock'>> {
  readonly batches: BatchStore;
  readonly createId: CreateId;
  readonly timing: LeaseTiming;
}

// The interface of a ledger, which adds up how servers use the limits of tenants, and decides. A limit then holds for all servers
// together.
import type { TenantLimits } from '../contracts/tenant.ts';
import type { WindowEntry } from './window-sum.ts';

/** A request or none, and tokens to reserve. */
export interface LimitAsk {
  readonly requests: number;
  readonly tokens: number;
}

/** A server's report about a tenant. */
export interface LimitReport {
  readonly tenant: string;
  readonly limits: TenantLimits;
  /** Requests and used tokens that it has not reported yet. */
  readonly requests: number;
  readonly tokens: number;
  /** Its running requests and reserved tokens, without the ones that it asks for. */
  readonly running: number;
  readonly reserved: number;
  /** Its questions. The ledger decides in this order, and counts what it grants as running and reserved. */
  readonly asks: readonly LimitAsk[];
}

/** The use of a tenant's limits by all servers, after a report. */
export interface FleetUse {
  /** For each question the limit that refuses it. A request that `tokensPerMinute` refuses is counted. */
  readonly refusals: readonly (keyof TenantLimits | undefined)[];
  /** The requests and used tokens of the last minute. */
  readonly requests: WindowEntry[];
  readonly tokens: WindowEntry[];
  /** Tokens that the other servers' requests have reserved. */
  readonly reservedByOthers: number;
}

/** Adds up what servers report. */
export interface LimitLedger {
  /** Whether it answers. Otherwise each server has an equal share of each limit. */
  readonly isUp: boolean;
  /** The number of servers that use it; while it does not answer, the last known one. */
  readonly servers: number;
  /** Resolves with undefined if the ledger does not answer. Never rejects. */
  exchange(report: LimitReport): Promise<FleetUse | undefined>;
}

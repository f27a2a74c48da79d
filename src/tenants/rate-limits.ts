// Limits on a tenant's requests and tokens per minute, and on its concurrent requests. Usage is counted in windows of a
// minute, and a tenant's first request starts a window. This file knows the names of HTTP headers and nothing else of HTTP.
import { ServeError } from '../common/errors.ts';
import type { Tenant } from '../contracts/tenant.ts';

const WINDOW_MS = 60_000;

interface Account {
  windowEndMs: number;
  requests: number;
  /** Used by ended requests, or reserved by running ones. */
  tokens: number;
  /** Requests in progress. */
  running: number;
}

/** One request's share of its tenant's limits. */
export interface Reservation {
  /**
   * Counts the tokens as used until the end. Throws `ServeError` if the minute has fewer left.
   * @param limitField the field of the request that lowers the number; default: max_tokens
   */
  reserve(tokens: number, limitField?: string): void;
  /** Ends the request and gives back the tokens that it reserved and did not use. Later calls have no effect. */
  end(usedTokens?: number): void;
  /** Returns OpenAI's headers for the limits that the tenant has. */
  headers(): Record<string, string>;
}

/** The usage of all tenants. */
export class RateLimits {
  /** One per tenant ever seen, so at most as many as the keys file names. */
  readonly #accounts = new Map<string, Account>();
  readonly #nowMs: () => number;

  /** @param nowMs returns monotonic milliseconds */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Counts a request. Throws `ServeError` (429) if the tenant may not start one now. */
  begin(tenant: Tenant): Reservation {
    const { requestsPerMinute = Infinity, concurrentRequests = Infinity } = tenant.limits;
    const account = this.#current(tenant);
    if (account.requests >= requestsPerMinute) {
      throw this.#exceeded(account, `${requestsPerMinute} requests per minute`);
    }
    if (account.running >= concurrentRequests) {
      throw limitExceeded(`${concurrentRequests} concurrent requests`, 1);
    }
    account.requests++;
    account.running++;
    return this.#createReservation(tenant, account);
  }

  /** Returns OpenAI's headers for the limits that the tenant has. */
  headers({ id, limits }: Tenant): Record<string, string> {
    const account = this.#accounts.get(id);
    const leftMs = Math.max(0, (account?.windowEndMs ?? 0) - this.#nowMs());
    const used = leftMs > 0 ? account : undefined;
    const reset = duration(leftMs);
    const rows = [
      ['requests', limits.requestsPerMinute, used?.requests],
      ['tokens', limits.tokensPerMinute, used?.tokens],
    ] as const;
    const headers: Record<string, string> = {};
    for (const [what, limit, usedOfIt = 0] of rows) {
      if (limit === undefined) continue;
      headers[`x-ratelimit-limit-${what}`] = String(limit);
      // The limit may have been lowered since.
      headers[`x-ratelimit-remaining-${what}`] = String(Math.max(0, limit - usedOfIt));
      headers[`x-ratelimit-reset-${what}`] = reset;
    }
    return headers;
  }

  #createReservation(tenant: Tenant, account: Account): Reservation {
    let reserved = 0;
    let windowEndMs = 0;
    let hasEnded = false;
    return {
      reserve: (tokens, limitField = 'max_tokens') => {
        this.#reserve(tenant, tokens, limitField);
        reserved = tokens;
        windowEndMs = account.windowEndMs;
      },
      end: (usedTokens = 0) => {
        if (hasEnded) return;
        hasEnded = true;
        account.running--;
        // Tokens of a window that is over are not given back to a later one.
        if (account.windowEndMs === windowEndMs) account.tokens -= reserved - usedTokens;
      },
      headers: () => this.headers(tenant),
    };
  }

  #reserve(tenant: Tenant, tokens: number, limitField: string): void {
    const { tokensPerMinute = Infinity } = tenant.limits;
    if (tokens > tokensPerMinute) {
      const message = `The request and its answer may take ${tokens} tokens; the limit is ${tokensPerMinute} per minute. Lower ${limitField}.`;
      throw new ServeError('invalid_request', message, { param: limitField });
    }
    const account = this.#current(tenant);
    if (account.tokens + tokens > tokensPerMinute) {
      throw this.#exceeded(account, `${tokensPerMinute} tokens per minute`);
    }
    account.tokens += tokens;
  }

  /** Returns the tenant's account, in a window that has not ended. */
  #current({ id }: Tenant): Account {
    const nowMs = this.#nowMs();
    let account = this.#accounts.get(id);
    if (!account) {
      account = { windowEndMs: 0, requests: 0, tokens: 0, running: 0 };
      this.#accounts.set(id, account);
    }
    if (nowMs < account.windowEndMs) return account;
    return Object.assign(account, { windowEndMs: nowMs + WINDOW_MS, requests: 0, tokens: 0 });
  }

  #exceeded({ windowEndMs }: Account, limit: string): ServeError {
    return limitExceeded(limit, Math.ceil((windowEndMs - this.#nowMs()) / 1000));
  }
}

function limitExceeded(limit: string, retryAfterS: number): ServeError {
  const message = `Over the limit of ${limit}. Try again in ${retryAfterS} s.`;
  return new ServeError('rate_limit_exceeded', message, { retryAfterS });
}

/** Formats a duration as OpenAI does: 250ms, 8.64s, 1m0s. */
function duration(ms: number): string {
  const rounded = Math.ceil(ms);
  if (rounded >= 60_000) return '1m0s';
  return rounded < 1000 ? `${rounded}ms` : `${rounded / 1000}s`;
}

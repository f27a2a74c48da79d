// What a tenant has used of its limits: requests and tokens of the minute, and requests at once. Counts in windows of a
// minute that start with a tenant's first request, so that no window exceeds a limit and the end of a window is when
// everything is there again. The clock is an argument and only goes forward. Knows no HTTP but its headers' names.
import { ServeError } from '../common/errors.ts';
import type { Tenant } from '../contracts/tenant.ts';

const WINDOW_MS = 60_000;

interface Account {
  windowEndMs: number;
  requests: number;
  /** Of ended requests, and reserved by running ones. */
  tokens: number;
  /** Requests that have not ended. */
  running: number;
}

/** One request's hold on its tenant's limits. */
export interface Ticket {
  /** Throws `ServeError` where the minute has not so many tokens left. Until the end they count as used. */
  reserve(tokens: number): void;
  /** Returns what was reserved beyond `usedTokens`, and the place among the running. Later calls have no effect. */
  end(usedTokens?: number): void;
  /** OpenAI's, for the limits that there are. */
  headers(): Record<string, string>;
}

export class RateLimits {
  /** One entry for each tenant ever seen: as many as the keys file names. */
  readonly #accounts = new Map<string, Account>();
  readonly #nowMs: () => number;

  /** `nowMs`: monotonic milliseconds. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Counts a request; throws `ServeError` (429) where the tenant may start none now. */
  begin(tenant: Tenant): Ticket {
    const { requestsPerMinute = Infinity, concurrentRequests = Infinity } = tenant.limits;
    const account = this.#current(tenant);
    if (account.requests >= requestsPerMinute) {
      throw this.#exceeded(account, `${requestsPerMinute} requests a minute`);
    }
    if (account.running >= concurrentRequests) {
      throw refusal(`${concurrentRequests} requests at once`, 1);
    }
    account.requests++;
    account.running++;
    return this.#createTicket(tenant, account);
  }

  /** As the answers of this tenant show them. */
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
      // A limit may have been lowered meanwhile.
      headers[`x-ratelimit-remaining-${what}`] = String(Math.max(0, limit - usedOfIt));
      headers[`x-ratelimit-reset-${what}`] = reset;
    }
    return headers;
  }

  #createTicket(tenant: Tenant, account: Account): Ticket {
    let reserved = 0;
    let windowEndMs = 0;
    let hasEnded = false;
    return {
      reserve: (tokens) => {
        this.#reserve(tenant, tokens);
        reserved = tokens;
        windowEndMs = account.windowEndMs;
      },
      end: (usedTokens = 0) => {
        if (hasEnded) return;
        hasEnded = true;
        account.running--;
        // What was taken from a minute that is over is not given to another.
        if (account.windowEndMs === windowEndMs) account.tokens -= reserved - usedTokens;
      },
      headers: () => this.headers(tenant),
    };
  }

  #reserve(tenant: Tenant, tokens: number): void {
    const { tokensPerMinute = Infinity } = tenant.limits;
    if (tokens > tokensPerMinute) {
      const message = `The request may use ${tokens} tokens with its answer, of ${tokensPerMinute} a minute: lower max_tokens`;
      throw new ServeError('invalid_request', message, { param: 'max_tokens' });
    }
    const account = this.#current(tenant);
    if (account.tokens + tokens > tokensPerMinute) {
      throw this.#exceeded(account, `${tokensPerMinute} tokens a minute`);
    }
    account.tokens += tokens;
  }

  /** The tenant's account, in a window that has not ended. */
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
    return refusal(limit, Math.ceil((windowEndMs - this.#nowMs()) / 1000));
  }
}

function refusal(limit: string, retryAfterS: number): ServeError {
  const message = `Over the limit of ${limit}: try again in ${retryAfterS} s`;
  return new ServeError('rate_limit_exceeded', message, { retryAfterS });
}

/** As OpenAI writes it: 250ms, 8.64s, 1m0s. */
function duration(ms: number): string {
  const rounded = Math.ceil(ms);
  if (rounded >= 60_000) return '1m0s';
  return rounded < 1000 ? `${rounded}ms` : `${rounded / 1000}s`;
}

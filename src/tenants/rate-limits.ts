// Limits on a tenant's requests and tokens per minute, and on its concurrent requests. No 60-second window contains more
// requests or used tokens than the limit. The only HTTP here are the names of the headers.
import { ServeError } from '../common/errors.ts';
import type { Tenant } from '../contracts/tenant.ts';

interface Account {
  readonly requests: WindowSum;
  /** Used tokens. */
  readonly tokens: WindowSum;
  /** Tokens that running requests have reserved but not used yet. */
  reserved: number;
  /** Requests in progress. */
  running: number;
}

/** One request's share of its tenant's limits. */
export interface Reservation {
  /**
   * Reserves the tokens for the request until it uses them or ends. Throws `ServeError` if the last minute left fewer.
   * @param limitField the request's field that lowers the number; default: max_tokens
   */
  reserve(tokens: number, limitField?: string): void;
  /** Counts tokens as used now. `usedTokens` is the request's total so far. Has no effect after the end. */
  use(usedTokens: number): void;
  /** Ends the request and returns its reserved but unused tokens. Later calls have no effect. */
  end(usedTokens?: number): void;
  /** Returns OpenAI's headers for the limits that the tenant has. */
  headers(): Record<string, string>;
}

/** The usage of all tenants. */
export class RateLimits {
  /** One per tenant ever seen, so at most as many as the keys file and a trusted gateway name. */
  readonly #accounts = new Map<string, Account>();
  readonly #nowMs: () => number;

  /** @param nowMs returns monotonic milliseconds */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Counts a request. Throws `ServeError` (429) if the tenant may not start one now. */
  begin(tenant: Tenant): Reservation {
    const { requestsPerMinute = Infinity, concurrentRequests = Infinity } = tenant.limits;
    const account = this.#accountOf(tenant);
    const nowMs = this.#nowMs();
    const excess = account.requests.total(nowMs) + 1 - requestsPerMinute;
    if (excess > 0) {
      const waitMs = account.requests.msUntilLess(excess, nowMs);
      throw limitExceeded(`${requestsPerMinute} requests per minute`, waitMs);
    }
    if (account.running >= concurrentRequests) {
      throw limitExceeded(`${concurrentRequests} concurrent requests`, 1000);
    }
    account.requests.add(1, nowMs);
    account.running++;
    return this.#createReservation(tenant, account);
  }

  /** Returns OpenAI's headers for the limits that the tenant has. */
  headers(tenant: Tenant): Record<string, string> {
    const { requestsPerMinute, tokensPerMinute } = tenant.limits;
    const { requests, tokens, reserved } = this.#accountOf(tenant);
    const nowMs = this.#nowMs();
    const rows = [
      ['requests', requestsPerMinute, requests, 0],
      ['tokens', tokensPerMinute, tokens, reserved],
    ] as const;
    const headers: Record<string, string> = {};
    for (const [what, limit, sum, reservedOfIt] of rows) {
      if (limit === undefined) continue;
      const usage = sum.total(nowMs);
      headers[`x-ratelimit-limit-${what}`] = String(limit);
      // The limit may have been lowered meanwhile.
      headers[`x-ratelimit-remaining-${what}`] = String(Math.max(0, limit - usage - reservedOfIt));
      headers[`x-ratelimit-reset-${what}`] = duration(sum.msUntilLess(usage + reservedOfIt, nowMs));
    }
    return headers;
  }

  #createReservation(tenant: Tenant, account: Account): Reservation {
    let usage = 0;
    let remainder = 0;
    let hasEnded = false;
    const release = (tokens: number) => {
      remainder -= tokens;
      account.reserved -= tokens;
    };
    const use = (usedTokens: number) => {
      if (hasEnded || usedTokens <= usage) return;
      account.tokens.add(usedTokens - usage, this.#nowMs());
      release(Math.min(remainder, usedTokens - usage));
      usage = usedTokens;
    };
    return {
      reserve: (tokens, limitField = 'max_tokens') => {
        this.#reserve(tenant, tokens, limitField);
        remainder += tokens;
      },
      use,
      end: (usedTokens = 0) => {
        if (hasEnded) return;
        use(usedTokens);
        release(remainder);
        account.running--;
        hasEnded = true;
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
    const account = this.#accountOf(tenant);
    const nowMs = this.#nowMs();
    const excess = account.tokens.total(nowMs) + account.reserved + tokens - tokensPerMinute;
    if (excess > 0) {
      const waitMs = account.tokens.msUntilLess(excess, nowMs);
      throw limitExceeded(`${tokensPerMinute} tokens per minute`, waitMs);
    }
    account.reserved += tokens;
  }

  #accountOf({ id }: Tenant): Account {
    let account = this.#accounts.get(id);
    if (!account) {
      account = { requests: new WindowSum(), tokens: new WindowSum(), reserved: 0, running: 0 };
      this.#accounts.set(id, account);
    }
    return account;
  }
}

function limitExceeded(limit: string, waitMs: number): ServeError {
  const retryAfterS = Math.ceil(waitMs / 1000);
  const message = `Over the limit of ${limit}. Try again in ${retryAfterS} s.`;
  return new ServeError('rate_limit_exceeded', message, { retryAfterS });
}

/** Formats a duration as OpenAI does: 250ms, 8.64s, 1m0s. */
function duration(ms: number): string {
  const rounded = Math.ceil(ms);
  if (rounded >= WINDOW_MS) return '1m0s';
  return rounded < 1000 ? `${rounded}ms` : `${rounded / 1000}s`;
}

/** The length of the window in milliseconds. */
const WINDOW_MS = 60_000;
/**
 * Amounts added within this time leave the window together, when the last of them does. A window then has at most 61 entries.
 */
const MERGED_MS = 1000;

interface Entry {
  readonly firstMs: number;
  lastMs: number;
  amount: number;
}

/**
 * The sum of the amounts that were added within the last minute, or up to a second longer. Never less than the last minute's.
 */
class WindowSum {
  /** In the order of their times. */
  readonly #entries: Entry[] = [];
  #total = 0;

  /** @param nowMs monotonic milliseconds, as in the other methods */
  add(amount: number, nowMs: number): void {
    const last = this.#entries.at(-1);
    this.#total += amount;
    if (last && nowMs - last.firstMs < MERGED_MS) {
      last.lastMs = nowMs;
      last.amount += amount;
    } else {
      this.#entries.push({ firstMs: nowMs, lastMs: nowMs, amount });
    }
  }

  /** Returns the sum now. */
  total(nowMs: number): number {
    while (this.#entries[0] && nowMs - this.#entries[0].lastMs >= WINDOW_MS) {
      this.#total -= this.#entries.shift()!.amount;
    }
    return this.#total;
  }

  /**
   * Returns the time until `amount` of the sum has left the window if nothing is added. If the sum is smaller, returns the time
   * until an amount added now has left it.
   */
  msUntilLess(amount: number, nowMs: number): number {
    let rest = amount;
    if (rest <= 0) return 0;
    for (const entry of this.#entries) {
      rest -= entry.amount;
      if (rest <= 0) return Math.max(0, entry.lastMs + WINDOW_MS - nowMs);
    }
    return WINDOW_MS;
  }
}

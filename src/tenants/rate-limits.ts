// Limits on a tenant's requests and tokens per minute, and on its concurrent requests. No 60-second window contains more
// requests or used tokens than the limit. With a ledger, that holds for all servers together. The only HTTP here are the names
// of the headers.
import { ServeError } from '../common/errors.ts';
import type { Tenant, TenantLimits } from '../contracts/tenant.ts';
import type { LimitAsk, LimitLedger } from './limit-ledger.ts';
import { WINDOW_MS, WindowSum } from './window-sum.ts';

/** A request that waits for the decision about it and its tokens. */
interface Question {
  readonly ask: LimitAsk;
  /** Takes the request back. */
  refuse(): void;
  answer(refusal: ServeError | undefined): void;
}

/** Questions in one exchange: under load, one round trip answers many. */
const MAX_QUESTIONS = 500;

interface Account {
  /** As of the last request, because limits change. */
  tenant: Tenant;
  readonly requests: WindowSum;
  /** Used tokens. */
  readonly tokens: WindowSum;
  /** Tokens that running requests have reserved but not used yet. */
  reserved: number;
  /** Tokens that the other servers' requests have reserved. */
  reservedByOthers: number;
  /** Requests in progress. */
  running: number;
  /** The ones among them that the ledger has not decided about, so `requests` lacks them, and their reserved tokens. */
  readonly undecided: { requests: number; tokens: number };
  /** Questions for the next exchange with the ledger. */
  readonly questions: Question[];
  /** Whether there is something to exchange after the exchange in progress. */
  isDue: boolean;
  isExchanging: boolean;
  /** The parts of `requests` and `tokens` that the ledger was told. */
  readonly reported: { requests: number; tokens: number };
}

/** One request's share of its tenant's limits. */
export interface Reservation {
  /**
   * Reserves the tokens for the request until it uses them or ends. Throws `ServeError` if the last minute left fewer, as far as
   * this server knows.
   * @param limitField the request's field that lowers the number; default: max_tokens
   */
  reserve(tokens: number, limitField?: string): void;
  /**
   * Has the ledger decide about the request and its tokens, once. Rejects with `ServeError` (429) if other servers have used up
   * a limit. Without a ledger, resolves immediately.
   */
  admit(): Promise<void>;
  /** Counts tokens as used now. `usedTokens` is the request's total so far. Has no effect after the end. */
  use(usedTokens: number): void;
  /** Ends the request and returns its reserved but unused tokens. Later calls have no effect. */
  end(usedTokens?: number): void;
  /** Returns OpenAI's headers for the limits that the tenant has. */
  headers(): Record<string, string>;
}

/** The reservation of a request that no limit is for. */
const UNCOUNTED: Reservation = {
  reserve() {},
  async admit() {},
  use() {},
  end() {},
  headers: () => ({}),
};

/** Limits in words, for messages. */
const WORDS = {
  requestsPerMinute: 'requests per minute',
  concurrentRequests: 'concurrent requests',
  tokensPerMinute: 'tokens per minute',
} as const satisfies Record<keyof TenantLimits, string>;

type LimitName = keyof TenantLimits;
/** A request's needs by limit, beyond what is counted. */
type Demand = Readonly<Partial<Record<LimitName, number>>>;

/** The usage of all tenants. */
export class RateLimits {
  /** One per tenant ever seen, so at most as many as the keys file and a trusted gateway name. */
  readonly #accounts = new Map<string, Account>();
  readonly #nowMs: () => number;
  readonly #ledger: LimitLedger | undefined;

  /**
   * @param nowMs returns monotonic milliseconds
   * @param ledger absent: the limits hold for this server alone
   */
  constructor(nowMs: () => number, ledger?: LimitLedger) {
    this.#nowMs = nowMs;
    this.#ledger = ledger;
  }

  /**
   * Begins a request. Throws `ServeError` (429) if the tenant may not start one now, as far as this server knows. Requests in
   * idle time are not counted: their tenant's limits are for the others.
   */
  begin(tenant: Tenant): Reservation {
    if (tenant.isIdle) return UNCOUNTED;
    const account = this.#accountOf(tenant);
    this.#require(account, { requestsPerMinute: 1, concurrentRequests: 1 });
    account.running++;
    if (this.#isShared(account)) account.undecided.requests++;
    else account.requests.add(1, this.#nowMs());
    return this.#createReservation(account);
  }

  /** Returns OpenAI's headers for the limits that the tenant has. */
  headers(tenant: Tenant): Record<string, string> {
    if (tenant.isIdle) return UNCOUNTED.headers();
    const account = this.#accountOf(tenant);
    const headers: Record<string, string> = {};
    for (const what of ['requests', 'tokens'] as const) {
      const limit = tenant.limits[`${what}PerMinute`];
      if (limit === undefined) continue;
      const usage = this.#fleetUsage(account, `${what}PerMinute`);
      headers[`x-ratelimit-limit-${what}`] = String(limit);
      // The limit may have been lowered meanwhile.
      const remaining = Math.max(0, Math.floor((limit - usage) / this.#sharers));
      headers[`x-ratelimit-remaining-${what}`] = String(remaining);
      headers[`x-ratelimit-reset-${what}`] = duration(this.#msUntilLess(account[what], usage));
    }
    return headers;
  }

  /** Returns what a tenant has used in the last minute and uses now, of all servers as far as this one knows. */
  use(tenant: Tenant) {
    const account = this.#accountOf(tenant);
    return {
      requests: this.#fleetUsage(account, 'requestsPerMinute'),
      tokens: this.#fleetUsage(account, 'tokensPerMinute'),
      running: account.running,
    };
  }

  /** Reports what the ledger does not know yet, and that this server is alive. Call it every second. */
  report(): void {
    for (const account of this.#accounts.values()) {
      const { requests, tokens, reported, running } = account;
      const hasNews = requests.added > reported.requests || tokens.added > reported.tokens;
      if ((hasNews || running > 0) && this.#isShared(account)) this.#exchange(account);
    }
  }

  #createReservation(account: Account): Reservation {
    const isShared = this.#isShared(account);
    const undecided = { requests: Number(isShared), tokens: 0 };
    let usage = 0;
    let remainder = 0;
    let isRunning = true;
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
    const leave = () => {
      release(remainder);
      if (isRunning) account.running--;
      isRunning = false;
    };
    return {
      reserve: (tokens, limitField = 'max_tokens') => {
        requirePossible(account.tenant, tokens, limitField);
        this.#require(account, { tokensPerMinute: tokens });
        account.reserved += tokens;
        remainder += tokens;
        if (!isShared) return;
        undecided.tokens += tokens;
        account.undecided.tokens += tokens;
      },
      admit: async () => {
        const ask = { ...undecided };
        Object.assign(undecided, { requests: 0, tokens: 0 });
        if (ask.requests + ask.tokens === 0) return;
        const refusal = await new Promise<ServeError | undefined>((answer) => {
          account.questions.push({ ask, refuse: leave, answer });
          this.#exchange(account);
        });
        if (refusal) throw refusal;
      },
      use,
      end: (usedTokens = 0) => {
        if (hasEnded) return;
        use(usedTokens);
        leave();
        hasEnded = true;
        this.#decide(account, undecided, undecided.requests);
        const { tokensPerMinute, concurrentRequests } = account.tenant.limits;
        const isAwaited = (tokensPerMinute ?? concurrentRequests) !== undefined;
        if (isAwaited && isShared) this.#exchange(account);
      },
      headers: () => this.headers(account.tenant),
    };
  }

  /** Ends the time of a request as an undecided one. `counted` are the requests that the ledger does not count. */
  #decide({ undecided, requests }: Account, ask: LimitAsk, counted: number): void {
    undecided.requests -= ask.requests;
    undecided.tokens -= ask.tokens;
    requests.add(counted, this.#nowMs());
  }

  /** Reports to the ledger and asks it, now or after the exchange in progress. */
  #exchange(account: Account): void {
    account.isDue = true;
    if (!account.isExchanging) void this.#exchangeAll(account);
  }

  async #exchangeAll(account: Account): Promise<void> {
    account.isExchanging = true;
    while (account.isDue) {
      account.isDue = account.questions.length > MAX_QUESTIONS;
      await this.#exchangeOnce(account, account.questions.splice(0, MAX_QUESTIONS));
    }
    account.isExchanging = false;
  }

  async #exchangeOnce(account: Account, questions: readonly Question[]): Promise<void> {
    const { requests, tokens, reported, tenant, undecided } = account;
    const added = { requests: requests.added, tokens: tokens.added };
    const nowMs = this.#nowMs();
    const use = await this.#ledger!.exchange({
      tenant: tenant.id,
      limits: tenant.limits,
      // After an interruption, only the last minute counts.
      requests: Math.min(added.requests - reported.requests, requests.ownTotal(nowMs)),
      tokens: Math.min(added.tokens - reported.tokens, tokens.ownTotal(nowMs)),
      running: account.running - undecided.requests,
      reserved: account.reserved - undecided.tokens,
      asks: questions.map(({ ask }) => ask),
    });
    if (use) {
      Object.assign(reported, added);
      requests.tell(use.requests, added.requests, this.#nowMs());
      tokens.tell(use.tokens, added.tokens, this.#nowMs());
      account.reservedByOthers = use.reservedByOthers;
    }
    for (const [i, question] of questions.entries()) {
      this.#answer(account, question, use ? { refusedBy: use.refusals[i] } : undefined);
    }
  }

  /** @param verdict the ledger's; undefined if it does not answer, so this server's share decides */
  #answer(
    account: Account,
    { ask, refuse, answer }: Question,
    verdict: { readonly refusedBy: LimitName | undefined } | undefined,
  ): void {
    this.#decide(account, ask, 0);
    const refusedBy = verdict ? verdict.refusedBy : this.#exceededByDecided(account, ask);
    const isCounted = refusedBy === undefined || refusedBy === 'tokensPerMinute';
    if (!verdict && isCounted) account.requests.add(ask.requests, this.#nowMs());
    if (refusedBy) refuse();
    const demand = refusedBy === 'tokensPerMinute' ? ask.tokens : 1;
    answer(refusedBy && this.#error(account, refusedBy, demand));
  }

  /** Returns the limit that a request exceeds together with all that are decided, which include its tokens and itself. */
  #exceededByDecided(account: Account, ask: LimitAsk): LimitName | undefined {
    const { requests, tokens } = account.undecided;
    return this.#exceeded(account, {
      ...(ask.requests > 0 && { requestsPerMinute: 1 - requests, concurrentRequests: -requests }),
      ...(ask.tokens > 0 && { tokensPerMinute: -tokens }),
    });
  }

  /** Throws `ServeError` (429) if a limit, as far as this server knows, has no room. */
  #require(account: Account, demand: Demand): void {
    const name = this.#exceeded(account, demand);
    if (name) throw this.#error(account, name, demand[name]!);
  }

  /** Returns the first of the limits that has no room for the demand. */
  #exceeded(account: Account, demand: Demand): LimitName | undefined {
    const { limits } = account.tenant;
    const names = Object.keys(demand) as LimitName[];
    return names.find((name) => {
      const usage = this.#usage(account, name) + this.#sharers * demand[name]!;
      // The share of a server is at least one.
      return usage > Math.max(limits[name] ?? Infinity, this.#sharers);
    });
  }

  #error(account: Account, name: LimitName, demand: number): ServeError {
    const limit = account.tenant.limits[name]!;
    const excess = this.#fleetUsage(account, name) + this.#sharers * demand - limit;
    const sum = name === 'requestsPerMinute' ? account.requests : account.tokens;
    const waitMs =
      name === 'concurrentRequests' ? 1000 : this.#msUntilLess(sum, Math.max(1, excess));
    const retryAfterS = Math.ceil(waitMs / 1000);
    const message = `Over the limit of ${limit} ${WORDS[name]}. Try again in ${retryAfterS} s.`;
    return new ServeError('rate_limit_exceeded', message, { retryAfterS });
  }

  /** Adds the other servers' reserved tokens. They are only right after an exchange, so this server refuses nothing for them. */
  #fleetUsage(account: Account, name: LimitName): number {
    const ofOthers = name === 'tokensPerMinute' ? account.reservedByOthers : 0;
    return this.#usage(account, name) + ofOthers;
  }

  #usage(account: Account, name: LimitName): number {
    const { requests, tokens, undecided, running, reserved } = account;
    const sharers = this.#sharers;
    const nowMs = this.#nowMs();
    if (name === 'concurrentRequests') return sharers * running;
    return name === 'requestsPerMinute'
      ? requests.total(nowMs, sharers) + sharers * undecided.requests
      : tokens.total(nowMs, sharers) + sharers * reserved;
  }

  #msUntilLess(sum: WindowSum, amount: number): number {
    return sum.msUntilLess(amount, this.#nowMs(), this.#sharers);
  }

  /** The servers that are assumed to use as much as this one since the ledger answered last. */
  get #sharers(): number {
    return !this.#ledger || this.#ledger.isUp ? 1 : Math.max(1, this.#ledger.servers);
  }

  #isShared({ tenant }: Account): boolean {
    return this.#ledger !== undefined && Object.keys(tenant.limits).length > 0;
  }

  #accountOf(tenant: Tenant): Account {
    let account = this.#accounts.get(tenant.id);
    if (!account) {
      account = {
        tenant,
        requests: new WindowSum(),
        tokens: new WindowSum(),
        reserved: 0,
        reservedByOthers: 0,
        running: 0,
        undecided: { requests: 0, tokens: 0 },
        questions: [],
        isDue: false,
        isExchanging: false,
        reported: { requests: 0, tokens: 0 },
      };
      this.#accounts.set(tenant.id, account);
    }
    account.tenant = tenant;
    return account;
  }
}

/** Throws `ServeError` (400) if no minute has room for the tokens. */
function requirePossible({ limits }: Tenant, tokens: number, limitField: string): void {
  const { tokensPerMinute = Infinity } = limits;
  if (tokens <= tokensPerMinute) return;
  const message = `The request and its answer may take ${tokens} tokens; the limit is ${tokensPerMinute} per minute. Lower ${limitField}.`;
  throw new ServeError('invalid_request', message, { param: limitField });
}

/** Formats a duration as OpenAI does: 250ms, 8.64s, 1m0s. */
function duration(ms: number): string {
  const rounded = Math.ceil(ms);
  if (rounded >= WINDOW_MS) return '1m0s';
  return rounded < 1000 ? `${rounded}ms` : `${rounded / 1000}s`;
}

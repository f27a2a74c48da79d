// The plain twin of the script in Redis: a log of everything that was counted, on a clock of the test's own.
import type { TenantLimits } from '../../src/contracts/tenant.ts';
import type { FleetUse, LimitLedger, LimitReport } from '../../src/tenants/limit-ledger.ts';

const MINUTE_MS = 60_000;

interface Counted {
  readonly tenant: string;
  readonly kind: 'requests' | 'tokens';
  readonly amount: number;
  /** The end of the second in which it was counted. */
  readonly atMs: number;
}

export class PlainLedger {
  readonly #nowMs: () => number;
  #log: Counted[] = [];
  readonly #levels = new Map<string, { running: number; reserved: number }>();
  #servers = 0;
  isUp = true;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The ledger as one server sees it. */
  connect(): LimitLedger {
    const server = `server-${this.#servers++}`;
    const { isUp, count } = { isUp: () => this.isUp, count: () => this.#servers };
    return {
      get isUp() {
        return isUp();
      },
      get servers() {
        return count();
      },
      exchange: async (report) => (this.isUp ? this.decide(server, report) : undefined),
    };
  }

  decide(server: string, report: LimitReport): FleetUse {
    const { tenant, limits, ask = { requests: 0, tokens: 0 } } = report;
    this.#count(tenant, 'requests', report.requests);
    this.#count(tenant, 'tokens', report.tokens);
    const levels = [...this.#levels].filter(([key]) => key.startsWith(`${tenant} `));
    const others = levels
      .filter(([key]) => key !== `${tenant} ${server}`)
      .map(([, level]) => level);
    const running = others.reduce((sum, level) => sum + level.running, report.running);
    const reservedByOthers = others.reduce((sum, level) => sum + level.reserved, 0);
    const refusedBy = this.#refusal(limits, { ...report, ask, running, reservedByOthers });
    if (refusedBy === undefined || refusedBy === 'tokensPerMinute') {
      this.#count(tenant, 'requests', ask.requests);
    }
    this.#levels.set(`${tenant} ${server}`, {
      running: report.running - (refusedBy ? ask.requests : 0),
      reserved: report.reserved - (refusedBy ? ask.tokens : 0),
    });
    const entries = (kind: Counted['kind']) =>
      this.#recent(tenant, kind).map(({ amount, atMs }) => ({
        firstMs: atMs,
        lastMs: atMs,
        amount,
      }));
    return {
      refusedBy,
      requests: entries('requests'),
      tokens: entries('tokens'),
      reservedByOthers,
    };
  }

  #refusal(
    limits: TenantLimits,
    {
      tenant,
      ask,
      running,
      reserved,
      reservedByOthers,
    }: Pick<LimitReport, 'tenant' | 'running' | 'reserved'> & {
      ask: { requests: number; tokens: number };
      reservedByOthers: number;
    },
  ): keyof TenantLimits | undefined {
    const {
      requestsPerMinute = Infinity,
      tokensPerMinute = Infinity,
      concurrentRequests = Infinity,
    } = limits;
    const sum = (kind: Counted['kind']) =>
      this.#recent(tenant, kind).reduce((total, { amount }) => total + amount, 0);
    if (ask.requests > 0 && sum('requests') + ask.requests > requestsPerMinute)
      return 'requestsPerMinute';
    if (ask.requests > 0 && running > concurrentRequests) return 'concurrentRequests';
    const tokens = sum('tokens') + reserved + reservedByOthers;
    return ask.tokens > 0 && tokens > tokensPerMinute ? 'tokensPerMinute' : undefined;
  }

  #count(tenant: string, kind: Counted['kind'], amount: number): void {
    const atMs = 1000 * (Math.floor(this.#nowMs() / 1000) + 1);
    if (amount > 0) this.#log.push({ tenant, kind, amount, atMs });
  }

  #recent(tenant: string, kind: Counted['kind']): Counted[] {
    this.#log = this.#log.filter(({ atMs }) => this.#nowMs() - atMs < MINUTE_MS);
    return this.#log.filter((one) => one.tenant === tenant && one.kind === kind);
  }
}

// The plain twin of the script in Redis: a log of everything that was counted, on a clock of the test's own.
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

  decide(server: string, { tenant, limits, asks, ...report }: LimitReport): FleetUse {
    this.#count(tenant, 'requests', report.requests);
    this.#count(tenant, 'tokens', report.tokens);
    const own = { running: report.running, reserved: report.reserved };
    this.#levels.set(`${tenant} ${server}`, own);
    const others = [...this.#levels].filter(
      ([key]) => key.startsWith(`${tenant} `) && key !== `${tenant} ${server}`,
    );
    const runningElsewhere = others.reduce((sum, [, level]) => sum + level.running, 0);
    const reservedByOthers = others.reduce((sum, [, level]) => sum + level.reserved, 0);
    const {
      requestsPerMinute = Infinity,
      tokensPerMinute = Infinity,
      concurrentRequests = Infinity,
    } = limits;
    const refusals = asks.map(({ requests, tokens }) => {
      const isRequest = requests > 0;
      if (isRequest && this.#sum(tenant, 'requests') + requests > requestsPerMinute)
        return 'requestsPerMinute';
      if (isRequest && runningElsewhere + own.running + requests > concurrentRequests)
        return 'concurrentRequests';
      this.#count(tenant, 'requests', requests);
      const reserved = this.#sum(tenant, 'tokens') + reservedByOthers + own.reserved;
      if (tokens > 0 && reserved + tokens > tokensPerMinute) return 'tokensPerMinute';
      own.running += requests;
      own.reserved += tokens;
      return undefined;
    });
    const entries = (kind: Counted['kind']) =>
      this.#recent(tenant, kind).map(({ amount, atMs }) => ({
        firstMs: atMs,
        lastMs: atMs,
        amount,
      }));
    return { refusals, requests: entries('requests'), tokens: entries('tokens'), reservedByOthers };
  }

  #sum(tenant: string, kind: Counted['kind']): number {
    return this.#recent(tenant, kind).reduce((total, { amount }) => total + amount, 0);
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

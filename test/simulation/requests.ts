// Requests of clients to a server: the same steps as the HTTP side takes, and checks of everything that comes back.
import type { ResolvedModel } from '../../adapters/registry/resolved.ts';
import { deadlineError, ServeError } from '../../src/common/errors.ts';
import { deadline, sleep } from '../../src/common/waiting.ts';
import {
  type AdapterSource,
  type GenerationRequest,
  GREEDY,
  type RequestTime,
} from '../../src/contracts/generation.ts';
import { SHARED_OWNER, type Tenant } from '../../src/contracts/tenant.ts';
import type { EngineClient, EngineListener } from '../../src/engine-client/client.ts';
import {
  ClientGone,
  runSequences,
  type SequencesPlan,
} from '../../src/http/generation/sequences.ts';
import { prefixScope } from '../../src/http/request/prepare-generation.ts';
import type { EngineEvent } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import type { Reservation } from '../../src/tenants/rate-limits.ts';
import { createStopStrings } from '../../src/tokenizer/stream-decoder.ts';
import { codeOfDigest } from './adapters.ts';
import { ENGINE, referenceTokens } from './engine.ts';
import type { Reporter } from './parts.ts';
import type { Server } from './server.ts';

/** A request takes this long at most. The shortest is that of a few answers, the next one that of a queue of them. */
const LIMITS_MS = [60_000, 60_000, 1_500, 400];
/** A revoked key starts nothing after this. */
const REVOCATION_MS = 5_000;

/** What a client asks for. */
export interface Ask {
  readonly key: string;
  readonly model: string;
  readonly promptIds: readonly number[];
  readonly maxTokens: number;
  readonly stops: boolean;
}

/** A sequence that was given to an engine client. */
interface Sequence {
  readonly tenant: string;
  readonly request: GenerationRequest;
  readonly expected: readonly number[];
  readonly events: EngineEvent[];
  state: 'waiting' | 'running' | 'over';
}

const TEXTLESS = {
  push: () => ({ text: '', stopped: false }),
  end: () => '',
  stopString: undefined,
};

/** The requests of one server. */
export class Requests {
  readonly #server: Server;
  readonly #reporter: Reporter;
  /** Key → when it was revoked. */
  readonly #revoked: ReadonlyMap<string, number>;
  readonly #sequences = new Set<Sequence>();
  readonly #versions = new Map<string, number>();
  readonly accounts: Accounts;
  readonly #open = new Map<AbortController, { pauseMs: number }>();
  #nonFinite = 0;
  /** How requests ended: `ok` or the code of an error. */
  readonly outcomes = new Map<string, number>();

  constructor(server: Server, reporter: Reporter, revoked: ReadonlyMap<string, number>) {
    this.#server = server;
    this.#reporter = reporter;
    this.#revoked = revoked;
    this.accounts = new Accounts(server, reporter);
  }

  /** Whether every sequence has ended. */
  get isQuiet(): boolean {
    return this.#sequences.size === 0;
  }

  /** Aborts one of the open requests, as a client that goes away. */
  abort(pick: number): void {
    [...this.#open.keys()][pick % Math.max(1, this.#open.size)]?.abort(new ClientGone());
  }

  /** Has the reader of one of the open requests take its time. */
  slowDown(pick: number, pauseMs: number): void {
    const one = [...this.#open.values()][pick % Math.max(1, this.#open.size)];
    if (one) one.pauseMs = pauseMs;
  }

  /** Sends a request. Never rejects. */
  async send(ask: Ask): Promise<void> {
    const abort = new AbortController();
    const reading = { pauseMs: 0 };
    this.#open.set(abort, reading);
    let outcome = 'ok';
    try {
      await this.#answer(ask, abort.signal, reading);
    } catch (error) {
      outcome = error instanceof ServeError ? error.code : (error as Error).name;
      const isKnown = error instanceof ServeError || error instanceof ClientGone;
      if (!isKnown || outcome === 'internal_error') {
        const isNonFinite = (error as Error).message.includes('not finite');
        const isThrown = (error as Error).message.startsWith('The engine failed.');
        if (!isNonFinite && !isThrown)
          this.#reporter.violated('I08', String((error as Error).stack));
      }
    }
    this.#open.delete(abort);
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    this.#reporter.trace(`${this.#server.name} answers ${ask.model}: ${outcome}`);
  }

  async #answer(ask: Ask, signal: AbortSignal, reading: { pauseMs: number }): Promise<void> {
    const { keys, client, registry, localAdapters, machine } = this.#server;
    const tenant = keys.find(ask.key);
    if (!tenant) throw new ServeError('invalid_api_key', 'unknown key');
    this.#checkKey(ask.key);
    const account = this.accounts.begin(tenant);
    const { promptIds, maxTokens, stops } = ask;
    let usedTokens = 0;
    const ms = LIMITS_MS[promptIds[0]! % LIMITS_MS.length]!;
    const time = { ms, endsAtMs: machine.now() + ms };
    try {
      client.requireRoom({ tenant, time, maxTokens: 0 });
      using late = deadline(time.ms, deadlineError(time), { clock: machine, signal });
      const model = await registry.resolve(tenant, ask.model);
      this.#checkVersion(model, ask.model, tenant);
      account.reserve(promptIds.length + maxTokens);
      const request: GenerationRequest = {
        promptIds,
        maxTokens,
        stopTokenIds: stops ? Array.from({ length: 100 }, (_, i) => i) : [],
        sampling: GREEDY,
        prefixScope: prefixScope(tenant.id, {})!,
      };
      const adapter =
        model.kind === 'adapter'
          ? await localAdapters.acquire(model, { signal: late.signal })
          : undefined;
      const plan: SequencesPlan = {
        tenant,
        adapter,
        choices: [{ index: 0, request, echo: '' }],
        textEnd: { stop: createStopStrings([]) },
      };
      const events = runSequences(this.#watch(tenant, model), plan, {
        createDecoder: () => TEXTLESS,
        maxInFlight: 1,
        signal: late.signal,
        time,
      });
      let isAccepted = false;
      try {
        for await (const ready of events) {
          for (const event of ready) {
            if (event.type === 'accepted') isAccepted = true;
            if (event.type === 'token') usedTokens++;
          }
          if (usedTokens > 0) account.use(promptIds.length + usedTokens);
          if (reading.pauseMs > 0) await sleep(reading.pauseMs, { clock: machine });
        }
        const { length } = referenceTokens(request, codeOf(model));
        if (usedTokens !== length) {
          this.#reporter.violated('I09', `${usedTokens} tokens are counted, not ${length}`);
        }
      } finally {
        usedTokens = isAccepted ? promptIds.length + usedTokens : 0;
      }
    } finally {
      account.end(usedTokens);
    }
  }

  /** An engine client that checks what is submitted and what comes back. */
  #watch(tenant: Tenant, model: ResolvedModel): EngineClient {
    const { client } = this.#server;
    const submit = (
      share: Tenant,
      source: AdapterSource | undefined,
      request: GenerationRequest,
      listener: EngineListener,
      time?: RequestTime,
    ) => {
      this.#checkOwner(tenant, source);
      const expected = referenceTokens(request, codeOf(model));
      const sequence: Sequence = {
        tenant: tenant.id,
        request,
        expected,
        events: [],
        state: 'waiting',
      };
      this.#sequences.add(sequence);
      const watched = (event: EngineEvent) => {
        this.#note(sequence, event);
        listener(event);
      };
      return client.submit(share, source, request, watched, time);
    };
    return { submit } as unknown as EngineClient;
  }

  #note(sequence: Sequence, event: EngineEvent): void {
    const { violated, trace } = this.#reporter;
    const { events, expected, request } = sequence;
    if (sequence.state === 'over') violated('I07', `${event.type} after the end`);
    events.push(event);
    if (event.type === 'admitted') sequence.state = 'running';
    const tokens = events.flatMap((one) => (one.type === 'token' ? [one.tokenId] : []));
    if (event.type === 'token') {
      const at = tokens.length - 1;
      if (event.tokenId !== expected[at]) {
        violated('I01', `token ${at} is ${event.tokenId}, not ${expected[at]}`);
      }
    }
    if (!isTerminal(event)) return;
    sequence.state = 'over';
    this.#sequences.delete(sequence);
    trace(`${this.#server.name} ends ${event.id} after ${tokens.length} tokens`);
    if (event.type === 'failed') {
      if (event.error.message.includes('not finite')) this.#noteNonFinite();
      return;
    }
    const isWhole = event.reason === 'abort' || tokens.length === expected.length;
    if (!isWhole) violated('I07', `${tokens.length} of ${expected.length} tokens: ${event.reason}`);
    const isStop = expected.length < request.maxTokens;
    if (event.reason !== 'abort' && event.reason !== (isStop ? 'stop' : 'length')) {
      violated('I07', `it ended by ${event.reason}`);
    }
  }

  /** I02: as many sequences fail as rows were not finite. Processes come and go, so all of the server's count. */
  #noteNonFinite(): void {
    this.#nonFinite++;
    const rows = this.#server.nanCount();
    if (this.#nonFinite <= rows) return;
    const message = `${this.#nonFinite} sequences failed for ${rows} rows that were not finite`;
    this.#reporter.violated('I02', message);
  }

  #checkOwner({ id }: Tenant, source: AdapterSource | undefined): void {
    if (!source || source.owner === id || source.owner === SHARED_OWNER) return;
    this.#reporter.violated('I10', `${id} runs an adapter of ${source.owner}`);
  }

  #checkKey(key: string): void {
    const { machine, name } = this.#server;
    const sinceMs = this.#revoked.get(key);
    if (sinceMs === undefined) return;
    const ageMs = machine.now() - Math.max(sinceMs, machine.frozenUntilMs);
    if (ageMs <= REVOCATION_MS) return;
    this.#reporter.violated('I10', `${name} takes a key ${ageMs} ms after it was revoked`);
  }

  /** I17 */
  #checkVersion(model: ResolvedModel, asked: string, tenant: Tenant): void {
    if (model.kind === 'base') return;
    const [{ owner, location }] = model.parts as [(typeof model.parts)[number]];
    if (location.kind !== 'version' || location.alias !== 'latest') return;
    const { version } = location.manifest;
    const key = `${tenant.id} ${owner}/${asked}`;
    const before = this.#versions.get(key) ?? 0;
    if (version < before) {
      this.#reporter.violated('I17', `${owner}/${asked} went from ${before} to ${version}`);
    }
    this.#versions.set(key, Math.max(before, version));
  }

  /** Checks what must hold at any time: I16, and I22 for a server that drains. */
  check(drainMs: number): void {
    if (this.#sequences.size === 0) return;
    const { violated } = this.#reporter;
    const { admission, drainedAtMs, machine } = this.#server;
    const { maxWaiting, maxWaitingPerTenant } = admission;
    const counts = new Map<string, number>();
    let waiting = 0;
    for (const { tenant, state } of this.#sequences) {
      waiting++;
      if (state === 'waiting') counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
    }
    if (waiting > maxWaiting + ENGINE.slotCount)
      violated('I16', `${waiting} sequences wait or run`);
    for (const [tenant, count] of counts) {
      if (count > maxWaitingPerTenant + ENGINE.slotCount)
        violated('I16', `${count} of ${tenant} wait`);
    }
    if (drainedAtMs === undefined || machine.isDead || machine.frozenUntilMs > drainedAtMs) return;
    const isLate = machine.now() > drainedAtMs + drainMs + DRAIN_GRACE_MS;
    if (isLate) violated('I22', `${waiting} sequences outlive the drain`);
  }
}

/** The content that a model stands for. */
function codeOf(model: ResolvedModel): number {
  return model.kind === 'base' ? 0 : codeOfDigest(model.parts[0]!.digest)!;
}

/** What the supervisor gives a process beyond the deadline, and some time for the events. */
const DRAIN_GRACE_MS = 2_500;

/** What a tenant used, and when. */
interface Account {
  readonly requests: { atMs: number; amount: number }[];
  readonly tokens: { atMs: number; amount: number }[];
  /** Tokens that running requests may still use. */
  reserved: number;
}

const MINUTE_MS = 60_000;
/** The limits may count usage for this much longer. */
const LATE_MS = 1000;

/** A plain twin of the rate limits: I09 and I24. */
class Accounts {
  readonly #server: Server;
  readonly #reporter: Reporter;
  readonly #accounts = new Map<string, Account>();

  constructor(server: Server, reporter: Reporter) {
    this.#server = server;
    this.#reporter = reporter;
  }

  begin(tenant: Tenant): Pick<Reservation, 'reserve' | 'use' | 'end'> {
    const account = this.#accounts.get(tenant.id) ?? { requests: [], tokens: [], reserved: 0 };
    this.#accounts.set(tenant.id, account);
    const reservation = this.#server.limits.begin(tenant);
    account.requests.push({ atMs: this.#server.machine.now(), amount: 1 });
    this.#compare(tenant, account);
    let reserved = 0;
    let used = 0;
    const use = (usedTokens: number) => {
      const amount = Math.max(0, usedTokens - used);
      account.tokens.push({ atMs: this.#server.machine.now(), amount });
      account.reserved -= amount;
      used += amount;
    };
    return {
      reserve: (tokens) => {
        reservation.reserve(tokens);
        account.reserved += tokens;
        reserved = tokens;
        this.#compare(tenant, account);
      },
      use: (usedTokens) => {
        reservation.use(usedTokens);
        use(usedTokens);
        this.#compare(tenant, account);
      },
      end: (usedTokens = 0) => {
        reservation.end(usedTokens);
        use(usedTokens);
        account.reserved -= reserved - used;
        this.#compare(tenant, account);
      },
    };
  }

  #compare(tenant: Tenant, account: Account): void {
    const { requestsPerMinute, tokensPerMinute } = tenant.limits;
    const nowMs = this.#server.machine.now();
    const headers = this.#server.limits.headers(tenant);
    const compare = (invariant: string, what: 'requests' | 'tokens', limit: number | undefined) => {
      if (limit === undefined) return;
      const reserved = what === 'tokens' ? account.reserved : 0;
      const [most, least] = [MINUTE_MS, MINUTE_MS + LATE_MS].map((ageMs) => {
        const recent = account[what].filter(({ atMs }) => nowMs - atMs < ageMs);
        return limit - recent.reduce((sum, { amount }) => sum + amount, reserved);
      }) as [number, number];
      const shown = Number(headers[`x-ratelimit-remaining-${what}`]);
      if (shown <= most && shown >= least && most >= 0) return;
      const message = `${shown} ${what} of ${tenant.id} remain, not ${least} to ${most}`;
      this.#reporter.violated(invariant, message);
    };
    compare('I24', 'requests', requestsPerMinute);
    compare('I09', 'tokens', tokensPerMinute);
  }
}

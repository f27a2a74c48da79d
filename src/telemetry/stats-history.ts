// Keeps the last hour of the server's load for a status page that was just opened: a ring of one sample per interval. Samples
// hold totals, from which the page computes rates.
import { orAfter } from '../common/waiting.ts';
import type { EngineStats } from '../contracts/engine.ts';
import type { Metrics } from './metrics.ts';
import { readTotals } from './status.ts';

/** The engine's figures, as its client knows them. */
interface EngineFigures {
  readonly state: string;
  /** How long the current question for figures has gone unanswered, in ms. */
  readonly statsUnansweredMs: number;
  stats(): Promise<EngineStats>;
}

/**
 * Asks the engine for its figures. Returns undefined if it is not ready or does not respond in time. If an earlier question has
 * gone unanswered for that long, returns undefined without waiting again.
 */
export async function statsWithin(
  client: EngineFigures,
  timeoutMs: number,
): Promise<EngineStats | undefined> {
  const leftMs = timeoutMs - client.statsUnansweredMs;
  if (leftMs <= 0) return undefined;
  const stats = client.stats().catch(() => undefined); // not ready, as its state already says
  return orAfter(stats, leftMs, undefined);
}

/** One hour: 360 samples of about 100 bytes. */
const CAPACITY = 360;
const INTERVAL_MS = 10_000;
/** Half an hour between the totals of latencies and errors, of which six hours are kept: 13 of about 5 kB. */
const SAMPLES_PER_TOTAL = 180;
const MAX_TOTALS = 13;
/** An engine in a long step does not respond. The sample then says only that it is ready. */
const STATS_TIMEOUT_MS = 2_000;

/** The load at one moment. */
export interface LoadSample {
  /** Unix milliseconds. */
  readonly atMs: number;
  readonly isReady: boolean;
  /** Undefined if the engine gave no figures in time. */
  readonly load:
    | Pick<EngineStats, 'running' | 'waiting' | 'promptTokens' | 'generatedTokens'>
    | undefined;
}

/** The totals of latencies and errors at one moment. */
export type TotalsSample = { readonly atMs: number } & ReturnType<typeof readTotals>;

/** Samples of the last hour, and of latencies and errors of the last six. */
export class StatsHistory {
  readonly intervalMs = INTERVAL_MS;
  readonly #client: EngineFigures;
  readonly #now: () => number;
  readonly #metrics: Metrics;
  readonly #samples: LoadSample[] = [];
  readonly #totals: TotalsSample[] = [];
  #taken = 0;

  /** @param now returns Unix milliseconds */
  constructor(client: EngineFigures, metrics: Metrics, now: () => number = Date.now) {
    this.#client = client;
    this.#metrics = metrics;
    this.#now = now;
  }

  /** The samples, oldest first. */
  get samples(): readonly LoadSample[] {
    return this.#samples;
  }

  /** The totals of latencies and errors, oldest first. */
  get totals(): readonly TotalsSample[] {
    return this.#totals;
  }

  /** Starts sampling. The timer does not keep the process alive. */
  start(): void {
    void this.sample();
    setInterval(() => void this.sample(), INTERVAL_MS).unref();
  }

  /** Takes one sample; never rejects. */
  async sample(): Promise<void> {
    const stats = await statsWithin(this.#client, STATS_TIMEOUT_MS);
    const load = stats && {
      running: stats.running,
      waiting: stats.waiting,
      promptTokens: stats.promptTokens,
      generatedTokens: stats.generatedTokens,
    };
    this.#samples.push({ atMs: this.#now(), isReady: this.#client.state === 'ready', load });
    if (this.#samples.length > CAPACITY) this.#samples.shift();
    if (this.#taken++ % SAMPLES_PER_TOTAL !== 0) return;
    this.#totals.push({ atMs: this.#now(), ...readTotals(this.#metrics) });
    if (this.#totals.length > MAX_TOTALS) this.#totals.shift();
  }
}

// Keeps the last hour of the server's load for a status page that was just opened: a ring of one sample per interval. Samples
// hold totals, from which the page computes rates.
import { orAfter } from '../../common/waiting.ts';
import type { EngineStats } from '../../contracts/engine.ts';
import type { EngineClient } from '../../scheduler/client.ts';

/**
 * Asks the engine for its figures. Returns undefined if it is not ready or does not respond in time. If an earlier question has
 * gone unanswered for that long, returns undefined without waiting again.
 */
export async function statsWithin(
  client: EngineClient,
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

/** Samples of the last hour. */
export class StatsHistory {
  readonly intervalMs = INTERVAL_MS;
  readonly #client: EngineClient;
  readonly #now: () => number;
  readonly #samples: LoadSample[] = [];

  /** @param now returns Unix milliseconds */
  constructor(client: EngineClient, now: () => number = Date.now) {
    this.#client = client;
    this.#now = now;
  }

  /** The samples, oldest first. */
  get samples(): readonly LoadSample[] {
    return this.#samples;
  }

  /** Starts sampling. The timer does not keep the process alive. */
  start(): void {
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
  }
}

// The last hour of the server's load, for a page that was opened just now: one sample per interval in a ring. It stores
// totals; whoever reads them computes rates. Knows no routes.
import os from 'node:os';
import type { EngineClient } from '../scheduler/client.ts';
import { statsWithin } from './engine-stats.ts';

/** An hour: 360 samples of about 100 bytes. */
const CAPACITY = 360;
const INTERVAL_MS = 10_000;
/** An engine in a long step does not answer meanwhile; the sample then says only that it is ready. */
const STATS_TIMEOUT_MS = 2_000;

export interface LoadSample {
  /** Unix milliseconds. */
  readonly atMs: number;
  readonly isReady: boolean;
  /** Undefined if the engine gave no figures in time. */
  readonly load:
    | {
        readonly running: number;
        readonly waiting: number;
        /** Totals since the engine started. */
        readonly promptTokens: number;
        readonly generatedTokens: number;
      }
    | undefined;
}

export class StatsHistory {
  readonly intervalMs = INTERVAL_MS;
  readonly #client: EngineClient;
  readonly #now: () => number;
  readonly #samples: LoadSample[] = [];

  /** @param now Unix milliseconds */
  constructor(client: EngineClient, now: () => number = Date.now) {
    this.#client = client;
    this.#now = now;
  }

  /** Oldest first. */
  get samples(): readonly LoadSample[] {
    return this.#samples;
  }

  /** Samples from now on. It does not keep the process alive. */
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

/** What the server runs on. */
export function describeHost() {
  const cpus = os.cpus();
  return {
    processor: cpus[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memory_bytes: os.totalmem(),
    platform: `${os.platform()} ${os.arch()}`,
    node: process.version,
  };
}

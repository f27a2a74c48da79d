// The requests that each version of an adapter got from this server: their number, errors and latencies. Whoever releases a
// version step by step compares it with the one before.
import { LRUCache } from 'lru-cache';
import type { VersionTraffic } from '../contracts/management-api.ts';
import { durationsOf, type RequestRecord } from './request-log.ts';

/** Versions that are remembered, up to 2 KB each. */
const MAX_VERSIONS = 2_000;
/** Requests whose latencies a median is taken of. */
const MAX_LATENCIES = 100;

/** A version of a published adapter. */
interface VersionKey {
  readonly owner: string;
  readonly name: string;
  /** Absent: the adapter has no versions. */
  readonly version?: number | undefined;
}

type End = NonNullable<RequestRecord['end']>;

/** Counts requests by version. */
export class VersionTrafficLog {
  readonly #versions = new LRUCache<string, CountedVersion>({ max: MAX_VERSIONS });

  /** Counts a request that begins. Undefined if it uses no version. */
  begin(adapter: VersionKey | undefined): CountedVersion | undefined {
    if (adapter?.version === undefined) return undefined;
    const key = keyOf(adapter);
    const version = this.#versions.get(key) ?? new CountedVersion();
    this.#versions.set(key, version);
    version.running++;
    return version;
  }

  /** Returns the figures of a version; undefined if it got no requests. */
  of(adapter: VersionKey): VersionTraffic | undefined {
    return this.#versions.peek(keyOf(adapter))?.figures();
  }
}

function keyOf({ owner, name, version }: VersionKey): string {
  return `${owner}/${name}@${version}`;
}

/** The counts of one version. */
class CountedVersion {
  running = 0;
  #requests = 0;
  #errors = 0;
  /** Oldest first. */
  readonly #firstTokenMs: number[] = [];
  readonly #tokenMs: number[] = [];

  /** Counts a request's end. Nobody waits for a line of a batch, so its latencies do not count. */
  end(record: RequestRecord, { atMs, outcome }: End): void {
    this.running--;
    this.#requests++;
    if (outcome !== 'ok' && outcome !== 'aborted') this.#errors++;
    const { waiting, prefill, decode } = durationsOf(record, atMs);
    if (record.isIdle || prefill === undefined || decode === undefined) return;
    keep(this.#firstTokenMs, waiting + prefill);
    if (record.tokens > 1) keep(this.#tokenMs, decode / (record.tokens - 1));
  }

  figures(): VersionTraffic {
    return {
      running: this.running,
      requests: this.#requests,
      errors: this.#errors,
      first_token_ms: median(this.#firstTokenMs),
      token_ms: median(this.#tokenMs),
    };
  }
}

function keep(values: number[], value: number): void {
  values.push(value);
  if (values.length > MAX_LATENCIES) values.shift();
}

function median(values: readonly number[]): number | null {
  const middle = values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
  return middle === undefined ? null : Math.round(middle * 10) / 10;
}

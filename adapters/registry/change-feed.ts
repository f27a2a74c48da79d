// Follows the announced changes of names with one list per poll interval, so that cached values need not be read again. The
// list is trusted only while the polls are not interrupted: announcements are kept for longer than the longest allowed pause.
import { createHash } from 'node:crypto';
import { type Clock, orAfter, systemClock } from '../../src/common/waiting.ts';
import type { Announcement, ChangeLog } from '../repository/changes.ts';

/** Where announcements come from. */
interface ChangeFeedOptions {
  readonly changes: Pick<ChangeLog, 'list'>;
  /** Removes announcements that every server has seen. Absent: leaves that to others. */
  settle?(announcements: readonly Announcement[]): Promise<void>;
  /** How often to look at most, in milliseconds. */
  readonly pollMs: number;
  readonly clock?: Clock;
}

/** After a longer pause between two polls, announcements may have come and gone. */
const MAX_PAUSE_MS = 60_000;
/** Twice that, because the server that removes an announcement may have seen it right after it was written. */
const MIN_KEPT_MS = 120_000;
/** Each server has its own time for each tenant, so that mostly the same one settles a tenant's announcements. */
const MAX_KEPT_MS = 300_000;
/** Settling rewrites an index, which can be large. */
const SETTLE_INTERVAL_MS = 30_000;
/** The write that an intent announces has happened by then, or never will. */
const OPEN_INTENT_MS = 60_000;
/** How long a request waits for a slow poll. */
const PATIENCE_MS = 500;

interface SeenAnnouncement extends Announcement {
  readonly seenMs: number;
  readonly removeMs: number;
}

/** Called with the keys (`owner/name`) that may have changed since the poll that began at `beforeMs`. */
type ChangeListener = (keys: ReadonlySet<string>, beforeMs: number) => void;

/** The changes that other servers announce. */
export class ChangeFeed {
  readonly #options: ChangeFeedOptions;
  readonly #clock: Clock;
  readonly #listeners: ChangeListener[] = [];
  /** The announcements in the store, by their ids. */
  #seen = new Map<string, SeenAnnouncement>();
  /** The beginning of the first poll of the uninterrupted series, and of the last one. */
  #sinceMs = Number.POSITIVE_INFINITY;
  #polledMs = Number.NEGATIVE_INFINITY;
  #triedMs = Number.NEGATIVE_INFINITY;
  /** A poll under way. Resolves with it, or earlier if it takes too long. */
  #flight: Promise<void> | undefined;
  /** Infinite while announcements are being settled. */
  #nextSettleMs = Number.NEGATIVE_INFINITY;
  readonly #salt: string;

  constructor(options: ChangeFeedOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#salt = String(this.#clock.random?.() ?? Math.random());
  }

  /** Registers a listener. */
  onChange(listener: ChangeListener): void {
    this.#listeners.push(listener);
  }

  /** The beginning of the first poll since which none was missed. It grows after an interruption. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  /** Whether the last poll is recent enough to be continued. */
  get isFollowing(): boolean {
    return this.#clock.now() - this.#polledMs <= MAX_PAUSE_MS;
  }

  /** Lists the names of a tenant whose announcements have not been removed. */
  announced(tenant: string): string[] {
    const all = [...this.#seen.values()].filter((one) => one.tenant === tenant);
    return all.map(({ name }) => name);
  }

  /** Polls if the last poll is older than `maxAgeMs`, or, without waiting for it, half as old. Never rejects. */
  async refresh(maxAgeMs: number): Promise<void> {
    const nowMs = this.#clock.now();
    const ageMs = nowMs - this.#polledMs;
    if (ageMs <= maxAgeMs / 2) return;
    const isDue = nowMs - this.#triedMs > this.#options.pollMs / 2;
    if (!this.#flight && isDue) {
      this.#triedMs = nowMs;
      const poll = this.#poll(nowMs).finally(() => {
        this.#flight = undefined;
      });
      this.#flight = orAfter(poll, PATIENCE_MS, undefined, this.#clock);
    }
    if (ageMs > maxAgeMs) await this.#flight;
  }

  /** Returns until when a value that was read at `readMs`, and not reported as changed, is known to be current. */
  confirmedMs(readMs: number): number {
    return readMs >= this.#sinceMs ? Math.max(readMs, this.#polledMs) : readMs;
  }

  /** Whether the next poll will tell if a value that was read at `readMs` has changed. */
  covers(readMs: number, maxAgeMs: number): boolean {
    return readMs >= this.#sinceMs && this.#clock.now() - this.#polledMs <= maxAgeMs;
  }

  async #poll(beginMs: number): Promise<void> {
    let announced: Announcement[];
    try {
      announced = await this.#options.changes.list();
    } catch {
      return; // the store logs it; values are read one by one meanwhile
    }
    const beforeMs = this.#polledMs;
    if (beginMs - beforeMs > MAX_PAUSE_MS) this.#sinceMs = beginMs;
    this.#polledMs = beginMs;
    const nowMs = this.#clock.now();
    const keys = this.#see(announced, nowMs);
    if (keys.size > 0) for (const listener of this.#listeners) listener(keys, beforeMs);
    void this.#settleOld(nowMs);
  }

  /** Returns the keys of new announcements and of open intents. */
  #see(announced: readonly Announcement[], nowMs: number): Set<string> {
    const keys = new Set<string>();
    const seen = new Map<string, SeenAnnouncement>();
    const done = new Set(announced.flatMap(({ id, isDone }) => (isDone ? [id] : [])));
    for (const one of announced) {
      const id = `${one.id}${one.isDone}`;
      const known = this.#seen.get(id);
      const entry = known ?? { ...one, seenMs: nowMs, removeMs: nowMs + this.#keptMs(one.tenant) };
      seen.set(id, entry);
      const isOpen = !done.has(one.id) && nowMs - entry.seenMs < OPEN_INTENT_MS;
      if (!known || isOpen) keys.add(`${one.tenant}/${one.name}`);
    }
    this.#seen = seen;
    return keys;
  }

  #keptMs(tenant: string): number {
    const hash = createHash('sha256').update(`${this.#salt} ${tenant}`).digest();
    return MIN_KEPT_MS + (hash.readUInt32BE() / 2 ** 32) * (MAX_KEPT_MS - MIN_KEPT_MS);
  }

  async #settleOld(nowMs: number): Promise<void> {
    const old = [...this.#seen.values()].filter(({ removeMs }) => removeMs < nowMs);
    if (old.length === 0 || nowMs < this.#nextSettleMs) return;
    this.#nextSettleMs = Number.POSITIVE_INFINITY;
    // The store logs a failure. A later poll tries again, or another server does.
    await this.#options.settle?.(old).catch(() => {});
    this.#nextSettleMs = nowMs + SETTLE_INTERVAL_MS;
  }
}

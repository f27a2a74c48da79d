// Decides from the marks of unfinished work which records a server has to read. A mark tells the state, and changes as long as
// a lease holder is alive, so most records need no read, however many there are.
import { MARK_QUIET_MS, type OpenMark } from './record-store.ts';

/** The next step for a record, as far as its mark tells. */
export type MarkVerdict =
  /** It has to be read: it is new here, over, or its lease holder seems to be gone. */
  | 'read'
  /** It may be claimed if this server has room. */
  | 'free'
  /** Another server works on it, or it is paused. */
  | 'leave';

/** Paused work is read this often, because the mark of its resumption may have got lost. */
const PAUSED_READ_MS = 600_000;

interface SeenMark {
  readonly etag: string;
  readonly sinceMs: number;
  /** When a paused record was last read. */
  readMs: number;
}

/** Remembers when each mark last changed, by this server's own clock. */
export class MarkWatch {
  readonly #now: () => number;
  readonly #hasEnded: (status: string) => boolean;
  readonly #seen = new Map<string, SeenMark>();

  /** @param now returns monotonic milliseconds */
  constructor(now: () => number, hasEnded: (status: string) => boolean) {
    this.#now = now;
    this.#hasEnded = hasEnded;
  }

  /** Judges all marks. Forgets every other record. */
  judge(marks: readonly OpenMark[]): ReadonlyMap<string, MarkVerdict> {
    const ids = new Set(marks.map(({ id }) => id));
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
    return new Map(marks.map((mark) => [mark.id, this.#judge(mark)]));
  }

  /** How long a record's mark has not changed, in milliseconds. */
  quietMs(id: string): number {
    return this.#now() - (this.#seen.get(id)?.sinceMs ?? this.#now());
  }

  #judge({ id, etag, state }: OpenMark): MarkVerdict {
    const nowMs = this.#now();
    const known = this.#seen.get(id);
    const seen = known?.etag === etag ? known : { etag, sinceMs: nowMs, readMs: nowMs };
    this.#seen.set(id, seen);
    if (!known || !state || this.#hasEnded(state.status)) return 'read';
    if (state.isLeased) return this.quietMs(id) > MARK_QUIET_MS ? 'read' : 'leave';
    if (state.status !== 'paused') return 'free';
    if (nowMs - seen.readMs < PAUSED_READ_MS) return 'leave';
    seen.readMs = nowMs;
    return 'read';
  }
}

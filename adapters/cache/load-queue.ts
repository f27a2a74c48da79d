// The order of loads. Tenants take turns, so that one with many adapters does not delay the single adapter of another.

/** A load as the queue sees it. */
export interface QueuedLoad {
  /** The tenant whose turn it takes. */
  tenant: string;
}

/** Loads that wait for another load to end, and loads that wait for memory. */
export class LoadQueue<T extends QueuedLoad> {
  /** Oldest first. */
  #waiting: T[] = [];
  #parked: T[] = [];
  /** Tenant → when its last load began, counted in loads. One entry per tenant ever seen. */
  readonly #turns = new Map<string, number>();
  #turn = 0;
  /** Tenant → the fewest bytes that it found no memory for since the last `unpark`. */
  readonly #blocked = new Map<string, number>();

  /** All loads that wait. */
  all(): T[] {
    return [...this.#parked, ...this.#waiting];
  }

  /** Counts a load for a tenant that also asks for it, if that one's turn is earlier. */
  join(load: T, tenant: string): void {
    if (this.#lastTurn({ tenant }) < this.#lastTurn(load)) load.tenant = tenant;
  }

  push(load: T): void {
    this.#waiting.push(load);
  }

  /** Takes out the oldest load of the tenant whose last one began first. */
  next(): T | undefined {
    let next: T | undefined;
    for (const load of this.#waiting) {
      if (!next || this.#lastTurn(load) < this.#lastTurn(next)) next = load;
    }
    if (!next) return undefined;
    this.#waiting = this.#waiting.filter((load) => load !== next);
    this.#turn++;
    this.#turns.set(next.tenant, this.#turn);
    return next;
  }

  /** Puts aside a load that found no memory for so many bytes. */
  park(load: T, byteSize: number): void {
    this.#parked.push(load);
    this.#blocked.set(load.tenant, Math.min(byteSize, this.#blockedFrom(load)));
  }

  /** Whether a load need not try, because another one of its tenant has found no memory for fewer bytes. */
  isBlocked(load: T, byteSize: number): boolean {
    return byteSize >= this.#blockedFrom(load);
  }

  /** Lets all parked loads try again, before the others of their tenants. */
  unpark(): void {
    this.#waiting.unshift(...this.#parked);
    this.#parked = [];
    this.#blocked.clear();
  }

  #blockedFrom({ tenant }: QueuedLoad): number {
    return this.#blocked.get(tenant) ?? Number.POSITIVE_INFINITY;
  }

  #lastTurn({ tenant }: QueuedLoad): number {
    return this.#turns.get(tenant) ?? 0;
  }
}

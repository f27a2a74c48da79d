// The order of loads. Tenants take turns, so that one with many adapters does not delay the single adapter of another.

/** A load as the queue sees it. */
interface QueuedLoad {
  /** The tenant that the load counts for. */
  tenant: string;
}

/** Loads that wait: for another load to end, or for memory. */
export class LoadQueue<T extends QueuedLoad> {
  /** Oldest first. */
  #waiting: T[] = [];
  #parked: T[] = [];
  /** Tenant → when its last load began, counted in loads. One entry per tenant ever seen. */
  readonly #turns = new Map<string, number>();
  #turn = 0;
  /** Tenant → the fewest bytes that it could not reserve since the last `unpark`. */
  readonly #blocked = new Map<string, number>();

  /** Lists all waiting loads. */
  all(): T[] {
    return [...this.#parked, ...this.#waiting];
  }

  /** Counts a load for another tenant that asks for it, if that tenant's turn comes earlier. */
  join(load: T, tenant: string): void {
    if (this.#lastTurn({ tenant }) < this.#lastTurn(load)) load.tenant = tenant;
  }

  push(load: T): void {
    this.#waiting.push(load);
  }

  /** Takes the oldest load of the tenant whose last load began first. */
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

  /** Sets a load aside until `unpark`, because `byteSize` bytes could not be reserved. */
  park(load: T, byteSize: number): void {
    this.#parked.push(load);
    this.#blocked.set(load.tenant, Math.min(byteSize, this.#blockedFrom(load)));
  }

  /** Whether a load need not try, because its tenant failed to reserve fewer bytes. */
  isBlocked(load: T, byteSize: number): boolean {
    return byteSize >= this.#blockedFrom(load);
  }

  /** Lets all parked loads try again, ahead of their tenants' other loads. */
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

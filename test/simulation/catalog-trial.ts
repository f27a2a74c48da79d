// Compares two ways to tell servers what a tenant has: a catalog per tenant that every publisher changes by compare-and-swap,
// and the announcements of decision 27. Only the calls that differ are modelled; times are those of a store in the same region.
import { backoffMs, sleep } from '../../src/common/waiting.ts';
import { type Machine, VirtualTime } from './clock.ts';

const FIRST_BYTE_MS = { get: 15, put: 25, list: 30 };
const BYTES_PER_MS = 80 * 1024; // 80 MB/s per connection
const BACKOFF = { firstMs: 10, longestMs: 640 };
const MAX_TRIES = 40;
/** An entry with an evaluation, as `readEntry` serializes it. */
const ENTRY_BYTES = 1500;
const PART_NAMES = 10_000;

class Store {
  readonly #etags = new Map<string, number>();
  calls = 0;
  bytes = 0;
  async get(machine: Machine, key: string, byteSize: number) {
    await this.#take(machine, 'get', byteSize);
    return this.#etags.get(key) ?? 0;
  }
  async swap(machine: Machine, key: string, etag: number, byteSize: number) {
    await this.#take(machine, 'put', byteSize);
    if ((this.#etags.get(key) ?? 0) !== etag) return false;
    this.#etags.set(key, etag + 1);
    return true;
  }
  async #take(machine: Machine, op: 'get' | 'put', byteSize: number) {
    this.calls++;
    this.bytes += byteSize;
    const ms = FIRST_BYTE_MS[op] * (0.5 + machine.random()) + byteSize / BYTES_PER_MS;
    await sleep(ms, { clock: machine });
  }
}

interface Outcome { calls: number; megabytes: number; p50Ms: number; maxMs: number; failed: number; maxTries: number }

async function run(publishers: number, work: (store: Store, machine: Machine, i: number) => Promise<number>): Promise<Outcome> {
  const time = new VirtualTime();
  const store = new Store();
  const took: number[] = [];
  let failed = 0;
  let maxTries = 0;
  for (let i = 0; i < publishers; i++) {
    const machine = time.machine(i + 1);
    void work(store, machine, i).then((tries) => { took.push(time.nowMs); maxTries = Math.max(maxTries, tries); }, () => failed++);
  }
  await time.runFor(3_600_000);
  took.sort((a, b) => a - b);
  return { calls: store.calls / publishers, megabytes: store.bytes / publishers / 1e6, p50Ms: took[took.length >> 1] ?? Number.NaN, maxMs: took.at(-1) ?? Number.NaN, failed, maxTries };
}

/** Changes one entry of a part. */
async function swapPart(store: Store, machine: Machine, key: string, byteSize: number) {
  for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
    if (attempt > 1) await sleep(backoffMs(attempt - 1, BACKOFF, machine.random), { clock: machine });
    const etag = await store.get(machine, key, byteSize);
    if (await store.swap(machine, key, etag, byteSize)) return attempt;
  }
  throw new Error('overloaded');
}

for (const publishers of [1, 8, 64])
  for (const names of [1, 1000, 20_000, 100_000]) {
    const parts = Math.ceil(names / PART_NAMES);
    const byteSize = Math.min(names, PART_NAMES) * ENTRY_BYTES;
    const catalog = (swaps: number) => run(publishers, async (store, machine, i) => {
      let tries = 0;
      for (let n = 0; n < swaps; n++) tries = Math.max(tries, await swapPart(store, machine, `part-${i % parts}`, byteSize));
      return tries;
    });
    const announced = await run(publishers, async (store, machine, i) => {
      await store.swap(machine, `begun-${i}`, 0, 0);
      await store.swap(machine, `done-${i}`, 0, 0);
      return 1;
    });
    console.log(JSON.stringify({ publishers, names, catalog: await catalog(1), catalogWithIntent: await catalog(2), announced }, (_, v) => typeof v === 'number' ? Math.round(v * 10) / 10 : v));
  }
process.exit(0);

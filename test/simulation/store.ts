// One store for all servers, in virtual time, with the faults F06 to F17. Behind the faults is the real memory store, so
// conditional writes have their real meaning.
import { createMemoryStore } from '../../adapters/store/memory.ts';
import {
  type ListOptions,
  type ObjectStore,
  type PutOptions,
  type PutSource,
  type StoreCall,
  type StoredObject,
  StoreError,
} from '../../adapters/store/store.ts';
import { sleep } from '../../src/common/waiting.ts';
import type { Machine, VirtualTime } from './clock.ts';
import type { Reporter } from './parts.ts';

/** The faults, and the calls that can have them. */
export const STORE_FAULTS = {
  /** F06 */
  slow: 'any',
  /** F07, F13 */
  unavailable: 'any',
  /** F08, F14 */
  denied: 'any',
  /** F09 */
  missing: 'file',
  /** F10 */
  cut: 'get',
  /** F10: the connection closes early without an error. */
  short: 'file',
  /** F11 */
  stall: 'get',
  /** F12 */
  extra: 'file',
  /** A flipped bit. */
  flip: 'file',
  /** F13: no answer at all. */
  hang: 'any',
  /** F15: 409, nothing was written. */
  conflict: 'swap',
  /** F15: written, but the answer is lost. */
  lost: 'write',
  /** F15: written, the answer was lost, and the client's second try met its own write. */
  lostConflict: 'swap',
  /** F17 */
  stale: 'pointer',
} as const;

/** A fault. */
export type StoreFault = keyof typeof STORE_FAULTS;

interface Call {
  readonly op: 'get' | 'head' | 'put' | 'delete' | 'list';
  readonly key: string;
  readonly isConditional?: boolean;
}

/** A fault that is due: the next `count` calls that can have it do. */
interface DueFault {
  readonly fault: StoreFault;
  count: number;
}

const FILE = /\/adapter_(config\.json|model\.safetensors)$/;
const POINTER = /\/alias\.json$/;
const SLOW_MS = 5_000;
/** A driver gives up then. */
const HANG_MS = 30_000;

/** The store behind all servers. */
export class VirtualStore {
  /** Without faults, for checks. */
  readonly raw: ObjectStore;
  readonly #reporter: Reporter;
  /** Key → its object before the last write. */
  readonly #before = new Map<string, StoredObject & { readonly bytes: Uint8Array }>();
  readonly #reads = new Map<Machine, Map<string, number>>();
  #due: DueFault[] = [];
  /** Called after each write and before each delete. */
  onChange: (op: 'put' | 'delete', key: string) => Promise<void> = async () => {};

  constructor(time: VirtualTime, reporter: Reporter) {
    this.raw = createMemoryStore({ now: () => time.date });
    this.#reporter = reporter;
  }

  /** The next calls have this fault. */
  fail(fault: StoreFault, count: number): void {
    this.#due.push({ fault, count });
  }

  /** Ends all faults. */
  heal(): void {
    this.#due = [];
  }

  /** The store as a machine sees it. Calls of a machine that has died stay without an answer. */
  connect(machine: Machine, name: string): ObjectStore {
    const around = <T>(call: Call, options: StoreCall | undefined, work: () => Promise<T>) =>
      this.#around(call, { machine, name, signal: options?.signal }, work);
    const get = async (key: string, options?: StoreCall) =>
      around({ op: 'get', key }, options, () => this.raw.get(key, options));
    return {
      label: 'virtual',
      get: (key, options) => this.#get(key, options, { machine, get }),
      head: (key, options) =>
        around({ op: 'head', key }, options, () => this.raw.head(key, options)),
      put: async (key: string, source: PutSource, options: PutOptions = {}) => {
        const isConditional = options.ifAbsent !== undefined || options.ifMatch !== undefined;
        return around({ op: 'put', key, isConditional }, options, async () => {
          if (POINTER.test(key)) await this.#remember(key);
          const written = await this.raw.put(key, source, options);
          await this.onChange('put', key);
          return written;
        });
      },
      delete: (key, options) =>
        around({ op: 'delete', key }, options, async () => {
          await this.onChange('delete', key);
          await this.raw.delete(key, options);
        }),
      list: (prefix: string, options?: ListOptions) => this.#list(prefix, options, around),
    };
  }

  async *#list(
    prefix: string,
    options: ListOptions | undefined,
    around: (
      call: Call,
      options: StoreCall | undefined,
      work: () => Promise<void>,
    ) => Promise<void>,
  ) {
    await around({ op: 'list', key: prefix }, options, async () => {});
    yield* this.raw.list(prefix, options);
  }

  async #get(
    key: string,
    options: StoreCall | undefined,
    { machine, get }: { machine: Machine; get: ObjectStore['get'] },
  ): Promise<StoredObject | undefined> {
    const before = this.#before.get(key);
    if (before && this.#take({ op: 'get', key }, ['stale'])) {
      return { ...before, body: bodyOf(before.bytes) };
    }
    const object = await get(key, options);
    if (!object) return object;
    if (this.#take({ op: 'get', key }, ['missing'])) {
      for await (const _ of object.body) break;
      return undefined;
    }
    const fault = this.#take({ op: 'get', key }, ['cut', 'short', 'stall', 'extra', 'flip']);
    const body = fault ? spoil(object.body, fault, machine, options) : object.body;
    return { ...object, body: FILE.test(key) ? this.#counted(body, key, machine) : body };
  }

  /** I11: a server reads a file once at a time. */
  async *#counted(
    body: AsyncIterable<Uint8Array>,
    key: string,
    machine: Machine,
  ): AsyncGenerator<Uint8Array> {
    const reads = this.#reads.get(machine) ?? new Map<string, number>();
    this.#reads.set(machine, reads);
    const count = (reads.get(key) ?? 0) + 1;
    reads.set(key, count);
    if (count > 1) this.#reporter.violated('I11', `${key} is read ${count} times at once`);
    try {
      await sleep(1 + machine.random() * 4, { clock: machine });
      yield* body;
    } finally {
      reads.set(key, reads.get(key)! - 1);
    }
  }

  async #remember(key: string): Promise<void> {
    const object = await this.raw.get(key);
    if (!object) return;
    const bytes = await bytesOf(object.body);
    this.#before.set(key, { ...object, bytes });
  }

  async #around<T>(
    call: Call,
    of: { machine: Machine; name: string; signal: AbortSignal | undefined },
    work: () => Promise<T>,
  ): Promise<T> {
    const { machine, name, signal } = of;
    const wait = (ms: number) => sleep(ms, { clock: machine, signal });
    signal?.throwIfAborted();
    const fault = this.#take(call, [
      'slow',
      'unavailable',
      'denied',
      'hang',
      'conflict',
      'lost',
      'lostConflict',
    ]);
    this.#reporter.trace(`${name} ${call.op} ${call.key}${fault ? ` (${fault})` : ''}`);
    await wait(1 + machine.random() * 4);
    if (fault === 'slow') await wait(SLOW_MS);
    if (fault === 'hang') await wait(HANG_MS);
    if (fault === 'unavailable' || fault === 'hang')
      throw new StoreError('unavailable', '503 SlowDown');
    if (fault === 'denied') throw new StoreError('denied', '403 AccessDenied');
    if (fault === 'conflict') throw new StoreError('conflict', '409 ConditionalRequestConflict');
    const outcome = await work();
    await wait(1 + machine.random() * 4);
    if (fault === 'lost') throw new StoreError('unavailable', 'the answer was lost');
    if (fault === 'lostConflict') throw new StoreError('conflict', '412 PreconditionFailed');
    return outcome;
  }

  #take(call: Call, among: readonly StoreFault[]): StoreFault | undefined {
    const due = this.#due.find(({ fault }) => among.includes(fault) && canHave(call, fault));
    if (!due) return undefined;
    if (--due.count === 0) this.#due = this.#due.filter((other) => other !== due);
    return due.fault;
  }
}

function canHave({ op, key, isConditional = false }: Call, fault: StoreFault): boolean {
  switch (STORE_FAULTS[fault]) {
    case 'any':
      return true;
    case 'get':
      return op === 'get';
    case 'file':
      return op === 'get' && FILE.test(key);
    case 'pointer':
      return op === 'get' && POINTER.test(key);
    case 'write':
      return op === 'put' || op === 'delete';
    case 'swap':
      return op === 'put' && isConditional;
  }
}

async function* spoil(
  body: AsyncIterable<Uint8Array>,
  fault: StoreFault,
  machine: Machine,
  { signal }: StoreCall = {},
): AsyncGenerator<Uint8Array> {
  const bytes = await bytesOf(body);
  const half = bytes.subarray(0, bytes.length >> 1);
  if (fault === 'flip') {
    const flipped = bytes.slice();
    flipped[machine.draw(flipped.length)]! ^= 1 << machine.draw(8);
    yield flipped;
    return;
  }
  if (fault === 'extra') {
    yield bytes;
    yield bytes.subarray(0, 7);
    return;
  }
  yield half;
  if (fault === 'short') return;
  if (fault === 'cut') throw new StoreError('unavailable', 'the connection was reset');
  await sleep(HANG_MS, { clock: machine, signal });
  throw new StoreError('unavailable', 'no byte came');
}

async function* bodyOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Reads a body. */
export async function bytesOf(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

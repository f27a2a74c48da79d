// The engine process of a server, as a child that can crash, stop and be killed. Inside it are the real step loop and the real
// adapter cache; the engine and the channel are virtual.
import type { ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { AdapterCache } from '../../adapters/cache/cache.ts';
import { createAdapterLoader } from '../../adapters/cache/load.ts';
import { sleep } from '../../src/common/waiting.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import {
  type FromEngine,
  HEARTBEAT_FD,
  type SequenceId,
  type ToEngine,
} from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { MODEL } from '../adapters/sample.ts';
import type { Machine, VirtualTime } from './clock.ts';
import { ENGINE, VirtualEngine, watchPrefixes } from './engine.ts';
import { type Bug, type Reporter, replaced, withBug } from './parts.ts';

const START_MS = 300;
const BEAT_MS = 1_000;
const MESSAGE_MS = 0.05;
const LOAD_MS = 30;
/** A full queue takes less than half of this. */
const MAX_WAIT_MS = 5_000;
/** Room for three of the adapters, which have 768 bytes each in memory. */
const CACHE_BYTES = 3 * 768 + 100;

/** What a process is built from. */
export interface ProcessParts {
  readonly time: VirtualTime;
  /** The server that started it. */
  readonly server: Machine;
  /** Distinct for each process. */
  readonly seed: number;
  readonly bug: Bug;
  readonly reporter: Reporter;
  readonly prefillChunk: number;
}

/** The counters that checks of the world read. */
interface Seen {
  /** Sequences with an accepted event and without an end, with their adapter. */
  readonly live: Map<SequenceId, string | undefined>;
  /** Sequences with a slot. */
  readonly running: Set<SequenceId>;
  /** Sequences without a slot, and when they came. */
  readonly waiting: Map<SequenceId, number>;
  /** Aborted sequence → the steps that have ended since. */
  readonly aborted: Map<SequenceId, number>;
  readonly loading: Map<string, number>;
}

/** A child process with an engine. */
export class EngineProcess extends EventEmitter {
  readonly pid: number;
  readonly stdio: unknown[] = [];
  readonly machine: Machine;
  readonly engine: VirtualEngine;
  readonly cache: AdapterCache;
  readonly seen: Seen = {
    live: new Map(),
    running: new Set(),
    waiting: new Map(),
    aborted: new Map(),
    loading: new Map(),
  };
  connected = true;
  /** When it was told to drain. */
  drainedAtMs: number | undefined;
  readonly #parts: ProcessParts;
  readonly #loop: StepLoop;
  readonly #sources = new Map<SequenceId, string | undefined>();
  #isReady = false;

  constructor(parts: ProcessParts) {
    super();
    const { time, seed, bug, reporter, prefillChunk } = parts;
    this.#parts = parts;
    this.pid = seed;
    this.machine = time.machine(seed);
    this.engine = new VirtualEngine(this.machine, reporter);
    this.cache = this.#createCache();
    const engine = withBug(bug, 'engine', this.engine, this.machine);
    const prefixes = watchPrefixes(engine.prefixes!, this.engine);
    this.#loop = new StepLoop({
      engine: replaced(engine, { prefixes }),
      adapters: withBug(bug, 'leases', this.cache, this.machine),
      limits: {
        prefillChunk,
        maxActiveAdapters: ENGINE.maxAdapters,
        reservedSlots: ENGINE.reservedSlots,
      },
      clock: this.machine,
    });
    this.stdio[HEARTBEAT_FD] = new EventEmitter();
    this.machine.schedule(START_MS, () => this.#start());
  }

  /** As `forkProgram` returns it. */
  get child(): ChildProcess {
    return this as unknown as ChildProcess;
  }

  send(message: ToEngine, callback?: (error: Error | null) => void): boolean {
    callback?.(null);
    const handle = withBug(
      this.#parts.bug,
      'handle',
      (received: ToEngine) => this.#loop.handle(received),
      this.machine,
    );
    const copy = structuredClone(message);
    this.machine.schedule(MESSAGE_MS, () => {
      this.#noteReceived(copy);
      handle(copy);
    });
    return true;
  }

  kill(signal: NodeJS.Signals): boolean {
    this.end(null, signal);
    return true;
  }

  /** The process is gone. Its messages on the way still arrive. */
  end(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.machine.isDead) return;
    this.machine.kill();
    this.#parts.reporter.trace(`process ${this.pid} ends ${code ?? signal}`);
    this.#parts.server.schedule(1, () => {
      this.connected = false;
      this.emit('disconnect');
      this.emit('exit', code, signal);
    });
  }

  #start(): void {
    const { bug } = this.#parts;
    this.#isReady = true;
    const beat = () => {
      this.#parts.server.schedule(MESSAGE_MS, () =>
        (this.stdio[HEARTBEAT_FD] as EventEmitter).emit('data', '.'),
      );
      this.machine.schedule(BEAT_MS, beat);
    };
    beat();
    const post = withBug(bug, 'post', (message: FromEngine) => this.#post(message), this.machine);
    this.#loop.run(post).then(
      () => this.end(0, null),
      () => this.end(1, null),
    );
  }

  get isReady(): boolean {
    return this.#isReady && !this.machine.isDead;
  }

  #post(message: FromEngine): void {
    if (this.machine.isDead) return;
    const copy = structuredClone(message);
    this.#noteSent(copy);
    this.#parts.server.schedule(MESSAGE_MS, () => this.emit('message', copy));
  }

  #noteReceived(message: ToEngine): void {
    if (message.type === 'submit') {
      this.#sources.set(message.id, message.adapter?.digest);
      this.seen.waiting.set(message.id, this.machine.now());
    }
    if (message.type === 'abort' && this.seen.live.has(message.id)) {
      this.seen.aborted.set(message.id, 0);
    }
    if (message.type === 'drain') this.drainedAtMs = this.machine.now();
  }

  #noteSent(message: FromEngine): void {
    const { seen } = this;
    const { violated } = this.#parts.reporter;
    if (message.type !== 'step') return;
    for (const event of message.events) {
      if (event.type === 'accepted') seen.live.set(event.id, this.#sources.get(event.id));
      if (event.type === 'admitted') {
        seen.running.add(event.id);
        seen.waiting.delete(event.id);
        if (this.drainedAtMs !== undefined) violated('I22', `${event.id} is admitted in a drain`);
      }
      if (!isTerminal(event)) continue;
      for (const ids of [seen.live, seen.running, seen.waiting, seen.aborted]) ids.delete(event.id);
    }
    if (!message.ran) return;
    if (seen.running.size === 0) this.engine.rested();
    for (const [id, steps] of seen.aborted) {
      if (steps > 0) violated('I21', `${id} is there ${steps + 1} steps after its abort`);
      seen.aborted.set(id, steps + 1);
    }
  }

  #createCache(): AdapterCache {
    const { machine, seen } = this;
    const { violated } = this.#parts.reporter;
    const open = createAdapterLoader(MODEL, { maxRank: 64, canHold: () => true });
    return new AdapterCache({
      capacityBytes: CACHE_BYTES,
      now: machine.now,
      async openAdapter(source: AdapterSource) {
        const opened = await open(source);
        return {
          byteSize: opened.byteSize,
          async load() {
            const { digest } = source;
            const count = (seen.loading.get(digest) ?? 0) + 1;
            seen.loading.set(digest, count);
            if (count > 1) violated('I11', `${digest} is loaded ${count} times at once`);
            try {
              await sleep(LOAD_MS * (0.5 + machine.random()), { clock: machine });
              return await opened.load();
            } finally {
              seen.loading.set(digest, seen.loading.get(digest)! - 1);
            }
          },
        };
      },
    });
  }

  /** Checks what must hold whenever nothing is under way. */
  check(): void {
    if (!this.isReady) return;
    const { violated } = this.#parts.reporter;
    const { seen, cache } = this;
    if (seen.live.size > 0) {
      const resident = cache.resident();
      for (const [id, adapter] of seen.live) {
        if (adapter !== undefined && !resident.includes(adapter)) {
          violated('I05', `the adapter of ${id} was evicted`);
        }
      }
    }
    if (!this.engine.wasFaulty && this.machine.frozenUntilMs === 0) {
      for (const [id, sinceMs] of seen.waiting) {
        const ms = this.machine.now() - sinceMs;
        if (ms > MAX_WAIT_MS) violated('I15', `${id} has waited for ${ms} ms`);
      }
    }
    if (cache.stats().bytes > CACHE_BYTES) violated('I06', 'the cache is over its limit');
  }

  /** Checks what must hold when nothing is left to do. */
  checkIdle(): void {
    if (!this.isReady) return;
    const { leasedCount, loading } = this.cache.stats();
    if (leasedCount + loading === 0) return;
    this.#parts.reporter.violated('I05', `${leasedCount} adapters are in use, but nothing runs`);
  }
}

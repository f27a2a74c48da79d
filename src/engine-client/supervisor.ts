// Keeps one engine process alive: starts it, watches its progress, restarts it and ends it. The client decides what a lost
// process means for its requests.

import type { ChildProcess } from 'node:child_process';
import { ConfigError, ServeError } from '../common/errors.ts';
import { forkProgram } from '../common/fork-program.ts';
import type { Logger } from '../common/log.ts';
import { type Clock, setLoopTimeout, systemClock, withResolvers } from '../common/waiting.ts';
import type { EngineInfo, PrefixEvent } from '../contracts/engine.ts';
import {
  type ChannelHandlers,
  type EngineChannel,
  type EngineState,
  type FromEngine,
  HEARTBEAT_FD,
  type ToEngine,
} from '../scheduler/protocol.ts';
import { RunTimes, Watchdog, type WatchdogLimits } from './watchdog.ts';

/** After three crashes in five minutes the server exits, and its own supervisor takes over. */
const CRASHES_TO_GIVE_UP = 3;
const CRASH_WINDOW_MS = 5 * 60_000;
/** A process that had served for this long before something killed it is not part of a crash loop. */
const STABLE_MS = 30_000;
/** Delays before the first and the second restart in a window. */
const RESTART_DELAYS_MS: readonly number[] = [100, 1_000];
/** After a drain's deadline, the process still has to end its streams and release memory. */
const DRAIN_GRACE_MS = 2_000;

/** How this supervisor ends a process, and the log level of its line. */
const END_LEVELS = { killed: 'error', replaced: 'warn' } as const;

/** The child program and its time limits. */
export interface SupervisorOptions extends Partial<WatchdogLimits> {
  /** The program of the child process. */
  entry: URL;
  /** The options of that program, as JSON. */
  hostOptions: unknown;
  log: Logger;
  /** Called if the supervisor gave up or the process refused its options. Nothing will be served any more. */
  onFatal: (error: Error) => void;
  /** Called with the changes of the prefix cache, if the engine records them, and when the cache is lost with its process. */
  onPrefixes?: (events: readonly PrefixEvent[]) => void;
  restartDelaysMs?: readonly number[];
  /** How long a process must have been ready for a kill from outside not to count as a crash. */
  stableMs?: number;
  /** Runs before every start except the first. If it rejects, the supervisor gives up with that error. */
  prepareRestart?: () => Promise<void>;
  clock?: Clock;
  /** Starts the child process. */
  fork?: typeof forkProgram;
}

/** The channel to an engine in a child process. */
export class Supervisor implements EngineChannel {
  readonly #options: Required<SupervisorOptions>;
  readonly #handlers: ChannelHandlers;
  readonly #ended = withResolvers<void>();
  #state: EngineState = 'starting';
  #ready = withResolvers<EngineInfo>();
  #model: EngineInfo | undefined;
  /** The current process. Messages from any other process are ignored. */
  #child: ChildProcess | undefined;
  #crashTimes: number[] = [];
  /** Watches a ready process. */
  #watchdog: Watchdog | undefined;
  /** Survives the processes, because it describes this machine. */
  readonly #runTimes = new RunTimes();
  /** When the current process became ready, in monotonic milliseconds. Undefined until then. */
  #readyAtMs: number | undefined;
  /** Processes that this supervisor ended. A replacement does not count as a crash. */
  readonly #endings = new WeakMap<ChildProcess, keyof typeof END_LEVELS>();
  #cancelRestart = () => {};

  constructor(options: SupervisorOptions, handlers: ChannelHandlers) {
    this.#options = {
      firstRunBudgetMs: 60_000,
      graceMs: 15_000,
      terminationMs: 2_000,
      silenceBudgetMs: 15_000,
      onPrefixes: () => {},
      restartDelaysMs: RESTART_DELAYS_MS,
      stableMs: STABLE_MS,
      prepareRestart: async () => {},
      clock: systemClock,
      fork: forkProgram,
      ...options,
    };
    this.#handlers = handlers;
    this.#start();
  }

  get state(): EngineState {
    return this.#state;
  }

  get model(): EngineInfo | undefined {
    return this.#model;
  }

  get isProgressing(): boolean {
    return this.#watchdog?.isProgressing ?? true;
  }

  whenReady(): Promise<EngineInfo> {
    return this.#ready.promise;
  }

  /** Sends a message. If there is no process, drops it: `onLost` fails its sequence. */
  send(message: ToEngine): void {
    this.#child?.send(message, () => {}); // if sending fails, the channel closes
  }

  /** Kills the process and starts another. */
  kill(reason: string): void {
    this.#end('killed', reason);
  }

  /** Ends the process, which fails its requests, and starts another after `prepareRestart`. */
  restart(reason: string): void {
    this.#end('replaced', reason);
  }

  /** Lets streams end until the deadline; a second drain ends them immediately. Resolves when the process is gone. */
  async drain(deadlineMs: number): Promise<void> {
    const child = this.#child;
    const wasReady = this.#state === 'ready';
    this.#stop(new ServeError('overloaded', 'The server is shutting down. Try again.'));
    this.#cancelRestart();
    if (!child) {
      this.#ended.resolve();
    } else if (wasReady) {
      child.send({ type: 'drain', deadlineMs } satisfies ToEngine, () => {});
      const kill = () => child.kill('SIGKILL');
      const cancelKill = setLoopTimeout(kill, deadlineMs + DRAIN_GRACE_MS, this.#options.clock);
      void this.#ended.promise.then(cancelKill);
    } else {
      child.kill('SIGKILL');
    }
    await this.#ended.promise;
  }

  #start(): void {
    const { entry, hostOptions, fork } = this.#options;
    const child = fork(entry, [JSON.stringify(hostOptions), String(HEARTBEAT_FD)], {
      serialization: 'advanced',
      // Native code may print, so its stdout goes to our stderr. The last entry is HEARTBEAT_FD.
      stdio: ['ignore', 2, 2, 'ipc', 'pipe'],
    });
    this.#child = child;
    this.#readyAtMs = undefined;
    child.stdio[HEARTBEAT_FD]
      ?.on('error', () => {})
      .on('data', () => {
        if (this.#child === child) this.#watchdog?.beat();
      });
    child.on('message', (message) => {
      if (this.#child === child) this.#receive(message as FromEngine);
    });
    child.once('disconnect', () => this.#lose(child));
    void processEnd(child).then((end) => this.#onEnded(child, end));
  }

  #receive(message: FromEngine): void {
    switch (message.type) {
      case 'ready':
        if (this.#state === 'stopped') break;
        this.#model = message.model;
        this.#state = 'ready';
        this.#readyAtMs = this.#options.clock.now();
        this.#watch();
        this.#ready.resolve(message.model);
        break;
      case 'refused':
        this.#giveUp(new ConfigError(message.message));
        break;
      case 'prefixes':
        this.#options.onPrefixes(message.events);
        break;
      case 'log':
        this.#options.log[message.level](message.fields ?? {}, message.message);
        break;
      default:
        this.#handlers.onMessage(message);
        if (message.type === 'running') this.#watchdog?.began(message.size);
        if (message.type === 'step' && message.ran) this.#watchdog?.stepped();
    }
  }

  #watch(): void {
    const { silenceBudgetMs, terminationMs } = this.#options;
    this.#watchdog = new Watchdog({
      ...this.#options,
      runTimes: this.#runTimes,
      isWaiting: this.#handlers.isWaiting,
      onOverdue: (ms) => {
        const fields = { pid: this.#child?.pid, ms };
        this.#options.log.error(fields, 'an engine run takes too long and is being terminated');
        this.#handlers.onStuck();
        this.send({ type: 'terminate' });
      },
      onStuck: () => this.kill(`its run did not end within ${terminationMs} ms of its termination`),
      onSilent: () => this.kill(`no sign of life within ${silenceBudgetMs} ms`),
    });
  }

  /** Ends the process, unless another one is about to start. */
  #end(how: keyof typeof END_LEVELS, reason: string): void {
    const child = this.#child;
    if (!child) return;
    this.#options.log[END_LEVELS[how]]({ pid: child.pid }, `engine process ${how}: ${reason}`);
    this.#endings.set(child, how);
    child.kill('SIGKILL');
    this.#lose(child);
  }

  /** Forgets the process. Later messages from it are ignored. */
  #lose(child: ChildProcess): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#watchdog?.stop();
    this.#watchdog = undefined;
    if (this.#state === 'ready') {
      this.#state = 'restarting';
      this.#ready = withResolvers();
    }
    this.#handlers.onLost();
    this.#options.onPrefixes([{ type: 'cleared' }]);
    if (this.#state !== 'stopped') child.kill('SIGKILL'); // it is useless without a channel
  }

  #onEnded(child: ChildProcess, end: ProcessEnd): void {
    this.#lose(child);
    if (this.#state === 'stopped') {
      this.#ended.resolve();
      return;
    }
    if (this.#endings.get(child) === 'replaced') {
      void this.#startAgain();
      return;
    }
    if (end.isOwnFault) this.#handlers.onCrashed();
    const { clock } = this.#options;
    const now = clock.now();
    this.#crashTimes = this.#crashTimes.filter((time) => now - time < CRASH_WINDOW_MS);
    const servedMs = now - (this.#readyAtMs ?? now);
    const isFromOutside = !end.isOwnFault && !this.#endings.has(child);
    if (!isFromOutside || servedMs < this.#options.stableMs) this.#crashTimes.push(now);
    const crashes = this.#crashTimes.length;
    this.#options.log.error({ pid: child.pid, crashes }, `engine process ended: ${end.reason}`);
    if (crashes >= CRASHES_TO_GIVE_UP) {
      const message = `The engine crashed ${crashes} times. The log gives the reasons.`;
      this.#giveUp(new ServeError('engine_restarting', message));
      return;
    }
    const delayMs = this.#options.restartDelaysMs[Math.max(0, crashes - 1)];
    this.#cancelRestart = clock.schedule(delayMs ?? 0, () => void this.#startAgain());
  }

  async #startAgain(): Promise<void> {
    try {
      await this.#options.prepareRestart();
    } catch (error) {
      if (this.#state !== 'stopped') this.#giveUp(error as Error);
      return;
    }
    if (this.#state !== 'stopped') this.#start();
  }

  #giveUp(error: Error): void {
    this.#stop(error);
    if (!this.#child) this.#ended.resolve();
    this.#options.onFatal(error);
  }

  #stop(error: Error): void {
    if (this.#state === 'ready') this.#ready = withResolvers();
    this.#state = 'stopped';
    this.#ready.reject(error);
  }
}

/** Signals that mean the process failed by itself. Others, such as SIGKILL, come from outside. */
const FAULT_SIGNALS = /^SIG(ABRT|BUS|FPE|ILL|SEGV|SYS|TRAP)$/;

/** How a process ended. */
interface ProcessEnd {
  readonly reason: string;
  /** Whether the process ended itself, by a fault in native code or an uncaught error. */
  readonly isOwnFault: boolean;
}

function endOf(code: number | null, signal: NodeJS.Signals | null): ProcessEnd {
  if (!signal) return { reason: `exit code ${code ?? 0}`, isOwnFault: true };
  const suffix =
    signal === 'SIGKILL' ? ' (out of memory, killed by the watchdog, or by somebody else)' : '';
  return { reason: `${signal}${suffix}`, isOwnFault: FAULT_SIGNALS.test(signal) };
}

/** Resolves when the process has exited and its last message has been read, or when it could not start. */
function processEnd(child: ChildProcess): Promise<ProcessEnd> {
  return new Promise((resolve) => {
    let end: ProcessEnd | undefined;
    const resolveIfOver = () => {
      if (end !== undefined && !child.connected) resolve(end);
    };
    child.on('error', (error) => {
      if (child.pid === undefined) resolve({ reason: error.message, isOwnFault: false });
    });
    child.once('exit', (code, signal) => {
      end = endOf(code, signal);
      resolveIfOver();
    });
    child.once('disconnect', resolveIfOver);
  });
}

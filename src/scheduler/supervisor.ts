// Keeps one engine process alive: starts it, watches that it makes progress, restarts it, ends it.
// Knows no sequence: what a lost process means for its requests is the client's.
import { type ChildProcess, fork } from 'node:child_process';
import { ConfigError, ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { ChannelHandlers, EngineChannel, EngineState } from './channel.ts';
import { HEARTBEAT_FD } from './heartbeat.ts';
import { setLoopTimeout } from './loop-timeout.ts';
import { describeEnd, isOwnFault, type ProcessEnd, processEnd } from './process-end.ts';
import type { EngineModelInfo, FromEngine, ToEngine } from './protocol.ts';
import { Watchdog } from './watchdog.ts';

/** Three crashes in five minutes are no accident: a keeper above this process sees the exit code. */
const CRASHES_TO_GIVE_UP = 3;
const CRASH_WINDOW_MS = 5 * 60_000;
/** Before the first and before the second restart of a window. */
const RESTART_DELAYS_MS: readonly number[] = [100, 1_000];
/** After a drain's deadline the process still has to answer its streams and to release memory. */
const DRAIN_GRACE_MS = 2_000;

export interface SupervisorOptions {
  /** The child's program. */
  entry: URL;
  /** JSON: the program's options. */
  hostOptions: unknown;
  log: Logger;
  /** The supervisor gave up, or the process refused its options: nothing will be served any more. */
  onFatal: (error: Error) => void;
  /** How long a step may take while work waits, before the process is killed. */
  stepBudgetMs?: number;
  /** How long a ready process may give no sign of life, before it is killed. */
  silenceBudgetMs?: number;
  restartDelaysMs?: readonly number[];
  /** Runs before every start but the first. A rejection is final: the supervisor gives up with it. */
  prepareRestart?: () => Promise<void>;
}

export class Supervisor implements EngineChannel {
  readonly #options: Required<SupervisorOptions>;
  readonly #handlers: ChannelHandlers;
  readonly #ended = withResolvers<void>();
  #state: EngineState = 'starting';
  #ready = withResolvers<EngineModelInfo>();
  #model: EngineModelInfo | undefined;
  /** The process that counts: messages of any other are ignored. */
  #child: ChildProcess | undefined;
  /** Ended by `restart`: that is no crash. */
  #replaced: ChildProcess | undefined;
  #crashTimes: number[] = [];
  /** Of a ready process. */
  #watchdog: Watchdog | undefined;
  /** The process was killed because a step did not end. */
  #stuckChild: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;

  constructor(options: SupervisorOptions, handlers: ChannelHandlers) {
    this.#options = {
      stepBudgetMs: 60_000,
      silenceBudgetMs: 15_000,
      restartDelaysMs: RESTART_DELAYS_MS,
      prepareRestart: async () => {},
      ...options,
    };
    this.#handlers = handlers;
    this.#start();
  }

  get state(): EngineState {
    return this.#state;
  }

  get model(): EngineModelInfo | undefined {
    return this.#model;
  }

  get isProgressing(): boolean {
    return this.#watchdog?.isProgressing ?? true;
  }

  whenReady(): Promise<EngineModelInfo> {
    return this.#ready.promise;
  }

  /** Lost where there is no process: `onLost` has answered, or will. */
  send(message: ToEngine): void {
    this.#child?.send(message, () => {}); // a failed send is followed by the channel's end
  }

  /** The process cannot be trusted any more: killed at once, started anew. */
  distrust(reason: string): void {
    const child = this.#child;
    if (!child) return;
    this.#options.log.error({ pid: child.pid }, `engine process killed: ${reason}`);
    child.kill('SIGKILL');
    this.#lose(child);
  }

  /** Ends the process, whose requests fail, and starts another after `prepareRestart`. */
  restart(reason: string): void {
    const child = this.#child;
    if (!child) return; // another is about to be started
    this.#options.log.warn({ pid: child.pid }, `engine process replaced: ${reason}`);
    this.#replaced = child;
    child.kill('SIGKILL');
    this.#lose(child);
  }

  /** Streams end by themselves, by the deadline, or at once by a second drain; then the process is gone. */
  async drain(deadlineMs: number): Promise<void> {
    const child = this.#child;
    const wasReady = this.#state === 'ready';
    this.#stop(new ServeError('overloaded', 'The server is shutting down.'));
    clearTimeout(this.#restart);
    if (!child) {
      this.#ended.resolve();
    } else if (wasReady) {
      child.send({ type: 'drain', deadlineMs } satisfies ToEngine, () => {});
      const cancelKill = setLoopTimeout(() => child.kill('SIGKILL'), deadlineMs + DRAIN_GRACE_MS);
      void this.#ended.promise.then(cancelKill);
    } else {
      child.kill('SIGKILL');
    }
    await this.#ended.promise;
  }

  #start(): void {
    const { entry, hostOptions } = this.#options;
    const child = fork(entry, [JSON.stringify(hostOptions), String(HEARTBEAT_FD)], {
      execArgv: entry.pathname.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [],
      serialization: 'advanced',
      // What native code prints is no answer of ours. The last is HEARTBEAT_FD.
      stdio: ['ignore', 2, 2, 'ipc', 'pipe'],
    });
    this.#child = child;
    child.stdio[HEARTBEAT_FD]
      ?.on('error', () => {})
      .on('data', () => {
        if (this.#child === child) this.#watchdog?.beat();
      });
    child.on('message', (message) => {
      if (this.#child === child) this.#receive(message as FromEngine);
    });
    child.once('disconnect', () => this.#lose(child));
    const killWithServer = () => child.kill('SIGKILL'); // stuck, it does not see the channel close
    process.once('exit', killWithServer);
    void processEnd(child).then((how) => {
      process.off('exit', killWithServer);
      this.#onEnded(child, how);
    });
  }

  #receive(message: FromEngine): void {
    switch (message.type) {
      case 'ready':
        if (this.#state === 'stopped') break;
        this.#model = message.model;
        this.#state = 'ready';
        this.#watch();
        this.#ready.resolve(message.model);
        break;
      case 'refused':
        this.#giveUp(new ConfigError([message.message]));
        break;
      case 'log':
        this.#options.log[message.level](message.fields ?? {}, message.message);
        break;
      default:
        this.#handlers.onMessage(message);
        if (message.type === 'step' && message.ran) this.#watchdog?.stepped();
    }
  }

  #watch(): void {
    const { stepBudgetMs, silenceBudgetMs } = this.#options;
    this.#watchdog = new Watchdog({
      stepBudgetMs,
      silenceBudgetMs,
      isWaiting: this.#handlers.isWaiting,
      onStuck: () => {
        this.#stuckChild = this.#child;
        this.distrust(`no step within ${stepBudgetMs} ms while work waits`);
      },
      onSilent: () => this.distrust(`no sign of life within ${silenceBudgetMs} ms`),
    });
  }

  /** Every message of the process that will ever count has been read. */
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
    if (this.#state !== 'stopped') child.kill('SIGKILL'); // without a channel it is of no use
  }

  #onEnded(child: ChildProcess, how: ProcessEnd): void {
    this.#lose(child);
    if (this.#state === 'stopped') {
      this.#ended.resolve();
      return;
    }
    if (this.#replaced === child) {
      void this.#startAgain();
      return;
    }
    if (this.#stuckChild === child || isOwnFault(how)) this.#handlers.onCrashed();
    const now = performance.now();
    this.#crashTimes = this.#crashTimes.filter((time) => now - time < CRASH_WINDOW_MS);
    this.#crashTimes.push(now);
    const crashes = this.#crashTimes.length;
    this.#options.log.error(
      { pid: child.pid, crashes },
      `engine process ended: ${describeEnd(how)}`,
    );
    if (crashes >= CRASHES_TO_GIVE_UP) {
      this.#giveUp(new ServeError('engine_restarting', `The engine crashed ${crashes} times.`));
      return;
    }
    const delayMs = this.#options.restartDelaysMs[crashes - 1];
    this.#restart = setTimeout(() => void this.#startAgain(), delayMs);
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

interface Resolvers<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
}

/** `Promise.withResolvers` of Node 22. */
function withResolvers<T>(): Resolvers<T> {
  let resolvers: Omit<Resolvers<T>, 'promise'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    resolvers = { resolve, reject };
  });
  promise.catch(() => {}); // who waits is told; nobody may wait
  return { promise, ...resolvers! };
}

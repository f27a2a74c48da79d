// Runs tasks one at a time, or a few at a time. Tenants alternate, so that a tenant with many tasks does not delay another's
// single task.
import { ServeError } from './errors.ts';
import { smallest } from './long-arrays.ts';
import { type Resolvers, unlessAborted, withResolvers } from './waiting.ts';

/** The tenant that wants a task done, and the signal that ends its wait. */
export interface Caller {
  readonly tenant: string;
  /** Ends the wait. A task that has started still runs to its end. */
  readonly signal?: AbortSignal | undefined;
}

/** The limits of a queue, and its refusal. */
interface TurnQueueOptions {
  /** The most tasks of all tenants. */
  readonly maxWaiting: number;
  /** The most tasks of one tenant. Default: half of all. */
  readonly maxPerTenant?: number;
  /** How many tasks run concurrently. Default: 1. */
  readonly maxParallel?: number;
  /** The message to a client if the queue is full. */
  readonly fullMessage?: string;
}

const FULL = 'Too many requests are being prepared. Try again later.';

/** A task that waits or runs. */
interface Task extends Resolvers<unknown> {
  readonly key: unknown;
  run(): Promise<unknown>;
  isRunning: boolean;
  /** The tenant of each caller. */
  readonly wantedBy: string[];
}

/** Queues tasks and alternates between tenants. */
export class TurnQueue {
  readonly #options: Required<TurnQueueOptions>;
  readonly #tasks = new Map<unknown, Task>();
  /** Tenant → its waiting tasks, oldest first. The tenants are in the order of their turns. */
  readonly #waiting = new Map<string, Task[]>();
  /** The tenant in whose turn each running task began. */
  readonly #running: string[] = [];

  constructor({ maxWaiting, ...options }: TurnQueueOptions) {
    const defaults = { maxPerTenant: maxWaiting / 2, maxParallel: 1, fullMessage: FULL };
    this.#options = { maxWaiting, ...defaults, ...options };
  }

  /** The tasks that run or wait. */
  get size(): number {
    return this.#tasks.size;
  }

  /**
   * Runs a task when its turn comes, and settles as the task does. Callers with the same key share one task, which runs at the
   * first turn of any of their tenants. A tenant's task keeps its position until none of its callers is left. Without a key the
   * task is the caller's alone. Rejects with the reason of the caller's signal, and with `ServeError` if too many tasks wait:
   * `rate_limit_exceeded` if they belong to its tenant, else `overloaded`.
   */
  async take<T>({ tenant, signal }: Caller, run: () => Promise<T>, key: unknown = run): Promise<T> {
    signal?.throwIfAborted();
    const task = this.#tasks.get(key) ?? newTask(key, run);
    if (!task.isRunning && !task.wantedBy.includes(tenant)) {
      this.#requireRoom(tenant);
      this.#waiting.set(tenant, [...(this.#waiting.get(tenant) ?? []), task]);
    }
    this.#tasks.set(key, task);
    task.wantedBy.push(tenant);
    this.#startNext();
    try {
      return (await unlessAborted(task.promise, signal)) as T;
    } finally {
      this.#leave(tenant, task);
    }
  }

  #requireRoom(tenant: string): void {
    const ownLength = this.#waiting.get(tenant)?.length ?? 0;
    const all = [...this.#waiting.values()].reduce((sum, { length }) => sum + length, 0);
    const { maxWaiting, maxPerTenant, fullMessage } = this.#options;
    if (all >= maxWaiting) throw new ServeError('overloaded', fullMessage);
    if (ownLength < maxPerTenant) return;
    const message = 'Too many of your requests are being prepared. Wait until some are answered.';
    throw new ServeError('rate_limit_exceeded', message);
  }

  #startNext(): void {
    if (this.#running.length >= this.#options.maxParallel) return;
    // Picks the next of the tenants with the fewest running tasks.
    const runningOf = (of: string) => this.#running.filter((tenant) => tenant === of).length;
    const tenants = [...this.#waiting.keys()];
    const fewest = smallest(tenants.map(runningOf));
    const tenant = tenants.find((one) => runningOf(one) === fewest);
    if (tenant === undefined) return;
    const [task] = this.#waiting.get(tenant)!;
    for (const wanting of task!.wantedBy) this.#remove(wanting, task!);
    const rest = this.#waiting.get(tenant);
    if (rest) {
      this.#waiting.delete(tenant); // it comes after the others
      this.#waiting.set(tenant, rest);
    }
    void this.#run(task!, tenant);
  }

  async #run(task: Task, tenant: string): Promise<void> {
    this.#running.push(tenant);
    task.isRunning = true;
    try {
      task.resolve(await task.run());
    } catch (error) {
      task.reject(error as Error);
    }
    this.#tasks.delete(task.key);
    this.#running.splice(this.#running.indexOf(tenant), 1);
    this.#startNext();
  }

  /** Forgets a caller, and with the last caller a task that has not started. */
  #leave(tenant: string, task: Task): void {
    task.wantedBy.splice(task.wantedBy.indexOf(tenant), 1);
    if (task.isRunning) return;
    if (!task.wantedBy.includes(tenant)) this.#remove(tenant, task);
    if (task.wantedBy.length === 0) this.#tasks.delete(task.key);
  }

  #remove(tenant: string, task: Task): void {
    const rest = this.#waiting.get(tenant)?.filter((other) => other !== task) ?? [];
    if (rest.length > 0) this.#waiting.set(tenant, rest);
    else this.#waiting.delete(tenant);
  }
}

function newTask(key: unknown, run: () => Promise<unknown>): Task {
  return { key, run, isRunning: false, wantedBy: [], ...withResolvers<unknown>() };
}

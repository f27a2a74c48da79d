// The trainer process that serves: sends tasks, and matches replies to them. Starts with the first task; if it dies, its models
// are gone, and the next task starts another one. A client waits for its tasks, so it has the priority of the server.
import { ServeError } from '../common/errors.ts';
import { type Resolvers, withResolvers } from '../common/waiting.ts';
import type { Fault, TrainerRequest } from '../contracts/training-messages.ts';
import type {
  ServiceCall,
  ServiceCalls,
  ServiceResult,
  ServiceTask,
} from '../contracts/training-service.ts';
import { TrainerChild, type TrainerChildOptions } from '../jobs/trainer-child.ts';

/** Settings of a `TrainingProcess`. */
export interface TrainingProcessOptions {
  readonly request: TrainerRequest;
  readonly child: Pick<TrainerChildOptions, 'log'>;
}

/** A trainer process, and the tasks that it has not answered. */
interface Running {
  readonly child: TrainerChild;
  readonly pending: Map<number, Resolvers<ServiceResult>>;
}

/** The trainer ended during a task, or before it. */
export class TrainerLost extends ServeError {
  constructor(message = 'The trainer has ended.') {
    super('internal_error', message);
  }
}

/** A trainer, as the protocol sees it. */
export type Trainer = Pick<TrainingProcess, 'holder' | 'perform' | 'end' | 'kill'>;

/** A trainer in a process. */
export class TrainingProcess {
  readonly #options: TrainingProcessOptions;
  #running: Running | undefined;
  #lastId = 0;
  #isClosed = false;

  constructor(options: TrainingProcessOptions) {
    this.#options = options;
  }

  /** The process, which holds the models. Undefined if there is none. Another process is another object. */
  get holder(): object | undefined {
    return this.#running;
  }

  /** Performs a task. Rejects with `ServeError` if the trainer refuses it, and with `TrainerLost` if it ends. */
  perform<K extends ServiceCall>(
    task: Extract<ServiceTask, { kind: K }>,
  ): Promise<ServiceCalls[K]['result']> {
    if (this.#isClosed) return Promise.reject(new TrainerLost());
    this.#running ??= this.#start();
    const { child, pending } = this.#running;
    const id = ++this.#lastId;
    const reply = withResolvers<ServiceResult>();
    pending.set(id, reply);
    child.send({ type: 'task', id, task });
    return reply.promise as Promise<ServiceCalls[K]['result']>;
  }

  /** Ends the process after its task. The next task starts another one. */
  end(): void {
    this.#running?.child.pause();
    this.#running = undefined;
  }

  /** Ends the process for good, in the middle of a task, which may take minutes. */
  kill(): void {
    this.#isClosed = true;
    this.#running?.child.kill();
  }

  #start(): Running {
    const { request, child: options } = this.#options;
    const how = { ...options, niceness: 0, serialization: 'advanced' } as const;
    const child = new TrainerChild(request, 'tinker', how);
    const running = { child, pending: new Map<number, Resolvers<ServiceResult>>() };
    void this.#receive(running);
    return running;
  }

  async #receive(running: Running): Promise<void> {
    const { child, pending } = running;
    let fault: Fault | undefined;
    for await (const message of child.messages) {
      if (message.type === 'fault') fault = message;
      if (message.type !== 'done' && message.type !== 'refused') continue;
      const reply = pending.get(message.id);
      pending.delete(message.id);
      if (message.type === 'done') reply?.resolve(message.result);
      else reply?.reject(toError(message.fault));
    }
    if (this.#running === running) this.#running = undefined;
    const error = new TrainerLost((fault ?? (await child.death)).message);
    for (const { reject } of pending.values()) reject(error);
  }
}

/** Returns the error for a client: its own mistakes are 400. */
function toError({ code, message, param }: Fault): ServeError {
  const isOwn = code === 'invalid_request' || code === 'non_finite_loss';
  return new ServeError(
    isOwn ? 'invalid_request' : 'internal_error',
    message,
    param === null ? {} : { param },
  );
}

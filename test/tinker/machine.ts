// A server's part for training loops in this process, over the real trainer of a tiny model and a store in memory.
import assert from 'node:assert/strict';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ServiceCalls, ServiceTask } from '../../src/contracts/training-service.ts';
import {
  SESSIONS_FOLDER,
  type TinkerOptions,
  TinkerService,
} from '../../src/tinker/tinker-service.ts';
import { type Trainer, TrainerLost } from '../../src/tinker/training-process.ts';
import { TrainService } from '../../trainer/service/train-service.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';

const { artifact } = tinyModel();
export const TENANT = 'acme';
export const ADAPTER = {
  rank: 2,
  seed: 1,
  trainsMlp: true,
  trainsAttention: true,
  trainsHead: true,
};

/** A trainer without a process of its own. `end` and `kill` forget its models, as if it had been killed. */
class LocalTrainer implements Trainer {
  readonly performed: string[] = [];
  /** Called after each task. */
  onPerformed: () => unknown = () => {};
  readonly #directory: string;
  #isClosed = false;
  holder: TrainService | undefined;

  constructor(t: TestContext) {
    this.#directory = temporaryFolder(t);
  }

  async perform<K extends keyof ServiceCalls>(task: Extract<ServiceTask, { kind: K }>) {
    if (this.#isClosed) throw new TrainerLost();
    this.holder ??= new TrainService({ artifact, threads: 1, directory: this.#directory });
    this.performed.push(task.kind);
    const result = await this.holder.perform(task);
    await this.onPerformed();
    return result as ServiceCalls[K]['result'];
  }

  end() {
    this.holder = undefined;
  }

  kill() {
    this.#isClosed = true;
    this.end();
  }
}

export interface Server {
  readonly service: TinkerService;
  readonly trainer: LocalTrainer;
  readonly warnings: string[];
}

const noAnswer: TinkerOptions['answer'] = () => assert.fail('nothing is sampled');

/** A machine on which servers follow each other. */
export function startMachine(t: TestContext) {
  const directory = temporaryFolder(t);
  const store = createMemoryStore();
  let last: Server | undefined;
  t.after(() => last?.service.close());
  /** Starts a server after the last one was killed. It may still read the last one's sessions. */
  const open = ({ objects = store, answer = noAnswer } = {}): Server => {
    last?.service.close();
    const trainer = new LocalTrainer(t);
    const warnings: string[] = [];
    const service = new TinkerService({
      store: objects,
      repository: createRepository(objects),
      onPublished() {},
      now: Date.now,
      base: { digest: 'b'.repeat(64), names: [] },
      bounds: { vocabSize: 96, maxLength: 32, maxContext: 64 },
      log: { warn: (_: object, text: string) => warnings.push(text), error() {} } as never,
      process: trainer,
      directory,
      limits: { maxModels: 4, maxRank: 8 },
      answer,
      maxSampling: () => 1,
    });
    last = { service, trainer, warnings };
    return last;
  };
  return {
    store,
    folderOf: (session: string) => path.join(directory, SESSIONS_FOLDER, session),
    open,
    /** Starts a server as `open`, and waits until it continues the sessions. */
    async serve(options: Parameters<typeof open>[0] = {}): Promise<Server> {
      const server = open(options);
      await server.service.sessions.whenReopened(TENANT);
      return server;
    },
  };
}

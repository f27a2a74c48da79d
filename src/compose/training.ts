// Runs trainers for the command line and for a cluster. Each trainer is a separate process.
import path from 'node:path';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { openStore } from '../../adapters/store/open-store.ts';
import { Attempt, isAttemptPrefix } from '../cluster/attempt.ts';
import { runPod } from '../cluster/run-pod.ts';
import { UsageError } from '../common/errors.ts';
import { createLog } from '../common/log.ts';
import type {
  PauseMessage,
  TrainerMessage,
  TrainerRequest,
} from '../contracts/training-messages.ts';
import { readArtifactInfo } from '../import/artifact.ts';
import { createChildRunner } from '../jobs/child-runner.ts';
import { forkTrainer } from '../jobs/trainer-child.ts';
import { findBase } from './base.ts';
import type { ProgramContext } from './context.ts';

/** How the caller observes a trainer. */
export interface TrainerOptions {
  /** Aborted to make the trainer pause. */
  readonly signal: AbortSignal;
  onMessage(message: TrainerMessage): void;
}

/** Starts a trainer for one request. Resolves with its exit code. */
export function runTrainer(
  request: TrainerRequest,
  { signal, onMessage }: TrainerOptions,
): Promise<number> {
  const child = forkTrainer(request);
  const pause = () => {
    if (child.connected) child.send({ type: 'pause' } satisfies PauseMessage);
  };
  signal.addEventListener('abort', pause);
  if (signal.aborted) pause(); // before this module was loaded
  child.on('message', (message) => onMessage(message as TrainerMessage));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    // Unlike `exit`, `close` comes after the last message. A child that a signal ended has no exit code and counts as failed.
    child.on('close', (code) => resolve(code ?? 1));
  });
}

/**
 * Runs one attempt at a job, in a pod started by the cluster's runner. Resolves with the exit code.
 * @param prefix the attempt's folder in the store
 */
export async function runTrainerPod(
  prefix: string,
  { config, signal, reporter }: ProgramContext,
): Promise<number> {
  if (!isAttemptPrefix(prefix)) {
    throw new UsageError(`train-job: ${prefix} does not name an attempt at a job`);
  }
  const log = createLog(config.logLevel);
  const store = guardStore(await openStore(config), log);
  const podReporter = { ...reporter, notify: (text: string) => log.info(text) };
  return runPod({
    attempt: new Attempt(store, prefix),
    dir: path.join(config.home, 'jobs', 'pod'),
    async findBase() {
      const dir = path.resolve(
        await findBase(config.model, { config, signal, reporter: podReporter }),
      );
      return { dir, digest: readArtifactInfo(dir).digest };
    },
    runner: createChildRunner({ log, toolFormat: config.toolFormat }),
    signal,
    log,
  });
}

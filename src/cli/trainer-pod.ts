// `train-job`, the program of a trainer's pod: opens the store that the settings name, finds the base, and does what the
// attempt's ticket says. Whoever starts it is the cluster.
import path from 'node:path';
import { openStore } from '../../adapters/store/open-store.ts';
import { Attempt, isAttemptPrefix } from '../cluster/attempt.ts';
import { runPod } from '../cluster/run-pod.ts';
import { UsageError } from '../common/errors.ts';
import { createLog } from '../common/log.ts';
import { readArtifact } from '../import/artifact.ts';
import { createChildRunner } from '../jobs/child-runner.ts';
import { guardStore } from '../jobs/guarded-store.ts';
import type { Config } from '../settings/config.ts';
import { chooseBase } from './choose-base.ts';
import { listenForInterrupt } from './terminal.ts';

/** @returns the exit code */
export async function runTrainerPod(prefix: string, config: Config): Promise<number> {
  if (!isAttemptPrefix(prefix)) throw new UsageError('train-job: names no attempt at a job');
  const log = createLog(config.logLevel);
  const signal = listenForInterrupt();
  const store = guardStore(await openStore(config), log);
  const notify = (text: string) => log.info(text);
  return runPod({
    attempt: new Attempt(store, prefix),
    dir: path.join(config.home, 'jobs', 'pod'),
    async findBase() {
      const dir = path.resolve(await chooseBase(config.model, { config, signal, notify }));
      const { info, tensors } = readArtifact(dir);
      tensors.close();
      return { dir, digest: info.digest };
    },
    runner: createChildRunner({ log }),
    signal,
    log,
  });
}

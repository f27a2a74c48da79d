// The runner of a server's trainers, as the settings say. What only a cluster needs is loaded where there is one.
import type { ObjectStore } from '../../adapters/store/store.ts';
import { ConfigError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { createChildRunner } from '../jobs/child-runner.ts';
import { guardStore } from '../jobs/guarded-store.ts';
import type { JobRunner } from '../jobs/runner.ts';
import type { Config } from '../settings/config.ts';

export interface OpenRunnerOptions {
  readonly store: ObjectStore;
  readonly baseDigest: string;
  readonly log: Logger;
}

export async function openRunner(
  config: Config,
  { store, baseDigest, log }: OpenRunnerOptions,
): Promise<JobRunner> {
  const beside = createChildRunner({ log, threads: config.trainThreads });
  if (config.trainRunner === 'process') return beside;
  const [{ ApiClient }, { findCluster }, { createKubernetesRunner }, { parseTrainerTemplate }] =
    await Promise.all([
      import('../cluster/api-client.ts'),
      import('../cluster/in-cluster.ts'),
      import('../cluster/kubernetes-runner.ts'),
      import('../cluster/kubernetes-job.ts'),
    ]);
  const template = parseTrainerTemplate(readPod(config.trainPod), 'LORIKEET_TRAIN_POD');
  return createKubernetesRunner({
    store: guardStore(store, log),
    api: new ApiClient(await findCluster()),
    planner: beside,
    template,
    queue: config.trainQueue,
    baseDigest,
    log,
  });
}

function readPod(file: string | undefined): string {
  if (file === undefined) {
    throw new ConfigError(['LORIKEET_TRAIN_POD: is missing; the kubernetes runner needs it']);
  }
  try {
    return readRegular(file, SMALL_FILE_BYTES).toString();
  } catch (error) {
    throw new ConfigError([`LORIKEET_TRAIN_POD: ${file}: ${(error as Error).message}`]);
  }
}

// What a server needs to train: files and jobs in its store, the runner of its trainers, and where their folders lie.

import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import type { JobsSide } from '../http/deps.ts';
import { openUploadFolder } from '../http/upload-folder.ts';
import type { ArtifactDescription } from '../import/artifact.ts';
import { createJobs } from '../jobs/jobs.ts';
import { createOwner, isOwnerGone } from '../jobs/lease.ts';
import type { JobWorker } from '../jobs/worker.ts';
import type { Config } from '../settings/config.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { openRunner } from './open-runner.ts';

export interface ServingJobs {
  readonly side: JobsSide;
  readonly worker: JobWorker;
}

export interface ServingJobsOptions {
  readonly artifact: ArtifactDescription;
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  /** A version of this name is new. */
  readonly onPublished: (tenant: string, name: string) => void;
  readonly telemetry: Pick<Telemetry, 'observeRun'>;
  readonly log: Logger;
}

/** Of an upload: a client that sends nothing for longer is gone. */
const UPLOAD_IDLE_MS = 30_000;

export async function openServingJobs(
  config: Config,
  options: ServingJobsOptions,
): Promise<ServingJobs> {
  const { artifact, store, repository, onPublished, telemetry, log } = options;
  const { info, dir } = artifact;
  const cacheDir = path.join(config.home, 'cache');
  const { maxFileBytes, maxFiles, maxFilesBytes } = config;
  const { maxJobs: maxActive, training: maxTraining } = config;
  const owner = createOwner(randomUUID());
  const { files, service, dryRuns, worker } = createJobs({
    store,
    repository,
    runner: await openRunner(config, { store, baseDigest: info.digest, log }),
    base: { name: info.name, digest: info.digest, dir: path.resolve(dir) },
    root: path.join(cacheDir, 'jobs'),
    limits: { maxFiles, maxFilesBytes, maxActive, maxTraining },
    log,
    owner: { name: owner, isGone: isOwnerGone },
    onPublished,
    // A bucket has an operator, and its servers need no right to delete adapters.
    collectsGarbage: !config.store?.startsWith('s3:'),
    observe: ({ id, tenant, token: attempt }) => telemetry.observeRun({ id, tenant, attempt }),
  });
  const uploadFolder = { owner, isGone: isOwnerGone, log };
  const uploads = {
    directory: await openUploadFolder(path.join(cacheDir, 'uploads'), uploadFolder),
    maxFileBytes,
    idleTimeoutMs: UPLOAD_IDLE_MS,
  };
  const method = info.quantization === 'nf4' ? 'qlora' : 'lora';
  const { maxJobRank: maxRank } = config;
  return { side: { files, uploads, service, dryRuns, method, maxRank }, worker };
}

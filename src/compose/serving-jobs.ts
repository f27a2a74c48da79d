// Wires a server's fine-tuning: files and jobs in its store, folders on its disk, and the runner of its trainers.
import path from 'node:path';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { ConfigError, ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { apiPathOf } from '../contracts/training-fields.ts';
import { graderSchema, PYTHON_OFF, refusePython } from '../graders/schema.ts';
import type { JobsSide } from '../http/deps.ts';
import { type ArtifactDescription, readArtifact } from '../import/artifact.ts';
import { createChildRunner } from '../jobs/child-runner.ts';
import { createJobs } from '../jobs/create-jobs.ts';
import { toTrainerJob } from '../jobs/job-folder.ts';
import type { JobRunner } from '../jobs/runner.ts';
import { trainerCpuMs } from '../jobs/trainer-child.ts';
import { type Config, memoryOfTrainer } from '../settings/config.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { toPart, type WorkerPart } from './opened-parts.ts';
import type { OwnProcess } from './own-process.ts';

/** A server's fine-tuning. */
export interface ServingJobs extends WorkerPart {
  /** The part that the HTTP side uses. */
  readonly http: JobsSide;
}

/** The parts of a server that its jobs need. */
interface ServingJobsOptions {
  readonly artifact: ArtifactDescription;
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  /** Drops what this server has cached about a name. */
  readonly forget: (tenant: string, name: string) => void;
  readonly telemetry: Pick<Telemetry, 'observeRun'>;
  readonly own: OwnProcess;
  readonly log: Logger;
}

/** How long an upload's client may send nothing before the upload fails. */
const UPLOAD_IDLE_MS = 30_000;

/** Opens the files and jobs of the store. The worker takes no jobs until it is started. */
export async function openServingJobs(
  config: Config,
  options: ServingJobsOptions,
): Promise<ServingJobs> {
  const { artifact, store, repository, forget, telemetry, own, log } = options;
  const { info, dir } = artifact;
  const { maxFileBytes, maxFiles, maxFilesBytes } = config;
  const { maxJobs: maxActive } = config;
  const maxTraining = own.unwritable.includes('jobs') ? 0 : config.training; // others work on them
  const { files, service, dryRuns, worker } = createJobs({
    store,
    repository,
    runner: await openRunner(config, { store, baseDigest: info.digest, log }),
    base: { name: info.name, digest: info.digest, dir: path.resolve(dir) },
    root: own.sharedFolder('jobs'),
    dryRunRoot: await own.openFolder('jobs/dry-runs'),
    limits: { maxFiles, maxFilesBytes, maxActive, maxTraining },
    log,
    owner: own.owner,
    onPublished: forget,
    // The operator of a bucket collects its garbage, so servers do not need the right to delete adapters.
    collectsGarbage: !config.store?.startsWith('s3:'),
    observe: ({ id, tenant, token: attempt }) => telemetry.observeRun({ id, tenant, attempt }),
  });
  const uploads = {
    directory: await own.openFolder('uploads'),
    maxFileBytes,
    idleTimeoutMs: UPLOAD_IDLE_MS,
  };
  const method = info.quantization === 'nf4' ? 'qlora' : 'lora';
  const { maxJobRank: maxRank } = config;
  const checkSettings = createJobCheck(dir, config);
  const ofTrainers = { method, maxRank, checkSettings, trainerCpuMs } as const;
  return { http: { files, uploads, service, dryRuns, ...ofTrainers }, ...toPart(worker) };
}

/**
 * Opens the runner that the settings choose: child processes, or a Kubernetes cluster.
 * @throws ConfigError if the cluster's settings are missing or wrong
 */
export async function openRunner(
  config: Config,
  {
    store,
    baseDigest,
    log,
  }: Pick<ServingJobsOptions, 'store' | 'log'> & { readonly baseDigest: string },
): Promise<JobRunner> {
  const childOptions = {
    log,
    threads: config.trainThreads,
    priority: config.trainPriority,
    toolFormat: config.toolFormat,
    pythonGraders: config.pythonGraders,
  };
  if (config.trainRunner === 'process') {
    const planMemory = memoryOfTrainer(config);
    return createChildRunner({ ...childOptions, ...(planMemory && { planMemory }) });
  }
  const [{ ApiClient, findCluster }, { createKubernetesRunner }, { parseTrainerTemplate }] =
    await Promise.all([
      import('../cluster/api-client.ts'),
      import('../cluster/kubernetes-runner.ts'),
      import('../cluster/kubernetes-job.ts'),
    ]);
  const template = parseTrainerTemplate(readPod(config.trainPod), 'LORIKEET_TRAIN_POD');
  return createKubernetesRunner({
    store: guardStore(store, log),
    api: new ApiClient(await findCluster()),
    // A pod gets the memory that its plan asks for.
    planner: createChildRunner({ ...childOptions, planMemory: Number.MAX_SAFE_INTEGER }),
    template,
    queue: config.trainQueue,
    baseDigest,
    log,
  });
}

function readPod(file: string | undefined): string {
  if (file === undefined) {
    throw new ConfigError('LORIKEET_TRAIN_POD: is missing. The kubernetes runner needs it.');
  }
  try {
    return readRegular(file, SMALL_FILE_BYTES).toString();
  } catch (error) {
    throw new ConfigError(`LORIKEET_TRAIN_POD: ${file}: ${(error as Error).message}`);
  }
}

const NOT_IN_PODS =
  "python graders do not run in pods, and this server's jobs train there (--train-runner kubernetes). Use any other grader, or a " +
  'server whose jobs train next to it.';

/** Returns a function that checks jobs for the base in this folder. The trainer's code is loaded for the first job. */
export function createJobCheck(
  dir: string,
  { pythonGraders, trainRunner }: Pick<Config, 'pythonGraders' | 'trainRunner'>,
): JobsSide['checkSettings'] {
  const isOff = pythonGraders === undefined;
  const refusal = isOff ? PYTHON_OFF : trainRunner === 'kubernetes' ? NOT_IN_PODS : undefined;
  return async ({ initAdapter, ...request }) => {
    const [{ checkAdapter }, { parseJob }, { toFault, withNames }] = await Promise.all([
      import('../../trainer/job/adapter-plan.ts'),
      import('../../trainer/job/job.ts'),
      import('../../trainer/run/faults.ts'),
    ]);
    const { validationFile: validation, trainingFile: data } = request;
    const inputs = {
      model: dir,
      data,
      ...(validation !== undefined && { validation }),
      ...(initAdapter && { initAdapter: initAdapter.name }),
    };
    using artifact = readArtifact(dir);
    try {
      const job = parseJob(toTrainerJob(request, inputs));
      if (job.grader !== undefined && refusal !== undefined) {
        refusePython(graderSchema.parse(job.grader), apiPathOf('grader'), refusal);
      }
      await checkAdapter(job, artifact.config);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { message, param } = toFault(withNames(error, apiPathOf));
      throw new ServeError('invalid_request', message, param === null ? {} : { param });
    }
  };
}

// A job's folder on this machine: the files that its trainer reads, and its run. All of it can be fetched from the store again.

import { randomUUID } from 'node:crypto';
import { createWriteStream, existsSync } from 'node:fs';
import { readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fetchVersion } from '../../adapters/repository/versions.ts';
import { ifSound } from '../../adapters/store/documents.ts';
import { ServeError } from '../common/errors.ts';
import { isAbandoned, makeFolder } from '../common/folders.ts';
import { type HyperparameterField, hyperparametersOf } from '../contracts/training-fields.ts';
import type { Fault } from '../contracts/training-messages.ts';
import type { PlannedFigure } from '../contracts/training-setting.ts';
import type { JobsContext } from './context.ts';
import { hasEnded, type JobRecord, type JobRequest } from './job.ts';
import type { JobStore } from './job-store.ts';
import type { RecordName } from './record-store.ts';
import type { RunArchive } from './run-archive.ts';
import type { TrainerJob } from './runner.ts';

/** The part of the context that job folders use. */
type FolderContext = Pick<JobsContext, 'root' | 'base' | 'files' | 'repository'>;

/** A file or adapter that the job needs is gone, so the job fails. */
export class InputFault extends Error {
  override name = 'InputFault';
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}

const RUN_PREFIX = 'run-';
/** A job's id and tenant, by which its record is found. Release 0.3.0 used the id alone. */
const FOLDER_NAME = /^(ftjob-[A-Za-z0-9]+)(?:\.([A-Za-z0-9].*))?$/;

/** The folder of one job, for one lease. */
export class JobFolder {
  readonly #context: FolderContext;
  readonly #dir: string;
  /** Each lease has a separate run folder, because the previous owner may not have noticed yet that it lost its lease. */
  readonly runDir: string;

  constructor(
    { id, tenant, token: fencingToken }: RecordName & { readonly token: number },
    context: FolderContext,
  ) {
    this.#context = context;
    this.#dir = path.join(context.root, `${id}.${tenant}`);
    this.runDir = path.join(this.#dir, `${RUN_PREFIX}${fencingToken}`);
  }

  /** Fetches the files that the job reads. Throws `InputFault` if one is gone. */
  async prepare(
    { tenant, request }: Pick<JobRecord, 'tenant' | 'request'>,
    signal: AbortSignal,
  ): Promise<TrainerJob> {
    await makeFolder(this.#dir);
    const fetchFile = (param: string, id: string) => this.#fetchFile({ tenant, id, param }, signal);
    const { trainingFile, validationFile, initAdapter } = request;
    const inputs: JobInputs = {
      model: this.#context.base.dir,
      data: await fetchFile('training_file', trainingFile),
      ...(validationFile !== undefined && {
        validation: await fetchFile('validation_file', validationFile),
      }),
      ...(initAdapter && { initAdapter: await this.#fetchAdapter(initAdapter, signal) }),
    };
    return toTrainerJob(request, inputs);
  }

  /**
   * Restores the run from its archive and removes the runs of earlier leases. Returns false if the archive contains no
   * checkpoint.
   */
  async restoreRun(archive: RunArchive, signal: AbortSignal): Promise<boolean> {
    for (const name of await readdir(this.#dir)) {
      if (!name.startsWith(RUN_PREFIX)) continue;
      await rm(path.join(this.#dir, name), { recursive: true, force: true });
    }
    return archive.restore(this.runDir, { signal });
  }

  async remove(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #fetchFile(
    { tenant, id, param }: { tenant: string; id: string; param: string },
    signal: AbortSignal,
  ): Promise<string> {
    // The trainer's messages name this file. An id tells the owner more than a path.
    const target = path.join(this.#dir, id);
    if (existsSync(target)) return target; // complete, because files are renamed into place
    const part = `${target}.part-${randomUUID()}`;
    try {
      const { body } = await this.#context.files.open(tenant, id, { signal });
      await pipeline(body, createWriteStream(part), { signal });
      await rename(part, target);
      return target;
    } catch (error) {
      await rm(part, { force: true });
      if (!(error instanceof ServeError) || error.code !== 'not_found') throw error;
      const message = `The file ${id} no longer exists. Upload it again, and create a new job.`;
      throw new InputFault({ code: 'invalid_training_file', message, param });
    }
  }

  async #fetchAdapter(
    { tenant, name, version }: NonNullable<JobRequest['initAdapter']>,
    signal: AbortSignal,
  ): Promise<string> {
    const { repository } = this.#context;
    const manifest = await repository.readManifest(tenant, name, version, { signal });
    if (!manifest) {
      const message = `The model to start from, ${name}@${version}, no longer exists. Create a new job with another one.`;
      throw new InputFault({ code: 'model_not_found', message, param: 'model' });
    }
    const target = path.join(this.#dir, 'init');
    const { configBytes, weightsBytes } = await fetchVersion(repository, manifest, { signal });
    await makeFolder(target);
    await writeFile(path.join(target, 'adapter_config.json'), configBytes);
    await writeFile(path.join(target, 'adapter_model.safetensors'), weightsBytes);
    return target;
  }
}

/**
 * Removes the folders of jobs that are over, including jobs that ended on other servers. A server with another store may share
 * `root`, so this removes a folder only if a record of this store says that its job is over, or if nobody uses the folder.
 */
export async function sweepJobFolders(
  root: string,
  jobs: Pick<JobStore, 'activeIds' | 'find'>,
): Promise<void> {
  const names = await readdir(root).catch(() => []);
  const folders = names.map((name) => FOLDER_NAME.exec(name)).filter((match) => match !== null);
  if (folders.length === 0) return;
  const active = await jobs.activeIds(); // after listing: by then, every unfinished job has its open-job mark
  for (const [name, id, tenant] of folders) {
    if (active.has(id!)) continue;
    const folder = path.join(root, name);
    const job = tenant === undefined ? undefined : await ifSound(jobs.find({ tenant, id: id! }));
    const isOver = job ? hasEnded(job) : await isAbandoned(folder);
    if (isOver) await rm(folder, { recursive: true, force: true });
  }
}

/** The most sequences in one forward pass. Larger batches accumulate gradients, which needs no more memory. */
const MAX_MICRO_BATCH = 8;
/** A prime batch size cannot be split. Up to this size it runs in one forward pass. */
const MAX_SINGLE_BATCH = 16;

/** A job's hyperparameters by their key in its record. `auto` remains if only a plan has the number. */
type ResolvedHyperparameters = Partial<Record<HyperparameterField, number | string>>;

/** Replaces `auto` with the trainer's defaults and the figures of the plan, which are all of validations. */
export function resolveHyperparameters(
  { objective, hyperparameters }: Pick<JobRequest, 'objective' | 'hyperparameters'>,
  plan: Partial<Record<PlannedFigure, unknown>> = {},
): ResolvedHyperparameters {
  const figures = plan.validationExamples ? plan : {};
  return Object.fromEntries(
    hyperparametersOf(objective).map(({ field, absent, default: auto }) => {
      const { [field]: value = absent } = hyperparameters;
      if (value !== absent) return [field, value];
      const figure = typeof auto === 'string' ? figures[auto] : auto;
      return [field, typeof figure === 'number' ? figure : absent];
    }),
  );
}

/** The local paths that a job reads. */
interface JobInputs {
  /** The base's folder. */
  readonly model: string;
  readonly data: string;
  readonly validation?: string;
  readonly initAdapter?: string;
}

/** Returns the trainer's job: the requested settings under their job-file keys, and the local files. */
export function toTrainerJob(request: JobRequest, inputs: JobInputs): TrainerJob {
  const resolved = resolveHyperparameters(request);
  const { gate: _gate, ...settings } = request.settings;
  const { objective, seed, grader, responseFormat } = request;
  const given = hyperparametersOf(objective).filter(
    ({ field, absent }) => resolved[field] !== absent,
  );
  return {
    ...inputs,
    ...settings,
    seed,
    ...(objective && { objective }),
    ...(grader && { grader }),
    ...(responseFormat && { responseFormat }),
    ...Object.fromEntries(given.map(({ key, field }) => [key, resolved[field]])),
    ...splitBatch(Number(resolved.batchSize)),
  };
}

/** Splits a batch size into two factors. */
export function splitBatch(size: number): { batchSize: number; gradAccumulation: number } {
  if (size <= MAX_MICRO_BATCH) return { batchSize: size, gradAccumulation: 1 };
  let batchSize = MAX_MICRO_BATCH;
  while (size % batchSize !== 0) batchSize--;
  if (batchSize === 1 && size <= MAX_SINGLE_BATCH) return { batchSize: size, gradAccumulation: 1 };
  return { batchSize, gradAccumulation: size / batchSize };
}

// The files of checkpoints on their way between the trainer and the store, in temporary folders.
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { CONFIG_FILE, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { fetchVersion } from '../../adapters/repository/versions.ts';
import { fieldError, ServeError } from '../common/errors.ts';
import { adapterOfRun, parseTinkerPath, toTinkerPath } from '../contracts/tinker-path.ts';
import type { FoundCheckpoint, Runs } from './runs.ts';

/** The places of a model's files. */
export interface ModelFiles {
  /** A PEFT folder. */
  readonly directory: string;
  /** The moments of its optimizer. Undefined: without them. */
  readonly momentsFile: string | undefined;
}

/** A checkpoint to fetch. */
interface CheckpointChoice {
  readonly path: string;
  readonly withOptimizer: boolean;
  readonly param?: string;
}

/** The parts of a server that have checkpoints. */
interface CheckpointFilesOptions {
  readonly runs: Runs;
  readonly repository: Pick<AdapterRepository, 'readManifest' | 'openFile'>;
  readonly base: { readonly digest: string };
  /** The parent of the folders. */
  readonly directory: string;
}

/** Fetches checkpoints, and makes room for new ones. */
export class CheckpointFiles {
  readonly #options: CheckpointFilesOptions;

  constructor(options: CheckpointFilesOptions) {
    this.#options = options;
  }

  /** Gives `use` names for the files of a model. The files are removed afterwards. */
  async within<T>(withOptimizer: boolean, use: (files: ModelFiles) => Promise<T>): Promise<T> {
    const folder = path.join(this.#options.directory, randomUUID());
    const directory = path.join(folder, 'adapter');
    await mkdir(directory, { recursive: true });
    const momentsFile = withOptimizer ? path.join(folder, 'moments.safetensors') : undefined;
    try {
      return await use({ directory, momentsFile });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /**
   * Fetches a checkpoint, and gives `use` its run and files. Throws `ServeError` if there is none, if it was trained on another
   * base, or if it lacks the state of the optimizer. @param param the field with the path, for errors
   */
  async fetch(
    tenant: string,
    { path: text, withOptimizer, param = 'path' }: CheckpointChoice,
    use: (found: FoundCheckpoint, files: ModelFiles) => Promise<void>,
  ): Promise<void> {
    const { runs, repository, base } = this.#options;
    const from = parseTinkerPath(text);
    if (!from) throw fieldError(param, 'is not a path of a checkpoint');
    const { run, checkpoint } = await runs.checkpoint(tenant, from);
    if (run.baseDigest !== base.digest) {
      const message = `${param}: was trained on another base, which the run calls ${run.baseModel}`;
      throw new ServeError('base_mismatch', message, { param });
    }
    const name = adapterOfRun(from.run)!;
    const manifest = await repository.readManifest(tenant, name, checkpoint.version);
    if (!manifest) throw new ServeError('not_found', `The weights of ${text} are gone.`);
    if (withOptimizer && from.folder !== 'weights') {
      throw fieldError(param, 'has no state of an optimizer, because it was saved for sampling');
    }
    await this.within(withOptimizer, async (files) => {
      const { configBytes, weightsBytes } = await fetchVersion(repository, manifest);
      await writeFile(path.join(files.directory, CONFIG_FILE), configBytes);
      await writeFile(path.join(files.directory, WEIGHTS_FILE), weightsBytes);
      if (files.momentsFile !== undefined) {
        const moments = await runs.openMoments(run, checkpoint);
        if (!moments) throw new ServeError('not_found', `The moments of ${text} are gone.`);
        await pipeline(moments, createWriteStream(files.momentsFile));
      }
      await use({ run, checkpoint }, files);
    });
  }

  /** Copies a checkpoint into a new run, which is not in training. Resolves with the path of the copy. Throws as `fetch`. */
  async copy(
    tenant: string,
    { path: text, to, expiresMs }: { path: string; to: string; expiresMs: number | null },
  ): Promise<string> {
    const { runs } = this.#options;
    const withOptimizer = parseTinkerPath(text)?.folder === 'weights';
    const from = { path: text, withOptimizer, param: 'source_path' };
    let copied = '';
    await this.fetch(tenant, from, async ({ run, checkpoint }, files) => {
      const { baseModel, baseDigest, rank, metadata } = run;
      await runs.create({ id: to, tenant, baseModel, baseDigest, rank, metadata });
      const { folder, name } = checkpoint;
      await runs.save(
        await runs.find(tenant, to),
        { folder, name, expiresMs, metadata: checkpoint.metadata },
        { ...files, publicationId: to },
      );
      copied = toTinkerPath({ run: to, folder, name });
    });
    return copied;
  }
}

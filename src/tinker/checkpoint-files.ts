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
import { adapterOfRun, parseTinkerPath } from '../contracts/tinker-path.ts';
import type { RunRecord, Runs } from './runs.ts';

/** The places of a model's files. */
export interface ModelFiles {
  /** A PEFT folder. */
  readonly directory: string;
  /** The moments of its optimizer. Undefined: without them. */
  readonly momentsFile: string | undefined;
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
   * base, or if it lacks the state of the optimizer.
   */
  async fetch(
    tenant: string,
    { path: text, withOptimizer }: { readonly path: string; readonly withOptimizer: boolean },
    use: (run: RunRecord, files: ModelFiles) => Promise<void>,
  ): Promise<void> {
    const { runs, repository, base } = this.#options;
    const from = parseTinkerPath(text);
    if (!from) throw fieldError('path', 'is not a path of a checkpoint');
    const { run, checkpoint } = await runs.checkpoint(tenant, from);
    if (run.base_digest !== base.digest) {
      const message = `path: was trained on another base, which the run calls ${run.base_model}`;
      throw new ServeError('base_mismatch', message, { param: 'path' });
    }
    const name = adapterOfRun(from.run)!;
    const manifest = await repository.readManifest(tenant, name, checkpoint.version);
    if (!manifest) throw new ServeError('not_found', `The weights of ${text} are gone.`);
    if (withOptimizer && from.folder !== 'weights') {
      throw fieldError('path', 'has no state of an optimizer, because it was saved for sampling');
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
      await use(run, files);
    });
  }
}

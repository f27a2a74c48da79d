// The serving files of a base through the life of a server: built, checked at the start and before the engine is started
// again, read in full once it is ready, and rebuilt from the artifact if they are damaged.
import path from 'node:path';
import { readArtifact } from '../import/artifact.ts';
import {
  findFault,
  findQuickFault,
  isBuilt,
  recordedByteSize,
  type ServingCache,
  type ServingFault,
  servingFolder,
} from '../import/serving-cache.ts';

/** The whole file is read within most of a minute; a small one at this rate, which takes 3 % of a core. */
const LEAST_BYTES_PER_SECOND = 16 * 2 ** 20;
const FULL_CHECK_SECONDS = 45;

export interface ServingWeightsOptions extends ServingCache {
  /** The artifact's folder. */
  readonly artifactDir: string;
  /** The artifact's digest. */
  readonly digest: string;
  warn(text: string): void;
}

export class ServingWeights {
  /** The serving folder. */
  readonly dir: string;
  readonly #options: ServingWeightsOptions;
  /** Found by a full check, which the quick one may not see. */
  #fault: ServingFault | undefined;

  constructor(options: ServingWeightsOptions) {
    this.#options = options;
    this.dir = servingFolder(options.digest, options);
  }

  /**
   * Builds the files if they are absent or a quick check finds them damaged.
   * @throws FileError if they have to be built and the artifact is damaged, too
   */
  async ensure(): Promise<void> {
    if (!isBuilt(this.dir)) return this.#build();
    const fault = this.#fault ?? findQuickFault(this.dir);
    if (!fault) return;
    const { artifactDir } = this.#options;
    this.#options.warn(`${describe(this.dir, fault)} Rebuilding it from ${artifactDir}.`);
    await this.#build();
    this.#fault = undefined;
  }

  /**
   * Reads all of the files slowly. Returns what is damaged, for a person; `ensure` rebuilds it from then on.
   * Rejects once `signal` is aborted.
   */
  async checkAll(signal: AbortSignal): Promise<string | undefined> {
    const byteSize = recordedByteSize(this.dir);
    const bytesPerSecond = Math.max(LEAST_BYTES_PER_SECOND, byteSize / FULL_CHECK_SECONDS);
    this.#fault = await findFault(this.dir, { bytesPerSecond, signal });
    return this.#fault && describe(this.dir, this.#fault);
  }

  async #build(): Promise<void> {
    const { artifactDir, weights, cacheDir } = this.#options;
    const [{ buildServingFiles }, { verifyArtifact }, { createProgress }] = await Promise.all([
      import('../import/serving-files.ts'),
      import('../import/artifact.ts'),
      import('./progress.ts'),
    ]);
    await verifyArtifact(artifactDir);
    const artifact = readArtifact(artifactDir);
    const progress = createProgress(process.stderr);
    try {
      const onProgress = (done: number, total: number) => progress.update('prepare', done, total);
      await buildServingFiles(artifact, { weights, cacheDir, onProgress });
    } finally {
      progress.end();
      artifact.tensors.close();
    }
  }
}

/** A sentence that names the damaged file and says how the damage shows. */
function describe(dir: string, { file, reason }: ServingFault): string {
  return `${path.join(dir, file)} is damaged: ${reason}.`;
}

// Keeps a base's serving files intact while a server runs: builds them, checks them at each start of the engine, reads them in
// full once the engine is ready, and rebuilds them from the artifact if they are damaged.
import path from 'node:path';
import { roundOnAllCores } from '../engine/int8-form.ts';
import { readArtifact, verifyArtifact } from '../import/artifact.ts';
import {
  findFault,
  findQuickFault,
  isBuilt,
  recordedByteSize,
  type ServingCache,
  type ServingFault,
  servingFolder,
  whyNotBuilt,
} from '../import/serving-cache.ts';
import type { Calibration } from '../import/serving-files.ts';
import type { Reporter } from './context.ts';

/** The full check reads a small file at this rate, which takes 3% of a core. */
const MIN_BYTES_PER_SECOND = 16 * 2 ** 20;
/** The longest time that the full check of a large file may take. */
const FULL_CHECK_SECONDS = 45;

/** The artifact that serving files are built from, and their folder. */
interface ServingWeightsOptions extends ServingCache {
  /** The artifact's folder. */
  readonly artifactDir: string;
  /** The artifact's digest. */
  readonly digest: string;
  readonly reporter: Reporter;
  /** Aborted to end the program, and any build with it. */
  readonly signal: AbortSignal;
  /** Loads the measurement of the base for building its files. Without one they have no per-token form. */
  readonly openCalibration: () => Promise<Calibration | undefined>;
}

/** The serving files of one base in one weights mode. */
export class ServingWeights {
  /** The serving folder. */
  readonly dir: string;
  readonly #options: ServingWeightsOptions;
  /** Damage that the full check found and the quick check may miss. */
  #fault: ServingFault | undefined;

  constructor(options: ServingWeightsOptions) {
    this.#options = options;
    this.dir = servingFolder(options.digest, options);
  }

  /**
   * Builds the files if they are missing or damaged.
   * @throws FileError if they must be built but the artifact is damaged; an `AbortError` once the program ends
   */
  async ensure(): Promise<void> {
    const { artifactDir, reporter } = this.#options;
    if (!isBuilt(this.dir)) {
      reporter.notify(`Building the files that a server reads. ${whyNotBuilt(this.dir)}`);
      return this.#build();
    }
    const fault = this.#fault ?? findQuickFault(this.dir);
    if (!fault) return;
    reporter.notify(`${describeDamage(this.dir, fault)} Rebuilding it from ${artifactDir}.`);
    await this.#build();
    this.#fault = undefined;
  }

  /**
   * Reads all files slowly. Returns a sentence that describes the damage, if there is any; `ensure` then rebuilds the files.
   * Rejects once `signal` is aborted.
   */
  async checkAll(signal: AbortSignal): Promise<string | undefined> {
    const byteSize = recordedByteSize(this.dir);
    const bytesPerSecond = Math.max(MIN_BYTES_PER_SECOND, byteSize / FULL_CHECK_SECONDS);
    this.#fault = await findFault(this.dir, { bytesPerSecond, signal });
    return this.#fault && describeDamage(this.dir, this.#fault);
  }

  async #build(): Promise<void> {
    const { artifactDir, weights, packing, cacheDir, reporter, signal, openCalibration } =
      this.#options;
    const { buildServingFiles } = await import('../import/serving-files.ts');
    const progress = await reporter.openProgress();
    try {
      await verifyArtifact(artifactDir, signal, (done, total) =>
        progress.update('verify', done, total),
      );
      using artifact = readArtifact(artifactDir);
      const onProgress = (done: number, total: number) => progress.update('prepare', done, total);
      const calibration = await openCalibration();
      const onImprecise = (floats: Readonly<Record<string, number>>) =>
        reporter.notify(describeImprecise(floats));
      const options = { weights, packing, cacheDir, calibration, onImprecise, onProgress, signal };
      await buildServingFiles(artifact, { ...options, roundToRecords: roundOnAllCores });
    } finally {
      progress.end();
    }
  }
}

function describeDamage(dir: string, { file, reason }: ServingFault): string {
  return `${path.join(dir, file)} is damaged: ${reason}.`;
}

function describeImprecise(floats: Readonly<Record<string, number>>): string {
  const linears = Object.entries(floats).map(([name, count]) => `${count} inputs of ${name}`);
  return `Large activations do not fit into 8 bits per token row: ${linears.join(', ')} stay floats, which is slower.`;
}

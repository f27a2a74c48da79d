// Where a finished adapter goes by its name: into the store as the name's next version, or into a folder of folders. It
// knows no training.
import { cp, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { digestAdapterFiles } from '../../adapters/peft/files.ts';
import { contentPublication } from '../../adapters/repository/content.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { replaceFolder } from './durable-files.ts';
import type { StepMetrics } from './metrics.ts';

export interface FinishedAdapter {
  readonly name: string;
  /** A PEFT folder. */
  readonly directory: string;
  /** The run that made it, as people tell runs apart. */
  readonly job: string;
  /** Of its steps, oldest first. */
  readonly metrics: readonly StepMetrics[];
  readonly evaluation: EvaluationCard;
}

export interface Publisher {
  /** How to serve what is published here: a flag of `serve`, or nothing. */
  readonly serveFlag: string;
  /** Resolves with what was published, for people. Published again, the same adapter is the same. */
  publish(adapter: FinishedAdapter): Promise<string>;
}

/** Each adapter is a folder of its name; a new one replaces it. */
export function createFolderPublisher(adaptersDir: string): Publisher {
  return {
    serveFlag: ` --adapters ${adaptersDir}`,
    async publish({ name, directory }) {
      const target = path.join(adaptersDir, name);
      await copyWhole(directory, target);
      return `New adapter ${name} in ${target}`;
    },
  };
}

/** Each adapter is the next version of its name. */
export function createStorePublisher(
  repository: AdapterRepository,
  { tenant, baseDigest }: { readonly tenant: string; readonly baseDigest: string },
): Publisher {
  return {
    serveFlag: '',
    async publish({ name, directory, job, metrics, evaluation }) {
      const { digest } = await digestAdapterFiles(directory);
      const { version } = await repository.publish(
        { tenant, name },
        { directory },
        {
          baseDigest,
          job,
          metrics: { ...summarize(metrics), evaluation },
          publicationId: contentPublication(digest, { baseDigest }),
        },
      );
      return `New adapter ${name}@${version} in ${repository.label}`;
    },
  };
}

/** Figures of a manifest, in its spelling. */
function summarize(metrics: readonly StepMetrics[]): Record<string, number> {
  const last = metrics.at(-1);
  const losses = metrics.flatMap(({ validationLoss }) => validationLoss ?? []);
  return {
    ...(last && { steps: last.step, train_loss: last.loss }),
    ...(losses.length > 0 && { validation_loss: Math.min(...losses) }),
  };
}

/** A copy that readers of the folder see whole or not at all. */
async function copyWhole(from: string, target: string): Promise<void> {
  const building = `${path.dirname(target)}/.${path.basename(target)}.tmp-${process.pid}`;
  await mkdir(path.dirname(target), { recursive: true });
  await rm(building, { recursive: true, force: true });
  await cp(from, building, { recursive: true });
  await replaceFolder(building, target);
}

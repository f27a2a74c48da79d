// Publishes a finished adapter under its name: in the store as the name's next version, or in a folder of adapters.
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';
import { digestAdapterFiles } from '../../adapters/peft/files.ts';
import { contentPublication } from '../../adapters/repository/content.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { makeFolder } from '../../src/common/folders.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { replaceFolder } from './durable-files.ts';
import type { StepMetrics } from './metrics.ts';

/** An adapter to publish. */
export interface FinishedAdapter {
  readonly name: string;
  /** A PEFT folder. */
  readonly directory: string;
  /** The name of the run that made it. */
  readonly job: string;
  /** The metrics of its steps, oldest first. */
  readonly metrics: readonly StepMetrics[];
  readonly evaluation: EvaluationCard;
}

/** A destination for adapters. */
export interface Publisher {
  /** The flag of `serve` that serves adapters from here; may be empty. */
  readonly serveFlag: string;
  /** Publishes an adapter and resolves with a message. Publishing the same adapter again changes nothing. */
  publish(adapter: FinishedAdapter): Promise<string>;
}

/** Publishes each adapter as a folder of its name; a new one replaces it. */
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

/** Publishes each adapter as the next version of its name. */
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

/** Returns the metrics for a manifest, in its spelling. */
function summarize(metrics: readonly StepMetrics[]): Record<string, number> {
  const last = metrics.at(-1);
  const losses = metrics.flatMap(({ validationLoss }) => validationLoss ?? []);
  return {
    ...(last && { steps: last.step, train_loss: last.loss }),
    ...(losses.length > 0 && { validation_loss: Math.min(...losses) }),
  };
}

/** Copies a folder atomically. */
async function copyWhole(from: string, target: string): Promise<void> {
  const building = `${path.dirname(target)}/.${path.basename(target)}.tmp-${process.pid}`;
  await makeFolder(path.dirname(target));
  await rm(building, { recursive: true, force: true });
  await cp(from, building, { recursive: true });
  await replaceFolder(building, target);
}

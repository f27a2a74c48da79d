// Publishes a finished adapter under its name: in the store as the name's next version, or in a folder of adapters.

import { cp } from 'node:fs/promises';
import path from 'node:path';
import { digestAdapterFiles } from '../../adapters/peft/files.ts';
import { contentPublication } from '../../adapters/repository/content.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { smallest } from '../../src/common/long-arrays.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import type { StepMetrics } from '../../src/contracts/metrics.ts';
import { writeFolderDurably } from './durable-files.ts';

/** An adapter to publish. */
export interface FinishedAdapter {
  readonly name: string;
  /** A PEFT folder. */
  readonly directory: string;
  /** The name of the run that produced it. */
  readonly job: string;
  /** The metrics of all steps, oldest first. */
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

/** Publishes each adapter as a folder with its name. A new one replaces it. */
export function createFolderPublisher(adaptersDir: string): Publisher {
  return {
    serveFlag: ` --adapters ${adaptersDir}`,
    async publish({ name, directory }) {
      const target = path.join(adaptersDir, name);
      const copy = (building: string) => cp(directory, building, { recursive: true });
      // The name is hidden, because a server may list the folder meanwhile.
      await writeFolderDurably(target, copy, path.join(adaptersDir, `.${name}.tmp-${process.pid}`));
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

/** Returns the metrics in a manifest's spelling. */
function summarize(metrics: readonly StepMetrics[]): Record<string, number> {
  const last = metrics.at(-1);
  const losses = metrics.flatMap(({ validationLoss }) => validationLoss ?? []);
  return {
    ...(last && { steps: last.step, train_loss: last.loss }),
    ...(losses.length > 0 && { validation_loss: smallest(losses) }),
  };
}

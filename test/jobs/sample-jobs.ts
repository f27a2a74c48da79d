// Jobs for tests: a record in its first state, and the changes that most tests make to it.

import type { StepMessage } from '../../src/contracts/training-messages.ts';
import type { JobRecord } from '../../src/jobs/job.ts';

export const JOB = { tenant: 'acme', id: 'ftjob-0190c0ffee00aabbccddeeff' } as const;

export function newJob(changes: Partial<JobRecord> = {}): JobRecord {
  return {
    schema: 1,
    ...JOB,
    name: 'colours',
    base: { name: 'toy', digest: 'b'.repeat(64) },
    createdMs: 1000,
    status: 'validating_files',
    isPublishing: false,
    request: {
      model: 'toy',
      trainingFile: 'file-1',
      suffix: 'Colours',
      seed: 7,
      hyperparameters: { nEpochs: 'auto', batchSize: 'auto', learningRateMultiplier: 'auto' },
      settings: {},
    },
    checkpoints: [],
    dropped: [],
    token: 0,
    retries: 0,
    eventCount: 0,
    recentEvents: [],
    ...changes,
  };
}

export function messagesOf({ recentEvents }: Pick<JobRecord, 'recentEvents'>): string[] {
  return recentEvents.map(({ message }) => message);
}

/** A step's message, of four. */
export function step(number: number, changes: Partial<StepMessage> = {}): StepMessage {
  return {
    type: 'step',
    step: number,
    totalSteps: 4,
    loss: 1.234,
    ...{ gradNorm: 1, learningRate: 0.001, tokens: 10, tokensPerSecond: 100 },
    tokenAccuracy: 0.5,
    ...changes,
  };
}

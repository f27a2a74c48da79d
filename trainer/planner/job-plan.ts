// A prepared run as data for programs: the API's dry run and what a server checks a job by before it queues it.
import type { JobPlan } from '../../src/contracts/training.ts';
import { planEpoch } from '../data/epoch-plan.ts';
import type { PreparedRun } from '../prepare-run.ts';
import type { RunPlan } from './describe-run.ts';
import { showExample } from './show-examples.ts';

/** Of the first batch: a page of them, and with the longest rows a few MB in one message. */
const MAX_SHOWN = 16;

export function toJobPlan(prepared: PreparedRun, run: RunPlan): JobPlan {
  const { settings, train, language, warnings } = prepared;
  const { memory, ...counts } = run;
  const lengths = train.examples.map(({ ids }) => ids.length);
  const [firstWindow = []] = planEpoch(lengths, 0, settings.order);
  const shown = firstWindow.flat(2).slice(0, MAX_SHOWN);
  return {
    ...counts,
    method: settings.method,
    maxLength: settings.order.maxLength,
    stepsPerEpoch: settings.stepsPerEpoch,
    learningRate: settings.schedule.peak,
    memoryBytes: memory.total,
    warnings: warnings.map(({ code, cause, cure }) => ({ code, message: `${cause}; ${cure}` })),
    firstBatch: shown.map((index) => showExample(train.examples[index]!, language)),
  };
}

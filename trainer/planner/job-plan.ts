// A prepared run as data: for the API's dry run, and for the server, which checks a job with it before queueing the job.
import type { JobPlan, PlannedExample } from '../../src/contracts/training-messages.ts';
import type { Language } from '../data/encode-row.ts';
import { planEpoch } from '../data/epoch-plan.ts';
import type { Example } from '../data/example.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import { recommendCompute } from './method-memory.ts';
import type { RunPlan } from './run-plan.ts';

/** The most examples that are shown: a page of text, or a few MB if the rows are long. */
const MAX_SHOWN = 16;

/** Returns the plan of a prepared run. */
export function toJobPlan(prepared: PreparedRun, run: RunPlan): JobPlan {
  const { settings, train, language, warnings } = prepared;
  const { memory, ...counts } = run;
  const lengths = train.examples.map(({ ids }) => ids.length);
  const [firstWindow = []] = planEpoch(lengths, 0, settings.order);
  const shown = firstWindow.flat(2).slice(0, MAX_SHOWN);
  return {
    ...counts,
    method: settings.method,
    compute: prepared.job.compute,
    recommendedCompute: recommendCompute(settings.method),
    maxLength: settings.order.maxLength,
    stepsPerEpoch: settings.stepsPerEpoch,
    learningRate: settings.schedule.peak,
    memoryBytes: memory.total,
    warnings: warnings.map(({ code, cause, cure }) => ({ code, message: `${cause}; ${cure}` })),
    firstBatch: shown.map((index) => toPlannedExample(train.examples[index]!, language)),
  };
}

type Span = PlannedExample['spans'][number];

/**
 * Returns an example as text with its trained parts marked. The text is decoded from the token ids, and so shows exactly what
 * the model will see. Without a tokenizer it consists of the ids.
 */
export function toPlannedExample(example: Example, language: Language | undefined): PlannedExample {
  const bytesOf = (id: number) =>
    language ? language.tokenizer.tokenBytes(id) : Buffer.from(`${id} `);
  // A character that is split between two spans belongs to the one that completes it.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const runs = tokenRuns(example);
  const spans: Span[] = [];
  let text = '';
  for (const [i, { from, to, isLearned }] of runs.entries()) {
    const bytes = Buffer.concat(Array.from(example.ids.subarray(from, to), bytesOf));
    const start = text.length;
    text += decoder.decode(bytes, { stream: i + 1 < runs.length });
    if (text.length > start) spans.push({ start, end: text.length, isLearned });
  }
  return { text, spans };
}

/** Consecutive tokens [from, to) that are all in the loss, or all masked. */
interface TokenRun {
  readonly from: number;
  readonly to: number;
  readonly isLearned: boolean;
}

function tokenRuns({ ids, labels, weights }: Example): TokenRun[] {
  // Nothing predicts position 0.
  const isLearned = (t: number) => t > 0 && labels[t]! >= 0 && (weights?.[t] ?? 1) > 0;
  const runs: TokenRun[] = [];
  for (let from = 0, to = 1; from < ids.length; from = to, to++) {
    while (to < ids.length && isLearned(to) === isLearned(from)) to++;
    runs.push({ from, to, isLearned: isLearned(from) });
  }
  return runs;
}

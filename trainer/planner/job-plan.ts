// A prepared run as data for programs: the API's dry run and what a server checks a job by before it queues it.
// Examples as text, with what is learned of them marked: decoded from the token ids and labels that are trained on, so
// that it shows what the model will see.
import type { JobPlan, PlannedExample } from '../../src/contracts/training.ts';
import type { Language } from '../data/encode-row.ts';
import { planEpoch } from '../data/epoch-plan.ts';
import type { Example } from '../data/example.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import type { RunPlan } from './run-plan.ts';

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
    firstBatch: shown.map((index) => toPlannedExample(train.examples[index]!, language)),
  };
}

type Span = PlannedExample['spans'][number];

/** Without a tokenizer, ids stand for themselves. */
export function toPlannedExample(example: Example, language: Language | undefined): PlannedExample {
  const bytesOf = (id: number) =>
    language ? language.tokenizer.tokenBytes(id) : Buffer.from(`${id} `);
  // A character whose bytes are parted by a span's end belongs to the span that completes it.
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

/** Tokens [from, to) that are all learned, or all not. */
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

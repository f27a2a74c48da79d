// A prepared run as data: for the API's dry run, and for the server, which checks a job with it before queueing it.
import type { JobPlan, PlannedExample } from '../../src/contracts/training-messages.ts';
import type { ModelText } from '../data/encode-row.ts';
import { planEpoch } from '../data/epoch-plan.ts';
import { classOf, type Example, sequenceLengths, sequencesOf } from '../data/example.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import { recommendCompute } from './method-memory.ts';
import type { RunPlan } from './run-plan.ts';

/** The most examples to show: a page of text, or a few MB with long rows. */
const MAX_SHOWN = 16;

/** Returns the plan of a prepared run. */
export function toJobPlan(prepared: PreparedRun, run: RunPlan): JobPlan {
  const { settings, train, modelText, warnings } = prepared;
  const { memory, ...counts } = run;
  const lengths = sequenceLengths(train.examples);
  const [firstWindow = []] = planEpoch(lengths, 0, settings.order);
  const shown = firstWindow.flat(2).slice(0, MAX_SHOWN);
  const labels = prepared.adapter?.lora.classes;
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
    ...(labels && { labels }),
    firstBatch: shown.flatMap((index) => {
      const example = train.examples[index]!;
      const label = labels?.[classOf(example) ?? -1];
      const shownLabel = label !== undefined && { label };
      return toPlannedExamples(example, modelText).map((part) => ({ ...part, ...shownLabel }));
    }),
  };
}

/** Returns an example as it is shown; a pair as two. */
function toPlannedExamples(example: Example, modelText: ModelText | undefined): PlannedExample[] {
  const [first, second] = sequencesOf(example).map((one) => toPlannedExample(one, modelText));
  if (!second) return [first!];
  return [
    { ...first!, side: 'preferred' },
    { ...second, side: 'non_preferred' },
  ];
}

type Span = PlannedExample['spans'][number];

/**
 * Returns an example as text with its trained parts marked. The text is decoded from the token ids, so it shows exactly what
 * the model will see. Without a tokenizer it lists the ids.
 */
export function toPlannedExample(
  example: Example,
  modelText: ModelText | undefined,
): PlannedExample {
  const bytesOf = (id: number) =>
    modelText ? modelText.tokenizer.tokenBytes(id) : Buffer.from(`${id} `);
  // A character that is split between two spans belongs to the span that completes it.
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

/** Consecutive tokens [from, to) that are either all trained or all masked. */
interface TokenRun {
  readonly from: number;
  readonly to: number;
  readonly isLearned: boolean;
}

function tokenRuns({ ids, labels, weights }: Example): TokenRun[] {
  // No position predicts position 0.
  const isLearned = (t: number) => t > 0 && labels[t]! >= 0 && (weights?.[t] ?? 1) > 0;
  const runs: TokenRun[] = [];
  for (let from = 0, to = 1; from < ids.length; from = to, to++) {
    while (to < ids.length && isLearned(to) === isLearned(from)) to++;
    runs.push({ from, to, isLearned: isLearned(from) });
  }
  return runs;
}

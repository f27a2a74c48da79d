// The samples of a job that learns from rewards: some prompts of one step with their completions. The newest step is shown
// until the user chooses one.
import { computed, signal } from '@preact/signals';
import type { FineTuningJobSamples } from '../../contracts/fine-tuning-api.ts';
import { errorText, isAbort, requestJson } from '../api.ts';

type Completion = FineTuningJobSamples['prompts'][number]['completions'][number];

/** The samples of one job. */
export type SampleStore = ReturnType<typeof createSampleStore>;

/** Makes the samples of a job with this path in the API. */
export function createSampleStore(jobPath: string) {
  /** Undefined: the newest. */
  const chosen = signal<number>();
  /** The newest step with samples; 0 before the first. */
  const newest = signal(0);
  /** Undefined before the first step. */
  const shown = signal<FineTuningJobSamples>();
  /** Why a step could not be read; empty: it could. */
  const problem = signal('');
  let reading = new AbortController();

  /** Returns the samples of the newest recorded step up to this one. */
  async function read(step: number, abort?: AbortSignal) {
    const after = Number.isFinite(step) ? `&after=${step + 1}` : '';
    const { data } = await requestJson<{ data: FineTuningJobSamples[] }>(
      `${jobPath}/samples?limit=1${after}`,
      { signal: abort },
    );
    return data[0];
  }

  async function choose(step: number) {
    chosen.value = step < newest.value ? step : undefined;
    reading.abort();
    reading = new AbortController();
    try {
      shown.value = await read(step, reading.signal);
      problem.value = '';
    } catch (error) {
      if (!isAbort(error)) problem.value = errorText(error);
    }
  }

  return {
    ...{ shown, newest, problem, choose },
    /** Whether the newest step is shown until there is a newer one. */
    isFollowing: computed(() => chosen.value === undefined),
    /** Reads the newest samples. */
    async update() {
      const samples = await read(Number.POSITIVE_INFINITY);
      newest.value = samples?.step ?? 0;
      if (chosen.value === undefined && samples?.step !== shown.value?.step) shown.value = samples;
    },
    async earlier() {
      if ((shown.value?.step ?? 0) > 1) await choose(shown.value!.step - 1);
    },
    /** Looks for the next step with growing gaps, because only every n-th step of a long job is recorded. */
    async later() {
      const from = shown.value?.step ?? 0;
      for (let gap = 1; shown.value?.step === from && from < newest.value; gap *= 2) {
        await choose(Math.min(from + gap, newest.value));
        if (problem.value !== '') return;
      }
    },
  };
}

/** A completion, and how often it was sampled. */
export interface MergedCompletion {
  readonly completion: Completion;
  readonly times: number;
}

/** Merges equal completions. The best come first. */
export function mergedCompletions(completions: readonly Completion[]): MergedCompletion[] {
  const merged = new Map<string, MergedCompletion>();
  for (const completion of completions) {
    const key = JSON.stringify(completion);
    merged.set(key, { completion, times: (merged.get(key)?.times ?? 0) + 1 });
  }
  return [...merged.values()].sort((a, b) => b.completion.reward - a.completion.reward);
}

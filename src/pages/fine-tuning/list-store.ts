// The state of the lists of jobs and of training loops. It stays while the page shows something else.
import { computed, signal } from '@preact/signals';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import type { TinkerRun } from '../../contracts/tinker-runs.ts';
import { requestJson } from '../api.ts';
import { pagedQuery } from '../store/pages.ts';
import { query } from '../store/query.ts';
import { jobName, statusWord } from './facts.ts';

const PAGE_SIZE = 20;
/** A search reads at most this many jobs. */
const MAX_SEARCHED = 1_000;
/** The longest page of training loops. */
const MAX_RUNS = 1_000;
/** The charts have this many distinct colors. */
export const MAX_COMPARED = 4;

interface RunList {
  readonly training_runs: readonly TinkerRun[];
  readonly cursor: { readonly total_count: number };
}

/** Both lists, the search, and the jobs that are chosen for a comparison. */
export type ListStore = ReturnType<typeof createListStore>;

/** Makes the state. */
export function createListStore(
  jobs = pagedQuery<FineTuningJob>(`v1/fine_tuning/jobs?limit=${PAGE_SIZE}`),
) {
  const search = signal('');
  /** The jobs that match the search. */
  const matches = computed(() => matching(jobs.items.value ?? [], search.value));
  /** Ids of the jobs to compare. */
  const chosen = signal<ReadonlySet<string>>(new Set());
  let limit = PAGE_SIZE;
  const runs = query<RunList>(() =>
    requestJson(`api/v1/training_runs?limit=${limit}`, { isQuiet: true }),
  );
  let isLooking = false;

  /** Reads older jobs until one matches, because the API cannot search. One loop serves all keystrokes. */
  async function look() {
    if (isLooking) return;
    isLooking = true;
    let isMore = true;
    while (isMore && matches.value.length === 0 && (jobs.items.value?.length ?? 0) < MAX_SEARCHED) {
      isMore = await jobs.more();
    }
    isLooking = false;
  }

  return {
    ...{ jobs, search, matches, chosen, runs },
    /** Whether both lists were read. They appear together, so that nothing moves. */
    isLoaded: computed(() => jobs.isRead.value && runs.isRead.value),
    searchFor(text: string) {
      search.value = text;
      void look();
    },
    choose(id: string, isChosen: boolean) {
      const others = [...chosen.value].filter((other) => other !== id);
      chosen.value = new Set(isChosen ? [...others, id] : others);
    },
    moreRuns() {
      limit = Math.min(limit + PAGE_SIZE, MAX_RUNS);
      return runs.refresh();
    },
  };
}

/** Returns the jobs that contain all words of a search. */
export function matching(jobs: readonly FineTuningJob[], search: string): FineTuningJob[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return jobs.filter((job) => {
    const texts = [jobName(job), job.id, job.model, job.fine_tuned_model, statusWord(job)];
    const text = texts.join(' ').toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

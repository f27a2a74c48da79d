// The settings of jobs as texts, and what jobs have in common.
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import type { Metrics } from './events.ts';
import { classCountOf, SETTINGS, statusWord } from './facts.ts';
import { resultsOf } from './results.ts';

type Setting = readonly [name: string, text: string];

/** Returns the settings of a job. */
export function settingsOf(job: FineTuningJob): Setting[] {
  const known = SETTINGS.map(([name, read]) => [name, read(job)] as const);
  return known.filter(([, value]) => value != null).map(([name, value]) => [name, String(value)]);
}

/** Returns the model next to the job's; undefined for a classifier, since a base does not classify. */
export function besideOf(job: FineTuningJob): string | undefined {
  return classCountOf(job) === undefined ? job.model : undefined;
}

/** A job with the metrics of its steps. */
export interface JobSteps {
  readonly job: FineTuningJob;
  readonly steps: readonly Metrics[];
}

/** Compares the states, results and settings of jobs. Each row has a name and the text of each job. */
export function compareTexts(jobs: readonly JobSteps[], nowS: number) {
  const tables = jobs.map(({ job, steps }) => {
    const results = resultsOf(job, steps, nowS).map(({ name, value }) => [name, value] as const);
    return new Map([['Status', statusWord(job)], ...results, ...settingsOf(job)]);
  });
  const names = [...new Set(tables.flatMap((table) => [...table.keys()]))];
  const rows = names
    .map((name) => [name, ...tables.map((table) => table.get(name) ?? '–')])
    .filter(([, ...texts]) => texts.some((text) => text !== '–'));
  const isEqual = ([, first, ...others]: readonly string[]) =>
    others.every((text) => text === first);
  return { different: rows.filter((row) => !isEqual(row)), equal: rows.filter(isEqual) };
}

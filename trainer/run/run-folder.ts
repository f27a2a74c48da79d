// The folder of a run: its job, metrics, events and reports. Only one process works in it at a time.

import { existsSync, statSync } from 'node:fs';
import { appendFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ConfigError, FileError, UsageError } from '../../src/common/errors.ts';
import { acquireLock, LockHeld } from '../../src/common/file-lock.ts';
import { makeFolder } from '../../src/common/folders.ts';
import { loadIfPresent, loadRegular, SMALL_FILE_BYTES } from '../../src/common/regular-file.ts';
import type { StepMetrics } from '../../src/contracts/metrics.ts';
import { RUN_FILES } from '../../src/contracts/run-folder.ts';
import type { StepSamples } from '../../src/contracts/step-samples.ts';
import { parseJob, type TrainJob } from '../job/job.ts';
import { writeFileDurably } from './durable-files.ts';
import { EVENT_FILE, fileVersionRecord, stepRecord } from './event-file.ts';
import { plotSvg } from './loss-picture.ts';
import { parseSteps, type Step, serializeSteps, toResultCsv } from './metrics.ts';

const LOCK_FILE = 'lock';
/** Enough for the metrics of a million steps, and for the longest samples. */
const MAX_STEPS_BYTES = 256 * 2 ** 20;
/** A killed process is gone within this time. */
const LOCK_WAIT = { waitMs: 10_000, pollMs: 100, isPidEnough: true };

/** The kinds of events in `events.jsonl`. */
export type EventType =
  | 'planned'
  | 'started'
  | 'resumed'
  | 'warn'
  | 'checkpoint'
  | 'solved'
  | 'evaluated'
  | 'paused'
  | 'published'
  | 'succeeded'
  | 'failed';

/** A line of `events.jsonl`, without its time. */
interface RunEvent {
  readonly type: EventType;
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** The folder of a run that this process has locked. */
export interface RunFolder {
  readonly dir: string;
  /** Whether this process started the run. */
  readonly isNew: boolean;
  readonly adapterDir: string;
  /** The result of a `full` run. */
  readonly modelDir: string;
  readonly checkpointsDir: string;
  readonly snapshotsDir: string;
  /** OpenAI's result table. */
  readonly resultFile: string;
  /** The metrics of the steps so far, oldest first. */
  readonly metrics: readonly StepMetrics[];
  /**
   * Drops the metrics and samples after a step and rewrites the files that contain them. Called when a run resumes from that step's
   * checkpoint.
   */
  rewind(step: number): Promise<void>;
  addMetrics(row: StepMetrics): Promise<void>;
  addSamples(samples: StepSamples): Promise<void>;
  addEvent(event: RunEvent): Promise<void>;
  /** Writes `resultFile`. */
  writeTable(): Promise<void>;
  /** Writes `plot.svg`. */
  writePlot(title: string): Promise<void>;
  /** Releases the lock. */
  close(): Promise<void>;
}

/** Checks that a new run's folder is empty. @throws UsageError if it is not */
export async function refuseUsedFolder(dir: string): Promise<void> {
  if (!existsSync(dir)) return;
  if (!statSync(dir).isDirectory()) throw new UsageError(`--out: ${dir} is a file`);
  if ((await readdir(dir)).length === 0) return;
  const cure = existsSync(path.join(dir, RUN_FILES.job))
    ? `already has a run. Resume it: lorikeet train --resume ${dir}`
    : 'is not empty. Choose an empty or new folder.';
  throw new UsageError(`--out: ${dir} ${cure}`);
}

/** Creates the folder of a new run. @throws UsageError if the folder is not empty */
export async function createRunFolder(dir: string, job: TrainJob): Promise<RunFolder> {
  await refuseUsedFolder(dir);
  await makeFolder(dir);
  await lock(dir);
  await writeFileDurably(path.join(dir, RUN_FILES.job), `${JSON.stringify(job, null, 2)}\n`);
  return runFolder(dir, true);
}

/** Opens the folder of a run to resume. @throws UsageError if there is no run, ConfigError if another process works on it */
export async function openRunFolder(dir: string): Promise<{ folder: RunFolder; job: TrainJob }> {
  const bytes = await loadRegular(path.join(dir, RUN_FILES.job), SMALL_FILE_BYTES).catch(
    (cause) => {
      if (cause instanceof FileError) throw cause;
      throw new UsageError(`--resume: ${dir} has no run (it has no ${RUN_FILES.job})`);
    },
  );
  await lock(dir);
  return { folder: runFolder(dir, false), job: parseJob(toJson(bytes.toString())) };
}

function toJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FileError(RUN_FILES.job, 'is not JSON', { cause });
  }
}

function runFolder(dir: string, isNew: boolean): RunFolder {
  const file = (name: string) => path.join(dir, name);
  let metrics: StepMetrics[] = [];
  const nowS = () => Date.now() / 1000;
  return {
    dir,
    isNew,
    adapterDir: file(RUN_FILES.adapter),
    modelDir: file('model'),
    checkpointsDir: file(RUN_FILES.checkpoints),
    snapshotsDir: file(RUN_FILES.snapshots),
    resultFile: file('result.csv'),
    get metrics() {
      return metrics;
    },
    async rewind(step) {
      metrics = await rewindSteps(file('metrics.jsonl'), step);
      await rewindSteps(file('samples.jsonl'), step);
      const records = metrics.map((row) => stepRecord(row, nowS()));
      await writeFile(file(EVENT_FILE), Buffer.concat([fileVersionRecord(nowS()), ...records]));
    },
    async addMetrics(row) {
      metrics.push(row);
      await appendFile(file('metrics.jsonl'), serializeSteps([row]));
      await appendFile(file(EVENT_FILE), stepRecord(row, nowS()));
    },
    async addSamples(samples) {
      await appendFile(file('samples.jsonl'), serializeSteps([samples]));
    },
    async addEvent(event) {
      const line = { time: new Date().toISOString(), ...event };
      await appendFile(file('events.jsonl'), `${JSON.stringify(line)}\n`);
    },
    async writeTable() {
      await writeFileDurably(file('result.csv'), toResultCsv(metrics));
    },
    async writePlot(title) {
      if (metrics.length > 0) await writeFileDurably(file('plot.svg'), plotSvg(metrics, title));
    },
    async close() {
      await rm(file(LOCK_FILE), { force: true });
    },
  };
}

/** Drops what a file of steps says about those after `lastStep`, and returns the others. */
async function rewindSteps<T extends Step>(file: string, lastStep: number): Promise<T[]> {
  const text = await loadIfPresent(file, MAX_STEPS_BYTES);
  const rows = parseSteps<T>(text?.toString() ?? '', lastStep);
  if (text) await writeFileDurably(file, serializeSteps(rows));
  return rows;
}

/**
 * Locks the folder. Waits for a process that has just been killed. Only the process id counts, because the folder may come from
 * another container. @throws ConfigError if the other process keeps running
 */
async function lock(dir: string): Promise<void> {
  await acquireLock(path.join(dir, LOCK_FILE), LOCK_WAIT).catch((error) => {
    if (!(error instanceof LockHeld)) throw error;
    throw new ConfigError(
      `${dir}: ${error.message} is working on this run (${LOCK_FILE}). Wait until it ends, or end it first.`,
    );
  });
}

// Runs a target on edited files: it must accept each or refuse it by an error that it is allowed, in bounded time and memory.

import { readdirSync, readFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { getHeapStatistics } from 'node:v8';
import fc from 'fast-check';
import { applyEdits, type EditList, editLists, type Format } from './edits.ts';
import { watchProgress } from './watchdog.ts';

/** A parser under test. */
export interface Target extends Format {
  readonly name: string;
  /**
   * Parses a file. If it is accepted, checks that the result makes sense. Resolves or throws.
   */
  run(file: Uint8Array): void | Promise<void>;
  /** Whether the error is a refusal that says what is wrong, and where. */
  isRefusal(error: unknown): boolean;
  /** The memory that a case may take beyond its file. */
  readonly maxExtraBytes?: number;
}

/** How long, or how often, a target is run. */
export interface FuzzOptions {
  readonly seed: number;
  readonly cases: number;
  readonly maxMs?: number;
  /** Repeats a single case, as a failure prints it. */
  readonly path?: string | undefined;
}

/** What a run saw. */
export interface FuzzReport {
  cases: number;
  refused: number;
  slowestMs: number;
  /** The most memory that a case took beyond its file, in bytes. */
  mostBytes: number;
}

/** Unless a target says something else. */
const MAX_EXTRA_BYTES = 16 * 2 ** 20;
/** CPU time. The slowest case takes a hundredth of it. */
const MAX_CPU_MS = 2000;
/** A refusal is a line of a log. */
const MAX_MESSAGE_LENGTH = 1000;

/** Throws if a case fails, with the command that repeats it. */
export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzReport> {
  const { seed, cases, maxMs, path: only } = options;
  const report: FuzzReport = { cases: 0, refused: 0, slowestMs: 0, mostBytes: 0 };
  // A process that dies says nothing afterwards.
  writeSync(2, `${target.name} with seed ${seed}\n`);
  using progress = watchProgress(`${target.name} with seed ${seed}`);
  const check = async (edits: EditList) => {
    await checkCase(target, applyEdits(target, edits), report);
    progress.beat(++report.cases);
  };
  const outcome = await fc.check(fc.asyncProperty(editLists(target), check), {
    seed,
    numRuns: cases,
    ...(maxMs !== undefined && { interruptAfterTimeLimit: maxMs }),
    ...(only !== undefined && { path: only }),
  });
  // A busy machine may not end the first case in time, which fast-check counts as a failure without an example.
  if (!outcome.failed || outcome.counterexample === null) return report;
  const { counterexample, counterexamplePath, errorInstance } = outcome;
  const file = applyEdits(target, counterexample[0]);
  const again = `npm run fuzz -- --target ${target.name} --seed ${seed} --path ${counterexamplePath}`;
  const shown = Buffer.from(file).toString('base64');
  throw new Error(`${again}\n${errorInstance}\nfile: ${shown}`, { cause: errorInstance });
}

/** Runs one file, and counts it. Throws if the target fails. */
export async function checkCase(
  target: Target,
  file: Uint8Array,
  report: FuzzReport = { cases: 0, refused: 0, slowestMs: 0, mostBytes: 0 },
): Promise<void> {
  const { maxExtraBytes = MAX_EXTRA_BYTES } = target;
  const first = await measure(target, file);
  if (first.elapsedMs > MAX_CPU_MS || first.extraBytes > maxExtraBytes) {
    // The runtime compiles and collects when it likes, and other processes run, so a limit counts if the case reaches it again.
    globalThis.gc?.();
    const cpuBefore = process.cpuUsage();
    const { extraBytes } = await measure(target, file);
    const { user, system } = process.cpuUsage(cpuBefore);
    checkLimits({ cpuMs: (user + system) / 1000, extraBytes, maxExtraBytes }, file);
  }
  if (first.isRefused) report.refused++;
  report.slowestMs = Math.max(report.slowestMs, first.elapsedMs);
  report.mostBytes = Math.max(report.mostBytes, first.extraBytes);
}

interface Measured {
  readonly isRefused: boolean;
  readonly elapsedMs: number;
  readonly extraBytes: number;
}

async function measure(target: Target, file: Uint8Array): Promise<Measured> {
  const usedBefore = usedBytes();
  const start = performance.now();
  let isRefused = false;
  try {
    await target.run(file);
  } catch (error) {
    if (!target.isRefusal(error)) throw error;
    checkMessage((error as Error).message);
    isRefused = true;
  }
  const elapsedMs = performance.now() - start;
  const extraBytes = usedBytes() - usedBefore - file.length;
  return { isRefused, elapsedMs, extraBytes };
}

/** Throws if a case took too much memory or time. `cpuMs` is of this process: others do not count. */
function checkLimits(
  of: { readonly cpuMs: number; readonly extraBytes: number; readonly maxExtraBytes: number },
  file: Uint8Array,
): void {
  const { cpuMs, extraBytes, maxExtraBytes } = of;
  if (extraBytes > maxExtraBytes) {
    throw new Error(`${extraBytes} bytes of memory for a file of ${file.length}`);
  }
  if (cpuMs > MAX_CPU_MS) throw new Error(`${cpuMs} ms for a file of ${file.length} bytes`);
}

/** Characters with which a file could write over other lines of a terminal. */
const CONTROLS = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u;

function checkMessage(message: string): void {
  const fault = CONTROLS.test(message)
    ? 'with control characters'
    : `of ${message.length} characters`;
  if (message.length > MAX_MESSAGE_LENGTH || CONTROLS.test(message)) {
    throw new Error(`a message ${fault}: ${JSON.stringify(message.slice(0, 200))}`);
  }
}

/** On the heap and beside it, as buffers. */
function usedBytes(): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

/** Files on which a target failed once, by name. */
export function corpusOf({ name }: Target): Map<string, Uint8Array> {
  const folder = path.join(import.meta.dirname, 'corpus', name);
  try {
    const files = readdirSync(folder);
    return new Map(files.map((file) => [file, readFileSync(path.join(folder, file))]));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw error;
  }
}

// Runs a few tokens through every graph that serving the base needs. A base that ONNX Runtime cannot run is then refused at the
// start, instead of failing each request. A mark in the serving folder records a successful trial.
import { hash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ConfigError } from '../common/errors.ts';
import { OrtError, runtimeVersion } from '../ort/runtime.ts';
import type { KvCache } from './kv-cache.ts';
import type { ModelInput } from './model-input.ts';
import type { ModelRunner } from './model-runner.ts';

const TOO_FEW_THREADS =
  'The system allows no more threads. Raise the limit of processes (ulimit -u, or pids.max of the container), or lower --threads.';

/** A base as it is about to be served. */
interface Trial {
  readonly runner: ModelRunner;
  readonly cache: KvCache;
  readonly servingDir: string;
  /** Engines with equal forms run the same graphs. */
  readonly forms: string;
}

/** Tries a base that this version of ONNX Runtime has not run in these forms before. Rejects with `ConfigError`. */
export async function tryBase({ servingDir, forms, ...trial }: Trial): Promise<void> {
  const mark = path.join(servingDir, `ran-${markOf(forms)}`);
  if (existsSync(mark)) return;
  await explainFailure(() => runAllForms(trial));
  try {
    writeFileSync(mark, '');
  } catch {
    // The folder is read-only or its disk is full. The next start then tries the base again.
  }
}

/**
 * Runs the model. Rejects with `ConfigError` if ONNX Runtime cannot run the base or start its threads, and with the reason of
 * the signal.
 */
export async function explainFailure<T>(run: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await run();
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof OrtError)) throw error;
    if (error.message.includes('pthread_create failed')) throw new ConfigError(TOO_FEW_THREADS);
    throw new ConfigError(`--model: ONNX Runtime cannot run this base: ${error.message}`);
  }
}

/** Runs one token and several, as a prompt and as decoding sequences. */
async function runAllForms({ runner, cache }: Pick<Trial, 'runner' | 'cache'>): Promise<void> {
  await runner.run(inputOf(1, 1));
  if (cache.maxSeqLength > 1) await runner.run(inputOf(1, 2));
  if (cache.slotCount > 1) await runner.run(inputOf(2, 1));
}

function inputOf(sequences: number, tokensEach: number): ModelInput {
  return {
    tokenIds: Array<number>(sequences * tokensEach).fill(0),
    firstSlot: 0,
    pastLengths: Array<number>(sequences).fill(0),
    logitRows: [0],
    slots: Array<number>(sequences).fill(0),
  };
}

function markOf(forms: string): string {
  return hash('sha256', `${forms} ${runtimeVersion()}`).slice(0, 16);
}

// Matches regular expressions from adapters' configurations against module names, in a child process that is killed if it
// takes too long: an expression's length does not tell how long it compiles. It is a process because a thread that runs out
// of memory can abort its whole process (Node 24 does). There is one, started by the first expression and ended when idle.
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { ServeError } from '../../src/common/errors.ts';
import { forkProgram } from '../../src/common/fork-program.ts';

/** A regular expression and how it matches. */
export interface Expression {
  /** `full`: the whole name; `suffix`: a key of peft's patterns; `layer`: an entry of `layers_pattern`. */
  readonly kind: 'full' | 'suffix' | 'layer';
  readonly text: string;
}

/** Why an expression cannot be used. */
export type ExpressionFault = 'syntax' | 'size' | 'time';

/** All answers, or a fault. */
export type EvaluationResult =
  /** [expression, name]: `NO_MATCH`, `NO_LAYER`, or the layer's number (0 for other kinds). */
  | { readonly answers: Int32Array<ArrayBuffer> }
  /** The first expression that cannot be used. */
  | { readonly index: number; readonly fault: ExpressionFault };

/** The work of one evaluation. */
export interface EvaluationRequest {
  readonly expressions: readonly Expression[];
  readonly names: readonly string[];
}

/** The worker's messages: the index of each expression before it is compiled, then one result. */
export type EvaluationReply = number | EvaluationResult;

export const NO_MATCH = -2;
/** A match of `layers_pattern` without the layer's number. */
export const NO_LAYER = -1;

/** The expressions of a usual configuration take 5 ms. A busy machine needs more. */
const DEADLINE_MS = 1000;
/** Loading the worker from sources takes 0.3 s, and seconds on an overloaded machine. */
const START_DEADLINE_MS = 30_000;
/** A worker takes 45 MB, and 60 ms to start. */
const IDLE_MS = 30_000;
/** The largest program that is allowed takes a tenth of this. */
const MAX_HEAP_MB = 64;
/** How V8 ends a process that reached its limit. */
const OUT_OF_MEMORY = 'SIGABRT';
/** Each result has up to 32 x 2,048 answers of 4 bytes. */
const MAX_REMEMBERED = 64;
/** A timeout is forgotten sooner, because the machine may have been busy. */
const REMEMBER_LATE_MS = 60_000;

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const WORKER = new URL(`./pattern-worker.${EXTENSION}`, import.meta.url);

const results = new LRUCache<string, EvaluationResult>({ max: MAX_REMEMBERED });
const underWay = new Map<string, Promise<EvaluationResult>>();
let lastTurn: Promise<unknown> = Promise.resolve();
let worker: ChildProcess | undefined;
let idleTimer: NodeJS.Timeout | undefined;

/**
 * Matches each expression against each name. Requests run one after the other, and equal ones once. Throws `ServeError`
 * (`adapter_unavailable`) if the worker cannot be started.
 */
export function evaluateExpressions(
  expressions: readonly Expression[],
  names: readonly string[],
): Promise<EvaluationResult> {
  const request = { expressions, names };
  const key = createHash('sha256').update(JSON.stringify(request)).digest('hex');
  const known = results.get(key);
  if (known) return Promise.resolve(known);
  const same = underWay.get(key);
  if (same) return same;
  const result = lastTurn.then(() => evaluate(request));
  underWay.set(key, result);
  lastTurn = result.then(
    (found) => {
      const isLate = 'fault' in found && found.fault === 'time';
      results.set(key, found, isLate ? { ttl: REMEMBER_LATE_MS } : {});
    },
    () => {}, // the caller gets the error, and the next one tries again
  );
  void lastTurn.then(() => underWay.delete(key));
  return result;
}

async function evaluate(request: EvaluationRequest): Promise<EvaluationResult> {
  clearTimeout(idleTimer);
  const current = worker ?? startWorker();
  worker = current;
  keepAlive(current, true);
  try {
    return await answerOf(current, request);
  } catch (error) {
    const message = 'adapter unavailable: its patterns cannot be read now';
    throw new ServeError('adapter_unavailable', message, { cause: error });
  } finally {
    // A worker that failed or did not answer is gone already.
    if (worker) keepAlive(worker, false);
    idleTimer = setTimeout(dropWorker, IDLE_MS).unref();
  }
}

/** Resolves with the worker's answer, or with the fault for which the worker was lost. Rejects if it cannot work. */
async function answerOf(
  current: ChildProcess,
  request: EvaluationRequest,
): Promise<EvaluationResult> {
  let deadline: NodeJS.Timeout | undefined;
  let stopListening: () => unknown = () => {};
  try {
    return await new Promise((resolve, reject) => {
      let index = 0;
      const startDeadline = (ms: number, stop: () => void) => {
        clearTimeout(deadline);
        // If this thread was busy, an answer may be waiting: read it first.
        deadline = setTimeout(() => void nextTurn().then(nextTurn).then(stop), ms);
      };
      const failed = (error: unknown) => {
        dropWorker();
        reject(error);
      };
      const late = () => {
        dropWorker();
        resolve({ index, fault: 'time' });
      };
      const ended = (code: number | null, signal: NodeJS.Signals | null) => {
        if (signal === OUT_OF_MEMORY) resolve({ index, fault: 'size' });
        else failed(new Error(`the worker ended: ${signal ?? code}`));
      };
      const onReply = (reply: EvaluationReply) => {
        if (typeof reply !== 'number') return resolve(reply);
        index = reply;
        return index > 0 || startDeadline(DEADLINE_MS, late);
      };
      startDeadline(START_DEADLINE_MS, () => failed(new Error('the worker did not start')));
      current.on('error', failed).on('exit', ended).on('message', onReply);
      stopListening = () => current.off('error', failed).off('exit', ended).off('message', onReply);
      current.send(request, () => {}); // if it is gone, its exit reports it
    });
  } finally {
    clearTimeout(deadline);
    stopListening();
  }
}

function startWorker(): ChildProcess {
  const started = forkProgram(WORKER, [], {
    execArgv: [`--max-old-space-size=${MAX_HEAP_MB}`],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'], // V8 prints pages when it is out of memory
  });
  started.on('error', () => {}); // errors outside an evaluation
  started.once('exit', () => {
    if (worker === started) worker = undefined;
  });
  return started;
}

/** Whether this process stays alive for the worker. */
function keepAlive(child: ChildProcess, isNeeded: boolean): void {
  for (const handle of [child, child.channel]) {
    if (isNeeded) handle?.ref();
    else handle?.unref();
  }
}

function dropWorker(): void {
  const dropped = worker;
  worker = undefined;
  dropped?.kill('SIGKILL');
}

// Matches regular expressions from adapters' configurations against module names, in a worker thread that is stopped if it
// takes too long: an expression's length does not tell how long it compiles. There is one worker per process, started by the
// first expression and ended when idle.
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { LRUCache } from 'lru-cache';
import { ServeError } from '../../src/common/errors.ts';

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

/** The worker's messages: `begun` once it has read the request, then one result. */
export type EvaluationReply = 'begun' | EvaluationResult;

export const NO_MATCH = -2;
/** A match of `layers_pattern` without the layer's number. */
export const NO_LAYER = -1;

/** The expressions of a usual configuration take 5 ms. A busy machine needs more. */
const DEADLINE_MS = 1000;
/** Loading the worker from sources takes 0.3 s, and seconds on an overloaded machine. */
const START_DEADLINE_MS = 30_000;
/** A worker takes 10 MB, and 50 ms to start. */
const IDLE_MS = 30_000;
/** The largest program that is allowed takes a tenth of this. */
const MAX_HEAP_MB = 64;
/** Each result has up to 32 x 2,048 answers of 4 bytes. */
const MAX_REMEMBERED = 64;
/** A timeout is forgotten sooner, because the machine may have been busy. */
const REMEMBER_LATE_MS = 60_000;

const results = new LRUCache<string, EvaluationResult>({ max: MAX_REMEMBERED });
const underWay = new Map<string, Promise<EvaluationResult>>();
let lastTurn: Promise<unknown> = Promise.resolve();
let worker: Worker | undefined;
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
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const current = worker ?? startWorker();
  worker = current;
  current.ref();
  try {
    const result = await answerOf(current, { ...request, progress });
    if (result !== 'late') return result;
    return { index: Atomics.load(progress, 0), fault: 'time' };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY') {
      return { index: Atomics.load(progress, 0), fault: 'size' };
    }
    const message = 'adapter unavailable: its patterns cannot be read now';
    throw new ServeError('adapter_unavailable', message, { cause: error });
  } finally {
    // A worker that failed or did not answer is gone already.
    worker?.unref();
    idleTimer = setTimeout(dropWorker, IDLE_MS).unref();
  }
}

/** Resolves with the worker's answer, or with `late` once it was stopped. Rejects with the error that ended the worker. */
async function answerOf(
  current: Worker,
  request: EvaluationRequest & { readonly progress: Int32Array },
): Promise<EvaluationResult | 'late'> {
  let deadline: NodeJS.Timeout | undefined;
  let stopListening: () => unknown = () => {};
  try {
    return await new Promise((resolve, reject) => {
      const startDeadline = (ms: number, stop: () => void) => {
        clearTimeout(deadline);
        // If this thread was busy, an answer may be waiting: read it first.
        deadline = setTimeout(() => void nextTurn().then(nextTurn).then(stop), ms);
      };
      const failed = (error: unknown) => {
        dropWorker();
        reject(error);
      };
      startDeadline(START_DEADLINE_MS, () => failed(new Error('the worker did not start')));
      const ended = () => failed(new Error('the worker ended'));
      const onReply = (reply: EvaluationReply) => {
        if (reply !== 'begun') return resolve(reply);
        return startDeadline(DEADLINE_MS, () => {
          dropWorker();
          resolve('late');
        });
      };
      current.on('error', failed).on('exit', ended).on('message', onReply);
      stopListening = () => current.off('error', failed).off('exit', ended).off('message', onReply);
      current.postMessage(request);
    });
  } finally {
    clearTimeout(deadline);
    stopListening();
  }
}

function startWorker(): Worker {
  const isSource = import.meta.url.endsWith('.ts');
  const entry = new URL(`./pattern-worker.${isSource ? 'ts' : 'js'}`, import.meta.url);
  const started = new Worker(isSource ? fromSource(entry) : entry, {
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
  });
  started.on('error', () => {}); // errors outside an evaluation
  started.once('exit', () => {
    if (worker === started) worker = undefined;
  });
  return started;
}

/** Returns a program that loads the sources with tsx, because workers of Node 20 do not inherit loaders. */
function fromSource(entry: URL): URL {
  const api = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const program = `import { tsImport } from ${api}; await tsImport('${entry}', '${entry}');`;
  return new URL(`data:text/javascript,${encodeURIComponent(program)}`);
}

function dropWorker(): void {
  const dropped = worker;
  worker = undefined;
  void dropped?.terminate();
}

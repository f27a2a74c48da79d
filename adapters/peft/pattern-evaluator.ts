// Matches the regular expressions in adapters' configurations against module names, in a child process that is killed if it
// takes too long: the length of an expression does not predict its compile time.
import { ServeError } from '../../src/common/errors.ts';
import { JobProcess } from '../../src/common/job-process.ts';

/** A regular expression and its matching rule. */
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

/** The work of one evaluation. The job's parts are the expressions. */
export interface EvaluationRequest {
  readonly expressions: readonly Expression[];
  readonly names: readonly string[];
}

export const NO_MATCH = -2;
/** A match of `layers_pattern` without the layer's number. */
export const NO_LAYER = -1;

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const WORKER = new URL(`./pattern-worker.${EXTENSION}`, import.meta.url);

const evaluations = new JobProcess<EvaluationResult>('adapter patterns', WORKER, {
  deadlineMs: 1000, // a configuration's expressions usually take 5 ms; a busy machine needs more
  maxHeapMb: 64, // the largest program that is allowed takes a tenth of this
  maxRemembered: 64, // each result has up to 32 x 2,048 answers of 4 bytes
});

/**
 * Matches each expression against each name. Throws `ServeError` (`adapter_unavailable`) if the worker cannot be started.
 */
export async function evaluateExpressions(
  expressions: readonly Expression[],
  names: readonly string[],
): Promise<EvaluationResult> {
  const request: EvaluationRequest = { expressions, names };
  const outcome = await evaluations.run(JSON.stringify(request)).catch((error: unknown) => {
    const message = 'adapter unavailable: its patterns cannot be read now';
    throw new ServeError('adapter_unavailable', message, { cause: error });
  });
  if ('result' in outcome) return outcome.result;
  return { index: outcome.part, fault: outcome.limit === 'time' ? 'time' : 'size' };
}

// Compiles constraints for the engine, off the server's event loop: in child processes with limits on time and memory.
import { ServeError } from '../common/errors.ts';
import { programUrl } from '../common/fork-program.ts';
import { JobProcess } from '../common/job-process.ts';
import type { Caller } from '../common/turn-queue.ts';
import type { CompiledConstraint, Constraint } from '../contracts/generation.ts';
import { rootPath } from './constraint.ts';
import { GrammarError } from './grammar-error.ts';

/** A compiled constraint, or its fault. */
export type CompileResult =
  | { readonly compiled: CompiledConstraint }
  | { readonly fault: { readonly message: string; readonly path: string } };

const WORKER = programUrl('./compiler-worker', import.meta.url);

/**
 * Constraints are compiled one after the other, alternating between tenants. Constraints up to this length have a separate
 * process, so they do not wait for large ones.
 */
const MAX_SMALL_LENGTH = 16_384;

/** The faults of constraints that reach a limit. */
const LIMIT_FAULTS = {
  time: 'takes too long to compile. Use fewer properties, alternatives and combinations',
  memory: 'needs too much memory to compile. Use fewer properties, alternatives and combinations',
};

/** The time limit of a constraint. The slowest accepted one takes 0.5 s, and three times that next to a busy engine. */
const DEADLINE_MS = 4000;
/** The largest NFA takes 12 MB. */
const MAX_HEAP_MB = 256;
/** Outcomes to keep per compiler process. A usual NFA takes 10 kB, and the largest 0.5 MB. */
const MAX_REMEMBERED = 1024;

/** The settings of a compiler. */
interface CompilerOptions {
  /** The time limit of a large constraint. */
  readonly largeMs?: number;
}

/** Compiles constraints. Its processes start with the first constraint. */
export class ConstraintCompiler {
  readonly #small: JobProcess<CompileResult>;
  readonly #large: JobProcess<CompileResult>;

  constructor({ largeMs = DEADLINE_MS }: CompilerOptions = {}) {
    const bytesOf = (result: CompileResult) =>
      'compiled' in result ? result.compiled.nfa.byteLength : 0;
    const limits = { maxHeapMb: MAX_HEAP_MB, maxRemembered: MAX_REMEMBERED, bytesOf };
    this.#small = new JobProcess('small constraints', WORKER, {
      ...limits,
      deadlineMs: DEADLINE_MS,
    });
    this.#large = new JobProcess('large constraints', WORKER, { ...limits, deadlineMs: largeMs });
  }

  /**
   * Compiles a constraint, or returns what it compiled before. Rejects with `GrammarError` if the constraint cannot be used, with
   * `ServeError` if no process can be started or too many constraints are waiting, and with the reason of the caller's signal.
   */
  async compile(constraint: Constraint, caller?: Caller): Promise<CompiledConstraint> {
    const json = JSON.stringify(constraint);
    const lane = json.length <= MAX_SMALL_LENGTH ? this.#small : this.#large;
    const outcome = await lane.run(json, caller).catch((cause: unknown) => {
      if (cause instanceof ServeError || caller?.signal?.aborted) throw cause;
      throw new ServeError(
        'overloaded',
        'constraints cannot be compiled now: too many are waiting. Try again in a moment',
        { cause },
      );
    });
    if ('limit' in outcome) {
      throw new GrammarError(LIMIT_FAULTS[outcome.limit], rootPath(constraint));
    }
    if ('compiled' in outcome.result) return outcome.result.compiled;
    const { message, path } = outcome.result.fault;
    throw new GrammarError(message, path);
  }
}

/** The compiler of this process. */
export const constraintCompiler = new ConstraintCompiler();

// Compiles constraints in child processes with limits on time and memory, off the event loops of server and engine.
import { ServeError } from '../common/errors.ts';
import { JobProcess } from '../common/job-process.ts';
import type { Caller } from '../common/turn-queue.ts';
import type { Constraint } from '../contracts/generation.ts';
import { rootPath } from './constraint.ts';
import type { Network } from './network.ts';
import { GrammarError } from './text-pattern.ts';

/** A constraint, and whether its network is wanted or only a check. */
export interface CompileJob {
  readonly constraint: Constraint;
  readonly want: 'check' | 'network';
}

/** The fault, or the network if it was wanted. */
export interface CompileResult {
  readonly fault?: { readonly message: string; readonly path: string };
  readonly network?: Network;
}

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const WORKER = new URL(`./compiler-worker.${EXTENSION}`, import.meta.url);

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
/** The largest network takes 12 MB. */
const MAX_HEAP_MB = 256;
/** The engine also keeps the grammars that it built from networks. */
const MAX_REMEMBERED = 16;

/** The settings of a compiler. */
interface CompilerOptions {
  /** The number of outcomes to keep, for small and for large constraints. */
  readonly maxRemembered?: number;
  /** The time limit of a large constraint. */
  readonly largeMs?: number;
}

/** Compiles constraints. Its processes start with the first constraint. */
export class ConstraintCompiler {
  readonly #small: JobProcess<CompileResult>;
  readonly #large: JobProcess<CompileResult>;

  constructor({ maxRemembered = MAX_REMEMBERED, largeMs = DEADLINE_MS }: CompilerOptions = {}) {
    const limits = { maxHeapMb: MAX_HEAP_MB, maxRemembered };
    this.#small = new JobProcess('small constraints', WORKER, {
      ...limits,
      deadlineMs: DEADLINE_MS,
    });
    this.#large = new JobProcess('large constraints', WORKER, { ...limits, deadlineMs: largeMs });
  }

  /**
   * Checks a constraint. Rejects with `GrammarError` if it cannot be used, with `ServeError` if no process can be started or
   * too many constraints are waiting, and with the reason of the caller's signal.
   */
  async check(constraint: Constraint, caller?: Caller): Promise<void> {
    await this.#run({ constraint, want: 'check' }, caller);
  }

  /** Returns the network of a constraint. Rejects like `check`. */
  async compile(constraint: Constraint, caller?: Caller): Promise<Network> {
    const { network } = await this.#run({ constraint, want: 'network' }, caller);
    return network!;
  }

  async #run(job: CompileJob, caller: Caller | undefined): Promise<CompileResult> {
    const json = JSON.stringify(job);
    const lane = json.length <= MAX_SMALL_LENGTH ? this.#small : this.#large;
    const outcome = await lane.run(json, caller).catch((cause: unknown) => {
      if (cause instanceof ServeError || caller?.signal?.aborted) throw cause;
      throw new ServeError('overloaded', 'constraints cannot be compiled now', { cause });
    });
    if ('limit' in outcome) {
      throw new GrammarError(LIMIT_FAULTS[outcome.limit], rootPath(job.constraint));
    }
    const { fault } = outcome.result;
    if (fault) throw new GrammarError(fault.message, fault.path);
    return outcome.result;
  }
}

/** The server's compiler. It only checks, so its outcomes take little memory. */
export const constraintChecks = new ConstraintCompiler({ maxRemembered: 1024 });

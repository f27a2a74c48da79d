// Compiles constraints off the loops of the server and the engine: in child processes, within limits of time and memory.
import { ServeError } from '../common/errors.ts';
import { JobProcess } from '../common/job-process.ts';
import type { Caller } from '../common/turn-queue.ts';
import type { Constraint } from '../contracts/generation.ts';
import { rootPath } from './constraint.ts';
import type { Network } from './network.ts';
import { GrammarError } from './text-pattern.ts';

/** A constraint, and whether its network is wanted or only whether it can be used. */
export interface CompileJob {
  readonly constraint: Constraint;
  readonly want: 'check' | 'network';
}

/** A fault, or the network if it is wanted. */
export interface CompileResult {
  readonly fault?: { readonly message: string; readonly path: string };
  readonly network?: Network;
}

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const WORKER = new URL(`./compiler-worker.${EXTENSION}`, import.meta.url);

/** Constraints are compiled one after the other, in turns between tenants. A small one does not wait for large ones: it has another process. */
const MAX_SMALL_LENGTH = 16_384;

/** Faults of constraints that reach a limit. */
const LIMIT_FAULTS = {
  time: 'takes too long to compile. Use fewer properties, alternatives and combinations',
  memory: 'needs too much memory to compile. Use fewer properties, alternatives and combinations',
};

/** How long a constraint may take. The slowest that is accepted takes 0.5 s, and three times that beside a busy engine. */
const DEADLINE_MS = 4000;
/** The largest network takes 12 MB. */
const MAX_HEAP_MB = 256;
/** The engine also keeps the grammars that it made of networks. */
const MAX_REMEMBERED = 16;

/** The settings of a compiler. */
export interface CompilerOptions {
  /** The number of outcomes that are kept for constraints of each size. */
  readonly maxRemembered?: number;
  /** How long a large constraint may take. */
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
   * Rejects with `GrammarError` if the constraint cannot be used, with `ServeError` if no process can be started or too many
   * constraints wait, and with the reason of the caller's signal.
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

/** The server's. Its outcomes take little memory, because it only checks. */
export const constraintChecks = new ConstraintCompiler({ maxRemembered: 1024 });

// What a job would do, without one: its files are read and its run is planned at once, on this server. Leaves nothing.
import { randomUUID } from 'node:crypto';
import { type ErrorCode, ServeError } from '../common/errors.ts';
import type { Fault, JobPlan } from '../contracts/training.ts';
import type { JobRunner } from './runner.ts';
import { planJob } from './validation-run.ts';
import { type Asked, Workspace, type WorkspaceOptions } from './workspace.ts';

/** Each holds a request open and takes a core. */
const MAX_AT_ONCE = 2;
const RETRY_S = 5;
/** A trainer that is gone without a word was killed: the fault is the machine's, or the plan's size. */
const CODES: ReadonlySet<string> = new Set<ErrorCode>([
  'invalid_training_file',
  'invalid_n_examples',
  'unsupported_parameter',
  'base_mismatch',
]);

export class DryRuns {
  readonly #runner: JobRunner;
  readonly #workspaces: WorkspaceOptions;
  #count = 0;

  constructor(runner: JobRunner, workspaces: WorkspaceOptions) {
    this.#runner = runner;
    this.#workspaces = workspaces;
  }

  /** Throws `ServeError` with what is wrong with the files or settings; the signal's reason. */
  async plan(asked: Asked, signal: AbortSignal): Promise<JobPlan> {
    if (this.#count >= MAX_AT_ONCE) {
      const message = `${MAX_AT_ONCE} dry runs are under way.`;
      throw new ServeError('overloaded', message, { retryAfterS: RETRY_S });
    }
    this.#count++;
    const id = `dryrun-${randomUUID()}`;
    const workspace = new Workspace({ id, token: 0 }, this.#workspaces);
    try {
      const parts = { runner: this.#runner, workspace };
      const outcome = await planJob({ ...asked, id }, parts, signal);
      if (outcome.kind === 'planned') return outcome.plan;
      throw toError(outcome.error, outcome.kind);
    } finally {
      this.#count--;
      await workspace.remove();
    }
  }
}

function toError({ code, message, param }: Fault, kind: 'refused' | 'lost'): ServeError {
  const options = param === null ? {} : { param };
  if (kind === 'lost') return new ServeError('overloaded', message, options);
  return new ServeError(
    CODES.has(code) ? (code as ErrorCode) : 'invalid_request',
    message,
    options,
  );
}

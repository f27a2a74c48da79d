// The worker process that compiles constraints for `compiler.ts`, which kills it if it takes too long. It ends when the channel
// to its parent closes.
import { serveJobs } from '../common/job-process.ts';
import type { CompileJob, CompileResult } from './compiler.ts';
import { checkConstraint, constraintNetwork } from './constraint.ts';
import { GrammarError } from './text-pattern.ts';

serveJobs(compile);

function compile({ constraint, want }: CompileJob): CompileResult {
  try {
    if (want === 'network') return { network: constraintNetwork(constraint) };
    checkConstraint(constraint);
    return {};
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    return { fault: { message: error.message, path: error.path } };
  }
}

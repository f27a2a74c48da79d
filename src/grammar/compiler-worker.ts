// The worker process that compiles constraints for `compiler.ts`, which kills it if it takes too long. It ends when the channel
// to its parent closes.
import { serveJobs } from '../common/job-process.ts';
import type { Constraint } from '../contracts/generation.ts';
import type { CompileResult } from './compiler.ts';
import { compileConstraint } from './constraint.ts';
import { GrammarError } from './grammar-error.ts';

serveJobs(compile);

function compile(constraint: Constraint): CompileResult {
  try {
    return { compiled: compileConstraint(constraint) };
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    return { fault: { message: error.message, path: error.path } };
  }
}

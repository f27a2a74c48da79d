// Checks that the tools of a prompt can be enforced, so that a wrong schema is found when its row is read.
import { constraintCompiler } from '../../src/grammar/compiler.ts';
import { GrammarError } from '../../src/grammar/grammar-error.ts';
import { TrainingRowError } from '../../src/rows/row-schema.ts';
import { argumentsOf } from '../../src/tools/call-constraint.ts';
import type { Example } from './example.ts';

/** Rejects with `TrainingRowError` if the arguments of a tool cannot be constrained. The compiler remembers earlier ones. */
export async function refuseUnusableTools({ tools = [] }: Pick<Example, 'tools'>): Promise<void> {
  for (const [i, tool] of tools.entries()) {
    await constraintCompiler.compile(argumentsOf(tool)).catch((error) => {
      if (!(error instanceof GrammarError)) throw error;
      throw new TrainingRowError(
        `tools[${i}].function.parameters: ${`${error.path} ${error.message}`.trim()}`,
      );
    });
  }
}

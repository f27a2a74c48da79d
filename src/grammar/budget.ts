// Bounds the memory of a compilation by its own count. The limit of the compiler's process is the second line: it costs a
// process, and does not say what was too large.
import { GrammarError } from './grammar-error.ts';

/**
 * The memory of one constraint. The heap of the compiler's process has room for it and as much garbage. Of the real schemas of
 * MaskBench that are accepted, the largest takes a third.
 */
const MAX_BYTES = 64 * 2 ** 20;

/** The stages that take memory, and how a constraint takes less in each. */
const ADVICE = {
  pattern: 'parts of patterns. Use fewer properties, constants and alternatives',
  expression: 'states of expressions. Use simpler ones, lower counts, and fewer for one text',
  schema: 'schemas that apply together. Use fewer alternatives and combinations of them',
  nfa: 'edges between characters. Use fewer constants and sets of characters',
};

/** A stage of the compilation. */
type Stage = keyof typeof ADVICE;

/** The bytes of the compilation under way, by stage. A compilation never waits, so there is one at a time. */
let taken: Record<Stage, number> | undefined;
let left = 0;

/** Runs a compilation, or a part of one, within the budget. */
export function withinBudget<T>(run: () => T): T {
  if (taken) return run();
  taken = { pattern: 0, expression: 0, schema: 0, nfa: 0 };
  left = MAX_BYTES;
  try {
    return run();
  } catch (error) {
    // The stack is memory as well.
    const isStack = error instanceof RangeError && error.message.includes('call stack');
    throw isStack ? new GrammarError('is nested too deeply') : error;
  } finally {
    taken = undefined;
  }
}

/** Counts memory before a stage takes it. Throws `GrammarError` once the compilation has taken too much. */
export function charge(stage: Stage, bytes: number): void {
  if (!taken) return;
  taken[stage] += bytes;
  left -= bytes;
  if (left >= 0) return;
  const [most] = Object.entries(taken).sort(([, one], [, other]) => other - one)[0]!;
  const size = `${MAX_BYTES / 2 ** 20} MiB`;
  throw new GrammarError(
    `is too large: it takes more than ${size} to compile, most of it for ${ADVICE[most as Stage]}`,
  );
}

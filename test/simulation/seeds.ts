// Runs stories by their seed.
import fc from 'fast-check';
import { type Story, stories } from './commands.ts';
import type { PlantedBug } from './planted-bugs.ts';
import { runStory } from './run-story.ts';
import type { Outcome } from './world.ts';

/** The story of a seed. */
export function storyOf(seed: number): Story {
  return fc.sample(stories, { seed, numRuns: 1 })[0]!;
}

/** Says what a seed violates, and how to repeat it. */
export function explain(seed: number, violation: Error): string {
  return `${violation.message}\nRepeat it: npm run simulate -- --seed ${seed}`;
}

/** Finds the first seed that shows a bug as a violation of its invariant; undefined if none of the seeds does. */
export async function findSeed(
  { invariant, create }: PlantedBug,
  { from, count }: { readonly from: number; readonly count: number },
): Promise<number | undefined> {
  for (let seed = from; seed < from + count; seed++) {
    const { violation } = await runStory(storyOf(seed), create());
    if (violation?.invariant === invariant) return seed;
  }
  return undefined;
}

const MAX_SHRINK_MS = 120_000;

/** Returns the shortest story that fast-check finds for a failing seed. */
export async function shrink(
  seed: number,
  run: (story: Story) => Promise<Pick<Outcome, 'violation'>> = runStory,
): Promise<{ story: Story; violation: Error } | undefined> {
  const property = fc.asyncProperty(stories, async (story) => {
    const { violation } = await run(story);
    if (violation) throw violation;
  });
  const options = { seed, numRuns: 1, interruptAfterTimeLimit: MAX_SHRINK_MS };
  const { counterexample, errorInstance } = await fc.check(property, options);
  return counterexample
    ? { story: counterexample[0], violation: errorInstance as Error }
    : undefined;
}

// Runs seeds of the simulation:
//   npm run simulate -- --seed N         one seed: its trace, and the shortest story that fails
//   npm run simulate -- --seeds N [--from N] [--minutes N]   many seeds
//   npm run simulate -- --bugs           the planted bugs, and the seeds that find them
import { readOptions } from '../options.ts';
import { INVARIANTS } from './invariants.ts';
import { PLANTED_BUGS } from './planted-bugs.ts';
import { runStory } from './run-story.ts';
import { explain, findSeed, shrink, storyOf } from './seeds.ts';

const values = readOptions({
  seed: undefined,
  seeds: 2000,
  from: 1,
  minutes: 15,
  bugs: false,
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (values.bugs) await findBugs();
else if (values.seed !== undefined) await repeat(Number(values.seed));
else await runMany(values.from, values.seeds, values.minutes);

async function repeat(seed: number): Promise<void> {
  const { violation, lines, outcomes } = await runStory(storyOf(seed));
  for (const line of lines) say(line);
  say(JSON.stringify(Object.fromEntries(outcomes)));
  if (!violation) {
    say(`seed ${seed}: no violation`);
    return;
  }
  say(`seed ${seed}: ${violation.stack}`);
  const shortest = await shrink(seed);
  if (shortest) say(`${shortest.violation.message}\n${JSON.stringify(shortest.story, null, 1)}`);
  process.exitCode = 1;
}

async function runMany(from: number, count: number, minutes: number): Promise<void> {
  Error.stackTraceLimit = 0; // stacks take a twelfth of the time; `--seed` shows them
  const startMs = performance.now();
  const totals = new Map<string, number>();
  let virtualMs = 0;
  let done = 0;
  while (done < count && performance.now() - startMs < minutes * 60_000) {
    const seed = from + done++;
    const outcome = await runStory(storyOf(seed));
    virtualMs += outcome.virtualMs;
    for (const [what, n] of outcome.outcomes) totals.set(what, (totals.get(what) ?? 0) + n);
    if (!outcome.violation) continue;
    say(explain(seed, outcome.violation));
    process.exitCode = 1;
  }
  const hours = (virtualMs / 3_600_000).toFixed(0);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  say(`${done} seeds, ${hours} virtual hours, in ${seconds} s. Answers:`);
  for (const [what, n] of [...totals].sort(([, a], [, b]) => b - a)) say(`  ${n} ${what}`);
}

async function findBugs(): Promise<void> {
  for (const { id, text, checkedBy } of INVARIANTS) {
    say(`${id} ${text}`);
    const bugs = PLANTED_BUGS.filter(({ invariant }) => invariant === id);
    if (bugs.length === 0) say(`    tested with planted bugs in ${checkedBy.join(', ')}`);
    for (const bug of bugs) {
      const seed = await findSeed(bug, { from: 1, count: 1000 });
      say(`    ${bug.what}: ${seed === undefined ? 'NOT FOUND' : `found by seed ${seed}`}`);
      if (seed === undefined) process.exitCode = 1;
    }
  }
}

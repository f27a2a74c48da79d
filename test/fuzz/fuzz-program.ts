// `npm run fuzz -- --target NAME --cases N --seed S`: runs one target, or all of them, for as long as you like. `--minutes N`
// ends each target earlier. `--path P` repeats a single case, as a failure prints it.
import { readOptions } from '../options.ts';
import { replaceNodeCalls } from '../simulation/node-calls.ts';
import { fuzz, type Target } from './fuzz.ts';
import { PARSERS } from './targets.ts';

const values = readOptions({
  target: undefined,
  cases: 100_000,
  seed: 1,
  minutes: undefined,
  path: undefined,
});
replaceNodeCalls(0); // a file is read in a third of the time without a change of threads
if (values.path === undefined) Error.stackTraceLimit = 0; // refusals need no stack; a repeated case has one
const names = PARSERS.map(({ name }) => name);
if (values.target === undefined || names.includes(values.target)) await runChosen(PARSERS);
if (!names.includes(values.target ?? '')) {
  // Its server starts Node's test runner, whose hooks make every promise slower.
  const { HTTP_TARGETS } = await import('./http-targets.ts');
  names.push(...HTTP_TARGETS.map(({ name }) => name));
  await runChosen(HTTP_TARGETS);
}
if (values.target !== undefined && !names.includes(values.target)) {
  throw new Error(`Unknown target. Targets: ${names.join(', ')}.`);
}
process.exit(); // child processes of the parsers would keep this one alive

async function runChosen(targets: readonly Target[]): Promise<void> {
  for (const target of targets) {
    if (target.name !== (values.target ?? target.name)) continue;
    try {
      await run(target);
    } catch (error) {
      const { message, cause } = error as Error;
      process.stderr.write(`${message}\n${cause instanceof Error ? cause.stack : cause}\n`);
      process.exitCode = 1;
    }
  }
}

async function run(target: Target): Promise<void> {
  const start = performance.now();
  const { cases, refused, slowestMs, mostBytes } = await fuzz(target, {
    seed: values.seed,
    cases: values.cases,
    path: values.path,
    ...(values.minutes !== undefined && { maxMs: Number(values.minutes) * 60_000 }),
  });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  process.stdout.write(
    `${target.name} seed ${values.seed}: ${cases} cases in ${seconds} s, ${refused} refused, ` +
      `slowest ${slowestMs.toFixed(1)} ms, most memory ${(mostBytes / 2 ** 20).toFixed(1)} MiB, ` +
      `peak RSS ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB\n`,
  );
}

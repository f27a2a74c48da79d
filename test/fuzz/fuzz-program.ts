// `npm run fuzz -- --target NAME --cases N --seed S`: runs one target, or all of them, for as long as you like. `--minutes N`
// ends each target earlier. `--path P` repeats a single case, as a failure prints it.
import { parseArgs } from 'node:util';
import { fuzz, type Target } from './fuzz.ts';
import { TARGETS } from './targets.ts';

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string' },
    path: { type: 'string' },
  },
});
const chosen = TARGETS.filter(({ name }) => name === (values.target ?? name));
if (chosen.length === 0) {
  throw new Error(`Unknown target. Targets: ${TARGETS.map(({ name }) => name).join(', ')}.`);
}
for (const target of chosen) {
  try {
    await run(target);
  } catch (error) {
    const { message, cause } = error as Error;
    process.stderr.write(`${message}\n${cause instanceof Error ? cause.stack : cause}\n`);
    process.exitCode = 1;
  }
}
process.exit(); // child processes of the parsers would keep this one alive

async function run(target: Target): Promise<void> {
  const start = performance.now();
  const { cases, refused, slowestMs, mostBytes } = await fuzz(target, {
    seed: Number(values.seed),
    cases: Number(values.cases),
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

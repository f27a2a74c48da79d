// More edited files than the unit tests have time for, with other seeds on every run. LORIKEET_E2E_LONG takes 15 minutes.
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { runOnEachProcessor } from './bundled-program.ts';

/** For each of the 15 targets. */
const SECONDS = process.env['LORIKEET_E2E_LONG'] === undefined ? 0.5 : 60;

test('edited files are parsed or refused, in bounded time and memory', async (t) => {
  const outputs = await runOnEachProcessor('test/fuzz/fuzz-program.ts', () => [
    ...['--cases', '100000000', '--minutes', `${SECONDS / 60}`],
    ...['--seed', `${randomInt(2 ** 31)}`],
  ]);
  for (const line of outputs.join('').trim().split('\n')) t.diagnostic(line);
});

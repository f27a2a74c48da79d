// More seeds of the simulation than the unit tests have time for. LORIKEET_E2E_LONG runs as many as 15 minutes allow.
import { test } from 'node:test';
import { runOnEachProcessor } from './bundled-program.ts';

const SEED_COUNT = process.env['LORIKEET_E2E_LONG'] === undefined ? 100 : 200_000;
const PROGRAM = 'test/simulation/seeds-program.ts';

test('the invariants hold in many seeds of the simulation', async (t) => {
  const outputs = await runOnEachProcessor(PROGRAM, (i, count) => {
    const share = Math.ceil(SEED_COUNT / count);
    return ['--from', `${1 + i * share}`, '--seeds', `${share}`, '--minutes', '15'];
  });
  for (const output of outputs) t.diagnostic(output.split('\n', 1)[0]!);
});

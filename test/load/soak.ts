// `npm run soak`: a server at 0.7 of its capacity for ten minutes, and what it holds and answers meanwhile. With --chaos its
// engine is killed every minute and a fifth of all requests to the store fail. Prints a table; exits with 1 if a target is
// missed. Arguments: --minutes N  --chaos  --out DIR  --model DIR
import { parseArgs } from 'node:util';
import { runLoad } from './runner.ts';
import { soakScenario } from './scenarios.ts';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    chaos: { type: 'boolean', default: false },
    out: { type: 'string' },
    model: { type: 'string', default: 'models/toy' },
  },
});

const scenario = soakScenario({ minutes: Number(options.minutes), hasChaos: options.chaos });
await runLoad(
  { [options.chaos ? 'L8' : 'L7']: scenario },
  { ...options, seconds: 10, weights: 'f32' },
);

// `npm run soak`: a server at 0.7 of its capacity for ten minutes, and what it holds and answers meanwhile. With --chaos its
// engine is killed every minute and a fifth of all requests to the store fail. Prints a table; exits with 1 if a target is
// missed. Arguments: --minutes N  --chaos  --out DIR  --model DIR
import { readOptions } from '../options.ts';
import { runLoad } from './runner.ts';
import { soakScenario } from './scenarios.ts';

const options = readOptions({
  minutes: 10,
  chaos: false,
  out: undefined,
  model: 'models/toy',
});

const scenario = soakScenario({ minutes: options.minutes, hasChaos: options.chaos });
await runLoad(
  { [options.chaos ? 'L8' : 'L7']: scenario },
  { ...options, seconds: 10, weights: 'f32' },
);

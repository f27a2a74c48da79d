// `npm run load`: what a server does under load of every kind, against the targets. The load comes from a process of its own on
// the same machine: it takes time from the server, and so it does while the capacity is measured. Prints a table and exits with 1
// if a target is missed; --out DIR also writes it there, with plots.
// Arguments: --only L2,…  --seconds N (of a measurement)  --out DIR  --model DIR  --weights FORM
import { readOptions } from '../options.ts';
import { runLoad } from './runner.ts';
import { SCENARIOS } from './scenarios.ts';

const options = readOptions({
  only: undefined,
  seconds: 20,
  out: undefined,
  model: 'models/toy',
  weights: 'f32',
});

const ids = options.only?.split(',') ?? Object.keys(SCENARIOS);
const unknown = ids.filter((id) => !(id in SCENARIOS));
if (unknown.length > 0) throw new Error(`--only: there is no ${unknown.join(', ')}`);
const chosen = Object.fromEntries(ids.map((id) => [id, SCENARIOS[id]!]));
await runLoad(chosen, options);

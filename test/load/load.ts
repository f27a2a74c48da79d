// `npm run load`: what a server does under load of every kind, against the targets. The load comes from a process of its own on
// the same machine: it takes time from the server, and so it does while the capacity is measured. Prints a table and exits with 1
// if a target is missed; --out DIR also writes it there, with plots.
// Arguments: --only L2,…  --seconds N (of a measurement)  --out DIR  --model DIR  --weights FORM
import { parseArgs } from 'node:util';
import { runLoad } from './runner.ts';
import { SCENARIOS } from './scenarios.ts';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    seconds: { type: 'string', default: '20' },
    out: { type: 'string' },
    model: { type: 'string', default: 'models/toy' },
    weights: { type: 'string', default: 'f32' },
  },
});

const ids = options.only?.split(',') ?? Object.keys(SCENARIOS);
const unknown = ids.filter((id) => !(id in SCENARIOS));
if (unknown.length > 0) throw new Error(`--only: there is no ${unknown.join(', ')}`);
const chosen = Object.fromEntries(ids.map((id) => [id, SCENARIOS[id]!]));
await runLoad(chosen, { ...options, seconds: Number(options.seconds) });

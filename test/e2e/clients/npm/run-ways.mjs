// Runs the ways of a client in a file next to this one. Prints their outcomes as one line of JSON.
// usage: run-ways.mjs FILE BASE_URL
import { runWays } from './ways.ts';

const [file, baseURL] = process.argv.slice(2);
const { createWays } = await import(`./${file}`);
const outcomes = await runWays(createWays({ baseURL, apiKey: 'none' }));
process.stdout.write(`${JSON.stringify(outcomes)}\n`, () => process.exit());

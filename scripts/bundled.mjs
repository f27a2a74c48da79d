// Runs a program of this project as one bundle: `node scripts/bundled.mjs test/x/y-program.ts ARGS…`. Useful for programs that
// run for hours.
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { bundleSources } from './bundle-sources.mjs';

const [entry] = process.argv.splice(2, 1);
const [bundle] = await bundleSources([entry]);
process.setSourceMapsEnabled(true);
await import(pathToFileURL(bundle).href);

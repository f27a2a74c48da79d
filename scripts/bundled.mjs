// Runs a program of this project as one bundle: `node scripts/bundled.mjs test/x/y-program.ts ARGS…`. Useful for programs that
// run for hours: tsx wraps each function on creation to keep its name, which takes a fifth of a simulation's time.
import { rmSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { ownAddresses } from './own-addresses.mjs';

const [entry] = process.argv.splice(2, 1);
const root = path.resolve(import.meta.dirname, '..');
// Inside this package, so that imports of other packages resolve.
const outfile = path.join(root, '.cache', `${path.basename(entry, '.ts')}-${process.pid}.mjs`);

/** Each module keeps its address, so workers start from source. */
const sourceAddresses = ownAddresses((file) => ({
  url: JSON.stringify(pathToFileURL(file).href),
  dirname: JSON.stringify(path.dirname(file)),
}));

await build({
  absWorkingDir: root,
  entryPoints: [entry],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  packages: 'external',
  sourcemap: 'inline',
  plugins: [sourceAddresses],
  logLevel: 'warning',
});
process.setSourceMapsEnabled(true);
process.once('exit', () => rmSync(outfile, { force: true }));
await import(pathToFileURL(outfile).href);

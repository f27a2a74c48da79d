// Bundles programs and tests of this project for the versions of Node that do not strip types. A process then loads a few files
// instead of hundreds, and its functions are not wrapped as tsx does, which takes a fifth of a simulation's time.
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { ownAddresses } from './own-addresses.mjs';
import { CHILD_PROGRAMS, TEST_PROGRAMS } from './programs.mjs';

const root = path.resolve(import.meta.dirname, '..');

/** A module that starts a program (`src/common/fork-program.ts`). */
const STARTS_PROGRAM = /\bprogramUrl\('/;

/**
 * Each module keeps its address, from which it finds files. One that starts a program gets the address that it would have as a separate
 * file of the bundle, so that the program starts from there.
 * @param {string} outdir
 */
const addressesIn = (outdir) =>
  ownAddresses((file, text) => {
    const built = path.join(outdir, path.relative(root, file).replace(/\.ts$/, '.js'));
    const address = STARTS_PROGRAM.test(text) ? built : file;
    return {
      url: JSON.stringify(pathToFileURL(address).href),
      dirname: JSON.stringify(path.dirname(file)),
      filename: JSON.stringify(file),
    };
  });

/** Packages of hundreds of files, which the process of each test would open. */
const LARGE_PACKAGE = /^(?:zod|hono|@bufbuild\/protobuf|@hono\/[\w-]+)(?:\/|$)/;

/**
 * Refers to bundles of packages in a folder, and collects the names of the packages. They are not in the same bundle as our modules:
 * esbuild does not keep the order of side effects between chunks, but `@hono/zod-openapi` must extend zod first.
 * @param {string} folder
 * @param {Set<string>} names
 * @returns {import('esbuild').Plugin}
 */
const packagesIn = (folder, names) => ({
  name: 'bundled packages',
  setup({ onResolve }) {
    onResolve({ filter: LARGE_PACKAGE }, ({ path: name }) => {
      names.add(name);
      return { path: path.join(folder, `${name}.js`), external: true };
    });
  },
});

/**
 * Bundles TypeScript files below the root, with source maps, into a folder that is removed when this process exits.
 * @param {readonly string[]} entries relative to the root
 * @returns {Promise<string[]>} the path of each entry's bundle
 */
export async function bundleSources(entries) {
  const cache = path.join(root, '.cache'); // inside this package, so that imports of other packages resolve
  await mkdir(cache, { recursive: true });
  const outdir = mkdtempSync(path.join(cache, 'bundle-'));
  process.once('exit', () => rmSync(outdir, { recursive: true, force: true }));
  const packages = path.join(outdir, 'packages');
  /** @type {Set<string>} */
  const names = new Set();
  /** @type {import('esbuild').BuildOptions} */
  const options = {
    absWorkingDir: root,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    logLevel: 'warning',
  };
  await build({
    ...options,
    entryPoints: [...entries, ...CHILD_PROGRAMS, ...TEST_PROGRAMS],
    outdir,
    outbase: '.',
    packages: 'external',
    sourcemap: 'linked',
    sourcesContent: false, // each process would parse it
    plugins: [packagesIn(packages, names), addressesIn(outdir)],
  });
  await build({
    ...options,
    entryPoints: [...names].map((name) => ({ in: name, out: name })),
    outdir: packages,
  });
  return entries.map((entry) => path.join(outdir, entry.replace(/\.ts$/, '.js')));
}

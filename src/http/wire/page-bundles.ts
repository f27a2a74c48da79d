// Bundles the pages that are written in TSX: a script per page, with its packages. What those pages share is a chunk, and the
// modules that pages without TSX need too stay separate files, so that a browser never has two copies of one.
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { build, type Metafile } from 'esbuild';

/** The scripts by their served names, and what they were made of. */
export interface PageBundles {
  readonly scripts: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  readonly inputs: Metafile['inputs'];
}

/** Bundles all pages below a folder of sources: each folder with a `main.tsx` is one, served as `FOLDER.js`. */
export async function bundlePages(folder: string): Promise<PageBundles> {
  const mains = (await readdir(folder, { recursive: true })).filter(
    (name) => path.basename(name) === 'main.tsx',
  );
  const { outputFiles, metafile } = await build({
    absWorkingDir: path.resolve(folder, '../..'), // of the names in `inputs`
    entryPoints: Object.fromEntries(
      mains.map((main) => [path.dirname(main), path.join(folder, main)]),
    ),
    outdir: folder,
    chunkNames: 'shared-[hash]',
    write: false,
    bundle: true,
    splitting: true,
    format: 'esm',
    target: 'es2023',
    minify: true,
    jsx: 'automatic',
    jsxImportSource: 'preact',
    external: [path.join(folder, '*.js')],
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
  });
  const scripts = outputFiles.map(
    ({ path: file, contents }) =>
      [path.basename(file), contents as Uint8Array<ArrayBuffer>] as const,
  );
  return { scripts: new Map(scripts), inputs: metafile.inputs };
}

// Bundles the pages: a script and a style sheet per page, with their packages. Modules that pages share are chunks, so that a
// browser has one copy of each.
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { build, type Metafile } from 'esbuild';

/** The scripts and style sheets by their served names, and what they were made of. */
export interface PageBundles {
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  readonly inputs: Metafile['inputs'];
}

/**
 * Bundles all pages below a folder of sources: each folder with a `main.tsx` is one, served as `FOLDER.js`, and as
 * `FOLDER.css` if it imports style sheets.
 */
export async function bundlePages(folder: string): Promise<PageBundles> {
  const mains = (await readdir(folder, { recursive: true })).filter(
    (name) => path.basename(name) === 'main.tsx',
  );
  const { outputFiles, metafile } = await build({
    absWorkingDir: path.resolve(folder, '../..'), // of the names in `inputs`
    entryPoints: {
      ...Object.fromEntries(mains.map((main) => [path.dirname(main), path.join(folder, main)])),
      style: path.join(folder, 'style.css'),
    },
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
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
  });
  const files = outputFiles.map(
    ({ path: file, contents }) =>
      [path.basename(file), contents as Uint8Array<ArrayBuffer>] as const,
  );
  return { files: new Map(files), inputs: metafile.inputs };
}

// Source files as the architecture rules see them: path, text, and what each imports.
// A scan, not a parser: it knows the forms that this code base uses, and strips comments first.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export interface SourceFile {
  /** From the project's root, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** A type-only import or export-from, which does not exist at run time. */
const TYPE_IMPORT = /^(?:import|export) type [^;]*;/gm;
/** Import, export-from and dynamic import. */
const IMPORT =
  /\bfrom\s+['"]([^'"]+)['"]|\bimport\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]|\brequire\(\s*['"]([^'"]+)['"]|\bimport\.meta\.resolve\(\s*['"]([^'"]+)['"]/g;

/** What a file imports, types included: a project path for a relative specifier, else the package's specifier. */
export function importsOf(file: SourceFile): string[] {
  return importsIn(file, stripComments(file.text));
}

/** What a file imports at run time. */
export function runtimeImportsOf(file: SourceFile): string[] {
  return importsIn(file, stripComments(file.text).replace(TYPE_IMPORT, ''));
}

function importsIn(file: SourceFile, code: string): string[] {
  return [...code.matchAll(IMPORT)]
    .map((match) => match.slice(1).find((group) => group !== undefined)!)
    .map((specifier) =>
      specifier.startsWith('.')
        ? path.posix.join(path.posix.dirname(file.path), specifier)
        : specifier,
    );
}

/** Comments blanked; a string that holds `//` (a URL) stays. */
export function stripComments(text: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return text.replace(token, (found) => (found.startsWith('/') ? '' : found));
}

/** TypeScript, and the pages' modules, which browsers take as they are. */
const CODE = /\.ts$|^src\/pages\/.*\.js$/;

/** Every source below the folders. */
export function readSources(folders: readonly string[], wanted = CODE): SourceFile[] {
  return folders
    .flatMap((folder) =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) =>
        path.posix.join(folder, name.replaceAll(path.sep, '/')),
      ),
    )
    .filter((file) => wanted.test(file) && !file.endsWith('.d.ts'))
    .sort()
    .map((file) => ({ path: file, text: readFileSync(file, 'utf8') }));
}

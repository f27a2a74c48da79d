// Finds the tests that hold each row: their names begin with its id.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { ROWS } from './rows.ts';

const TESTS = path.dirname(import.meta.dirname);
/** A string that begins with ids, as in 'F03, I04: a run that throws…'. */
const NAME = /(['"`])((?:[BFIT]\d\d, )*[BFIT]\d\d): ((?:(?!\1)[^\\\n]|\\.)+)\1/g;

/** The sections of docs/evidence/reliability.md, by the letter of their rows. */
const SECTIONS = { faults: 'F', 'bad input': 'B', threats: 'T', invariants: 'I' };

/** A test as its file names it, without its ids. `file` is relative to the repository. */
interface HoldingTest {
  readonly file: string;
  readonly name: string;
}

/** The tests by the ids in their names. Throws if a name has an id that is no row. */
function heldRows(): Map<string, HoldingTest[]> {
  const held = new Map<string, HoldingTest[]>(Object.keys(ROWS).map((id) => [id, []]));
  const files = readdirSync(TESTS, { recursive: true, encoding: 'utf8' });
  const isOwn = (file: string) => file.startsWith(path.basename(import.meta.dirname));
  for (const file of files.filter((name) => name.endsWith('.ts') && !isOwn(name)).sort()) {
    for (const [, , ids, name] of readFileSync(path.join(TESTS, file), 'utf8').matchAll(NAME)) {
      for (const id of ids!.split(', ')) {
        const tests = held.get(id);
        if (!tests) throw new Error(`test/${file} names ${id}, which is not in rows.ts`);
        tests.push({ file: `test/${file}`, name: name!.replace(/\$\{[^}]*\}/g, '…') });
      }
    }
  }
  return held;
}

/** The tables of docs/evidence/reliability.md by section: id, what happens, the first test and how many more there are. */
export function reliabilityTables(): Record<string, string> {
  const held = [...heldRows()];
  return Object.fromEntries(
    Object.entries(SECTIONS).map(([section, letter]) => {
      const rows = held
        .filter(([id]) => id.startsWith(letter))
        .map(([id, tests]) => `| ${id} | ${escaped(ROWS[id]!)} | ${cellOf(tests)} |\n`);
      return [section, `| | what happens | shown by |\n|---|---|---|\n${rows.join('')}`];
    }),
  );
}

function cellOf([first, ...others]: readonly HoldingTest[]): string {
  if (!first) return 'not shown';
  const more = others.length > 0 ? ` and ${others.length} more` : '';
  return `[${escaped(first.name)}](../../${first.file})${more}`;
}

function escaped(text: string): string {
  return text.replace(/\\(['"`])/g, '$1').replace(/[|[\]<>_*]/g, '\\$&');
}

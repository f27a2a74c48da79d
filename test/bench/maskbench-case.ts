// A file of MaskBench: a schema and its instances, spelled as Python writes them without white space. JSON.parse would change
// the spelling of numbers (1.0) and the order of names such as "10".

/** An instance of a schema. */
export interface Instance {
  readonly text: string;
  readonly isValid: boolean;
}

interface File {
  readonly schema: unknown;
  readonly tests: readonly { readonly valid: boolean; readonly data: unknown }[];
}

/** Strings with the colon of a name, and numbers. */
const TOKEN = /"(?:[^"\\]|\\.)*"(?:\s*:)?|-?\d[\d.eE+-]*/g;
const INDEX_NAME = /^"\d+"\s*:$/;
/** Marks what JSON.parse would change. It occurs in no file. */
const MARK = '\u{e000}';
const MARKED_NUMBER = new RegExp(`"${MARK}([^"]*)"`, 'g');

/** Parses a file's text. */
export function parseCase(source: string): { schema: unknown; instances: Instance[] } {
  const marked = source.replaceAll(TOKEN, (token) => {
    if (!token.startsWith('"')) return `"${MARK}${token}"`;
    return INDEX_NAME.test(token) ? token.replace('"', `"${MARK}`) : token;
  });
  const { tests } = JSON.parse(marked) as File;
  return {
    schema: (JSON.parse(source) as File).schema,
    instances: tests.map(({ data, valid }) => ({ text: spell(data), isValid: valid })),
  };
}

function spell(data: unknown): string {
  return JSON.stringify(data)
    .replaceAll(new RegExp(`"${MARK}(\\d+)":`, 'g'), '"$1":')
    .replaceAll(MARKED_NUMBER, '$1');
}

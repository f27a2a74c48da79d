// Edits that turn a valid file into an odd one: of its bytes, and of the JSON inside. fast-check draws the edits, so a case
// can be repeated by its seed and its number, and is reduced to the fewest edits that fail. Knows no parser.
import fc from 'fast-check';

/** One change of a file. Positions and counts are taken modulo the size of what they apply to. */
interface Edit {
  readonly kind: (typeof KINDS)[number];
  readonly at: number;
  readonly count: number;
  /** A word of the dictionary, or the value of a JSON edit. */
  readonly word: number;
  readonly bytes: Uint8Array;
}

/** The edits of one case. */
export interface EditList {
  /** The number of the valid file. */
  readonly seed: number;
  readonly edits: readonly Edit[];
  /** Whether lengths in the file are corrected afterwards, so the edits reach what is behind the first check. */
  readonly isRepaired: boolean;
}

/** What a format gives to its edits. */
export interface Format {
  /** Valid files. */
  readonly seeds: readonly Uint8Array[];
  /** Words and values that the parser knows. */
  readonly words: readonly string[];
  /** Returns the JSON inside a file, and writes another one in its place. */
  readonly json?: {
    read(file: Uint8Array): string;
    write(file: Uint8Array, json: string): Uint8Array;
  };
  /** Corrects lengths after the file has grown by `grownBy` bytes. */
  repair?(file: Uint8Array, grownBy: number): void;
}

const KINDS = [
  'set',
  'flip',
  'cut',
  'insert',
  'word',
  'length',
  'truncate',
  'splice',
  'repeat',
  'replace value',
  'remove value',
  'rename key',
  'copy value',
] as const;

/** Values at which lengths, counts and offsets overflow. */
const LENGTHS = [
  0n,
  1n,
  7n,
  8n,
  255n,
  2n ** 16n,
  2n ** 31n - 1n,
  2n ** 32n - 1n,
  2n ** 40n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** Words of every text format. */
const COMMON_WORDS = [
  ...['{', '}', '[', ']', ',', ':', '"', '\\', '\\u0000', '\\ud800', '\ufeff', '\0', '\n', '\r\n'],
  ...['0', '-1', '1e9', '9e999', '-0', '01', '1.5', '9007199254740993', '18446744073709551615'],
  ...['null', 'true', 'NaN', '""', '{}', '[]', '__proto__', 'constructor', 'toString', '../x'],
  ...['é', '\u2028', '😀', '\u202e', '['.repeat(5000)],
];

/** JSON values that few parsers expect. */
const ODD_VALUES = [
  ...['null', 'true', 'false', '0', '-0', '-1', '1', '1.5', '1e308', '1e-320', '2147483648'],
  ...['9007199254740993', '1e999', '""', '"x"', '"__proto__"', '"\\u0000"', '"\\ud800"', '" "'],
  ...['[]', '{}', '[null]', '[[]]', '{"":0}', '{"__proto__":{"x":1}}', '[0,0]', '["",""]'],
  `"${'x'.repeat(3000)}"`,
  `${'['.repeat(70)}${']'.repeat(70)}`,
  `${'{"a":'.repeat(500)}0${'}'.repeat(500)}`,
  `[${'0,'.repeat(5000)}0]`,
];

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom(...KINDS),
  at: fc.nat(),
  count: fc.nat(64),
  word: fc.nat(),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
});

/** Draws the edits of a case. */
export function editLists(format: Format): fc.Arbitrary<EditList> {
  return fc.record({
    seed: fc.nat(format.seeds.length - 1),
    edits: fc.array(edit, { minLength: 1, maxLength: 5 }),
    isRepaired: fc.boolean(),
  });
}

/** Applies the edits: those of the JSON first, then those of the bytes. */
export function applyEdits(format: Format, { seed, edits, isRepaired }: EditList): Uint8Array {
  const valid = format.seeds[seed]!;
  let file = valid;
  const ofJson = edits.filter(({ kind }) => kind in JSON_EDITS);
  if (format.json && ofJson.length > 0) {
    const { read, write } = format.json;
    file = write(
      file,
      ofJson.reduce((text, one) => editJson(text, one, format), read(file)),
    );
  }
  const lengthBefore = file.length;
  for (const one of edits) if (!(one.kind in JSON_EDITS)) file = editBytes(file, one, format);
  const edited = new Uint8Array(file); // parsers must not see a Buffer, nor change a seed
  if (isRepaired) format.repair?.(edited, file.length - lengthBefore);
  return edited;
}

function wordOf({ words }: Format, index: number): string {
  const at = index % (words.length + COMMON_WORDS.length);
  return words[at] ?? COMMON_WORDS[at - words.length]!;
}

function editBytes(file: Uint8Array, edit: Edit, format: Format): Uint8Array {
  const at = file.length === 0 ? 0 : edit.at % file.length;
  const replace = (removed: number, inserted: Uint8Array) =>
    Buffer.concat([file.subarray(0, at), inserted, file.subarray(at + removed)]);
  switch (edit.kind) {
    case 'set':
      return replace(edit.bytes.length, edit.bytes);
    case 'flip':
      return replace(1, Uint8Array.of((file[at] ?? 0) ^ (1 << (edit.count % 8))));
    case 'cut':
      return replace(edit.count, new Uint8Array(0));
    case 'insert':
      return replace(0, edit.bytes);
    case 'word': {
      const word = Buffer.from(wordOf(format, edit.word));
      return replace(edit.count % 2 === 0 ? word.length : 0, word);
    }
    case 'length': {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(LENGTHS[edit.word % LENGTHS.length]!);
      const size = [1, 2, 4, 8][edit.count % 4]!;
      return replace(size, bytes.subarray(0, size));
    }
    case 'truncate':
      return file.subarray(0, at);
    case 'splice': {
      const other = format.seeds[edit.word % format.seeds.length]!;
      const from = edit.at % Math.max(1, other.length);
      return replace(edit.count, other.subarray(from, from + edit.count));
    }
    default:
      return replace(0, file.subarray(at, at + edit.count)); // repeat
  }
}

/** An object or array, and one of its keys. */
interface Member {
  readonly parent: Record<string, unknown>;
  readonly key: string;
}

const JSON_EDITS = {
  'replace value': ({ parent, key }: Member, { word, count }: Edit) =>
    define(parent, key, JSON.parse(ODD_VALUES[(word + count) % ODD_VALUES.length]!)),
  'remove value': ({ parent, key }: Member) => {
    delete parent[key];
  },
  'rename key': ({ parent, key }: Member, { word }: Edit, format: Format) => {
    const value = parent[key];
    delete parent[key];
    define(parent, wordOf(format, word), value);
  },
  'copy value': ({ parent, key }: Member, { word }: Edit, _: Format, all: readonly Member[]) => {
    const from = all[word % all.length]!;
    // A copy of an outer value into itself would be a cycle.
    define(parent, key, structuredClone(from.parent[from.key]));
  },
};

function editJson(text: string, edit: Edit, format: Format): string {
  const root = { root: JSON.parse(text) as unknown };
  const members = membersOf(root);
  const apply = JSON_EDITS[edit.kind as keyof typeof JSON_EDITS];
  apply(members[edit.at % members.length]!, edit, format, members);
  return JSON.stringify(root.root) ?? 'null';
}

function membersOf(parent: Record<string, unknown>): Member[] {
  const found: Member[] = [];
  const pending = [parent];
  for (let one = pending.pop(); one; one = pending.pop()) {
    for (const key of Object.keys(one)) {
      found.push({ parent: one, key });
      const value = one[key];
      if (typeof value === 'object' && value !== null) {
        pending.push(value as Record<string, unknown>);
      }
    }
  }
  return found;
}

/** Sets own properties only: `__proto__` is a key like any other. */
function define(parent: Record<string, unknown>, key: string, value: unknown): void {
  const own = { value, configurable: true, enumerable: true, writable: true };
  if (Array.isArray(parent) && !/^\d{1,4}$/.test(key)) parent.push(value);
  else Object.defineProperty(parent, key, own);
}

// A strict parser for the JSON of a safetensors header: keys must be unique, and numbers must be plain non-negative integers.
// JSON.parse keeps the last of two equal keys and reads 1e3 as 1000, so two readers could read the same file differently.

import { FileError } from '../common/errors.ts';
import { endOfString } from '../common/json-scan.ts';

/** A tensor's entry in the header. */
interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** [begin, end) in bytes from the end of the header. */
  readonly offsets: readonly number[];
}

/** A parsed header. */
interface HeaderJson {
  readonly entries: Map<string, HeaderEntry>;
  readonly metadata: Record<string, string>;
}

/** No tensor of a model has more axes. With a longer list, the product of the dimensions would be expensive. */
const MAX_AXES = 8;

const DIGIT_0 = 48;
const DIGIT_9 = 57;

/** Parses a header. Throws `FileError` naming the key or the position. */
export function parseHeaderJson(text: string, maxTensors: number): HeaderJson {
  const reader = new HeaderReader(text);
  const entries = new Map<string, HeaderEntry>();
  let metadata: Record<string, string> | undefined;
  reader.object('header', (key) => {
    if (key === '__metadata__') {
      if (metadata) throw new FileError(key, 'occurs twice');
      metadata = readMetadata(reader);
      return;
    }
    if (entries.has(key)) throw new FileError(shorten(key), 'occurs twice');
    if (entries.size === maxTensors) {
      throw new FileError('header', `has more than ${maxTensors} tensors`);
    }
    entries.set(key, readEntry(reader, shorten(key)));
  });
  reader.end();
  return { entries, metadata: metadata ?? {} };
}

/** Shortens a name from a file for use in a message. */
export function shorten(name: string): string {
  if (name === '') return '""';
  return name.length <= 80 ? name : `${name.slice(0, 77)}...`;
}

function readEntry(reader: HeaderReader, name: string): HeaderEntry {
  const values: { dtype?: string; shape?: number[]; offsets?: number[] } = {};
  reader.object(name, (key) => {
    if (key === 'dtype' && values.dtype === undefined) values.dtype = reader.string(name);
    else if (key === 'shape' && !values.shape) values.shape = reader.integers(name);
    else if (key === 'data_offsets' && !values.offsets) values.offsets = reader.integers(name);
    else throw new FileError(name, `has an unexpected or repeated key "${shorten(key)}"`);
  });
  const { dtype, shape, offsets } = values;
  if (dtype === undefined || !shape || !offsets) {
    throw new FileError(name, 'needs dtype, shape and data_offsets');
  }
  return { dtype, shape, offsets };
}

function readMetadata(reader: HeaderReader): Record<string, string> {
  // Without a prototype, __proto__ is an ordinary key.
  const metadata: Record<string, string> = Object.create(null);
  reader.object('__metadata__', (key) => {
    if (Object.hasOwn(metadata, key)) throw new FileError('__metadata__', 'contains a key twice');
    metadata[key] = reader.string('__metadata__');
  });
  return metadata;
}

/** A cursor over the text. There is no recursion, so nesting cannot exhaust the stack. */
class HeaderReader {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  /** Reads `{ "key": value, … }`. The callback must consume the value. */
  object(field: string, value: (key: string) => void): void {
    this.expect('{', field);
    if (this.accept('}')) return;
    do {
      const key = this.string(field);
      this.expect(':', field);
      value(key);
    } while (this.accept(','));
    this.expect('}', field);
  }

  /** Reads `[ 1, 2, … ]` with at most `MAX_AXES` integers. */
  integers(field: string): number[] {
    const list: number[] = [];
    this.expect('[', field);
    if (this.accept(']')) return list;
    do {
      if (list.length === MAX_AXES)
        throw new FileError(field, `has a list of more than ${MAX_AXES} numbers`);
      list.push(this.integer(field));
    } while (this.accept(','));
    this.expect(']', field);
    return list;
  }

  string(field: string): string {
    this.expect('"', field);
    const start = this.at - 1;
    this.at = endOfString(this.text, start) + 1;
    if (this.at > this.text.length) throw new FileError(field, 'has an unterminated string');
    return this.unescape(start, this.at, field);
  }

  end(): void {
    this.skipSpace();
    if (this.at !== this.text.length) throw this.unexpected('header', 'the end');
  }

  private unescape(start: number, end: number, field: string): string {
    try {
      return JSON.parse(this.text.slice(start, end)) as string;
    } catch (cause) {
      throw new FileError(field, 'has an invalid string', { cause });
    }
  }

  private integer(field: string): number {
    this.skipSpace();
    const start = this.at;
    let value = 0;
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at);
      if (code < DIGIT_0 || code > DIGIT_9) break;
      value = value * 10 + (code - DIGIT_0);
      if (value > Number.MAX_SAFE_INTEGER)
        throw new FileError(field, 'has a number that is too large');
    }
    if (this.at === start) throw this.unexpected(field, 'a non-negative integer');
    if (this.at - start > 1 && this.text.charCodeAt(start) === DIGIT_0) {
      throw new FileError(field, 'has a number that starts with 0');
    }
    return value;
  }

  private accept(char: string): boolean {
    this.skipSpace();
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }

  private expect(char: string, field: string): void {
    if (!this.accept(char)) throw this.unexpected(field, `"${char}"`);
  }

  private unexpected(field: string, wanted: string): FileError {
    return new FileError(
      field,
      `the header is invalid: expected ${wanted} at character ${this.at}`,
    );
  }

  private skipSpace(): void {
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return;
    }
  }
}

// A strict reader for the JSON of a safetensors header, which is not quite JSON: a key may occur once, and a
// number is a plain non-negative integer. JSON.parse keeps the last of two equal keys and reads 1e3 as 1000,
// so one file could mean two things to two readers. It knows the grammar, not what the numbers mean.
import { FileError } from '../common/errors.ts';

export interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** [begin, end) in bytes, counted from the end of the header. */
  readonly offsets: readonly number[];
}

export interface HeaderJson {
  readonly entries: Map<string, HeaderEntry>;
  readonly metadata: Record<string, string>;
}

/** No tensor of a model has more axes; a longer list is an attack on whoever multiplies it. */
const MAX_AXES = 8;

const DIGIT_0 = 48;
const DIGIT_9 = 57;
const QUOTE = 34;
const BACKSLASH = 92;

/** Reads a whole header text; throws `FileError` naming the key or the place. */
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
      throw new FileError('header', `more than ${maxTensors} tensors`);
    }
    entries.set(key, readEntry(reader, shorten(key)));
  });
  reader.end();
  return { entries, metadata: metadata ?? {} };
}

/** A name from a file, short enough for a message. */
export function shorten(name: string): string {
  return name.length <= 80 ? name : `${name.slice(0, 77)}...`;
}

function readEntry(reader: HeaderReader, name: string): HeaderEntry {
  const found: { dtype?: string; shape?: number[]; offsets?: number[] } = {};
  reader.object(name, (key) => {
    if (key === 'dtype' && found.dtype === undefined) found.dtype = reader.string(name);
    else if (key === 'shape' && !found.shape) found.shape = reader.integers(name);
    else if (key === 'data_offsets' && !found.offsets) found.offsets = reader.integers(name);
    else throw new FileError(name, `unexpected or repeated key "${shorten(key)}"`);
  });
  const { dtype, shape, offsets } = found;
  if (dtype === undefined || !shape || !offsets) {
    throw new FileError(name, 'needs dtype, shape and data_offsets');
  }
  return { dtype, shape, offsets };
}

function readMetadata(reader: HeaderReader): Record<string, string> {
  // No prototype: a key such as __proto__ is a key like any other.
  const metadata: Record<string, string> = Object.create(null);
  reader.object('__metadata__', (key) => {
    if (Object.hasOwn(metadata, key)) throw new FileError('__metadata__', 'a key occurs twice');
    metadata[key] = reader.string('__metadata__');
  });
  return metadata;
}

/** A cursor over the text. Nothing nests by recursion, so depth cannot exhaust the stack. */
class HeaderReader {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  /** `{ "key": value, … }`; `value` must consume the value. */
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

  /** `[ 1, 2, … ]` of at most `MAX_AXES` integers. */
  integers(field: string): number[] {
    const list: number[] = [];
    this.expect('[', field);
    if (this.accept(']')) return list;
    do {
      if (list.length === MAX_AXES) throw new FileError(field, `more than ${MAX_AXES} numbers`);
      list.push(this.integer(field));
    } while (this.accept(','));
    this.expect(']', field);
    return list;
  }

  string(field: string): string {
    this.expect('"', field);
    const start = this.at;
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at);
      if (code === QUOTE) return this.unescape(start, this.at++, field);
      if (code === BACKSLASH) this.at++;
    }
    throw new FileError(field, 'unterminated string');
  }

  end(): void {
    this.skipSpace();
    if (this.at !== this.text.length) throw this.unexpected('header', 'the end');
  }

  private unescape(start: number, end: number, field: string): string {
    try {
      return JSON.parse(this.text.slice(start - 1, end + 1)) as string;
    } catch (cause) {
      throw new FileError(field, 'is not a JSON string', { cause });
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
      if (value > Number.MAX_SAFE_INTEGER) throw new FileError(field, 'a number is too large');
    }
    if (this.at === start) throw this.unexpected(field, 'a non-negative integer');
    if (this.at - start > 1 && this.text.charCodeAt(start) === DIGIT_0) {
      throw new FileError(field, 'a number starts with 0');
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
    return new FileError(field, `header is not valid: expected ${wanted} at character ${this.at}`);
  }

  private skipSpace(): void {
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return;
    }
  }
}

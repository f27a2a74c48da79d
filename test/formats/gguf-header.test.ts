import assert from 'node:assert/strict';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { FileError } from '../../src/common/errors.ts';
import { checkGgufHeader } from '../../src/formats/gguf.ts';
import { temporaryFolder } from '../fixtures.ts';

const folder = temporaryFolder();

interface Layout {
  readonly version: 1 | 2 | 3;
  readonly isLittleEndian: boolean;
}

const LAYOUTS: readonly Layout[] = [
  { version: 3, isLittleEndian: true },
  { version: 3, isLittleEndian: false },
  { version: 2, isLittleEndian: true },
  { version: 1, isLittleEndian: true },
];

/** Writes the parts of a header, in the layout's byte order. */
class Writer {
  readonly #layout: Layout;
  #bytes = Buffer.from('GGUF');

  constructor(layout: Layout) {
    this.#layout = layout;
    this.uint32(layout.version);
  }

  get bytes(): Buffer {
    return this.#bytes;
  }

  #add(bytes: Uint8Array): this {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    return this;
  }

  uint32(value: number): this {
    const bytes = Buffer.alloc(4);
    if (this.#layout.isLittleEndian) bytes.writeUInt32LE(value);
    else bytes.writeUInt32BE(value);
    return this.#add(bytes);
  }

  size(value: number): this {
    if (this.#layout.version === 1) return this.uint32(value);
    const bytes = Buffer.alloc(8);
    if (this.#layout.isLittleEndian) bytes.writeBigUInt64LE(BigInt(value));
    else bytes.writeBigUInt64BE(BigInt(value));
    return this.#add(bytes);
  }

  text(value: string): this {
    return this.size(value.length).#add(Buffer.from(value));
  }

  zeros(byteLength: number): this {
    return this.#add(Buffer.alloc(byteLength));
  }
}

/** A header with values of each kind and two tensors. */
function headerOf(layout: Layout): Buffer {
  const header = new Writer(layout).size(2).size(4);
  header.text('a').uint32(8).text('text');
  header.text('bool').uint32(7).zeros(1);
  header.text('numbers').uint32(9).uint32(10).size(3).zeros(24);
  header.text('lists').uint32(9).uint32(9).size(2);
  header.uint32(8).size(2).text('x').text('');
  header.uint32(0).size(0);
  header.text('matrix').uint32(2).size(32).size(4).uint32(0).zeros(8);
  header.text('vector').uint32(1).size(8).uint32(0).zeros(8);
  return header.bytes;
}

function check(bytes: Uint8Array): void {
  const file = path.join(folder, 'header.gguf');
  writeFileSync(file, bytes);
  const fd = openSync(file, 'r');
  try {
    checkGgufHeader(fd);
  } finally {
    closeSync(fd);
  }
}

const isRefusal = (message: RegExp) => (error: unknown) =>
  error instanceof FileError && error.field === 'header' && message.test(error.message);

for (const layout of LAYOUTS) {
  const order = layout.isLittleEndian ? 'little' : 'big';
  test(`a whole header of version ${layout.version}, ${order}-endian, passes, and no part of it does`, () => {
    const bytes = headerOf(layout);
    check(bytes);
    check(Buffer.concat([bytes, Buffer.alloc(100)]));
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => check(bytes.subarray(0, length)), isRefusal(/end of the file/));
    }
  });
}

test('a header longer than what is read at once is walked through', () => {
  const header = new Writer(LAYOUTS[0]!).size(0).size(1);
  header.text('words').uint32(9).uint32(8).size(20_000);
  for (let i = 0; i < 20_000; i++) header.text(`word ${i}`);
  check(header.bytes);
  assert.throws(() => check(header.bytes.subarray(0, -1)), isRefusal(/end of the file/));
});

test('counts, types and depths that no file needs are refused', () => {
  const start = () => new Writer(LAYOUTS[0]!);
  const tooMany = start()
    .size(70_000)
    .size(0)
    .zeros(70_000 * 40).bytes;
  assert.throws(() => check(tooMany), isRefusal(/70000 tensors/));
  const unknown = start().size(0).size(1).text('a').uint32(13).zeros(8).bytes;
  assert.throws(() => check(unknown), isRefusal(/type 13/));
  const deep = start().size(0).size(1).text('a').uint32(9);
  for (let depth = 0; depth < 5; depth++) deep.uint32(9).size(1);
  assert.throws(() => check(deep.zeros(100).bytes), isRefusal(/5 levels/));
});

test('a file of another kind is left to the library', () => {
  check(Buffer.from('a text that is no GGUF file'));
});

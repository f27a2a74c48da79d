import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { FileError } from '../../src/common/errors.ts';
import { openZip } from '../../src/formats/zip.ts';

const work = mkdtempSync(path.join(tmpdir(), 'zip-'));
test.after(() => rmSync(work, { recursive: true }));

const CONTENTS = Buffer.from('the quick brown fox '.repeat(50));

/** Creates a zip file with one member. */
function zipOf(name: string, contents: Buffer, method: 0 | 8, comment = ''): Buffer {
  const packed = method === 8 ? deflateRawSync(contents) : contents;
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(method, 8);
  local.writeUInt16LE(name.length, 26);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(method, 10);
  entry.writeUInt32LE(packed.length, 20);
  entry.writeUInt32LE(contents.length, 24);
  entry.writeUInt16LE(name.length, 28);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(46 + name.length, 12);
  end.writeUInt32LE(30 + name.length + packed.length, 16);
  end.writeUInt16LE(comment.length, 20);
  const parts = [local, Buffer.from(name), packed, entry, Buffer.from(name), end];
  return Buffer.concat([...parts, Buffer.from(comment)]);
}

function open(bytes: Uint8Array) {
  const file = path.join(work, 'some.zip');
  writeFileSync(file, bytes);
  return openZip(file);
}

for (const [what, method] of [
  ['stored', 0],
  ['deflated', 8],
] as const) {
  test(`a ${what} member is read, even if the file has a comment`, () => {
    for (const comment of ['', 'made by hand']) {
      const zip = open(zipOf('a/b.txt', CONTENTS, method, comment));
      assert.deepEqual(zip.names, ['a/b.txt']);
      assert.deepEqual(Buffer.from(zip.read('a/b.txt')), CONTENTS);
      assert.throws(() => zip.read('c.txt'), FileError);
      zip.close();
    }
  });
}

test('a member that unpacks to more than it declares is rejected', () => {
  const bytes = zipOf('bomb', Buffer.alloc(1_000_000), 8);
  bytes.writeUInt32LE(10, bytes.length - 22 - 50 + 24);
  const zip = open(bytes);
  assert.throws(() => zip.read('bomb'), FileError);
  zip.close();
});

test('truncated files and other files are rejected', () => {
  const whole = zipOf('a', CONTENTS, 8);
  const bad = [new Uint8Array(0), whole.subarray(0, -30), whole.subarray(40), CONTENTS];
  for (const bytes of bad) {
    assert.throws(() => {
      const zip = open(bytes);
      try {
        zip.read('a');
      } finally {
        zip.close();
      }
    }, FileError);
  }
});

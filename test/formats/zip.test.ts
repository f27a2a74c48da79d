import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { FileError } from '../../src/common/errors.ts';
import { openZip } from '../../src/formats/zip.ts';
import { temporaryFolder } from '../fixtures.ts';
import { zipOf } from './zip-writer.ts';

const work = temporaryFolder();

const CONTENTS = Buffer.from('the quick brown fox '.repeat(50));

function open(bytes: Uint8Array) {
  const file = path.join(work, 'some.zip');
  writeFileSync(file, bytes);
  return openZip(file);
}

for (const how of ['stored', 'deflated'] as const) {
  test(`a ${how} member is read, even if the file has a comment`, () => {
    for (const comment of ['', 'made by hand']) {
      const zip = open(zipOf('a/b.txt', CONTENTS, how, comment));
      assert.deepEqual(zip.names, ['a/b.txt']);
      assert.deepEqual(Buffer.from(zip.read('a/b.txt')), CONTENTS);
      assert.throws(() => zip.read('c.txt'), FileError);
      zip.close();
    }
  });
}

test('a member that unpacks to more than it declares is rejected', () => {
  const bytes = zipOf('bomb', Buffer.alloc(1_000_000), 'deflated');
  bytes.writeUInt32LE(10, bytes.length - 22 - 50 + 24);
  const zip = open(bytes);
  assert.throws(() => zip.read('bomb'), FileError);
  zip.close();
});

test('truncated files and other files are rejected', () => {
  const whole = zipOf('a', CONTENTS, 'deflated');
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

// The invalid lines of an error message are found in the user's file.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLineFaults, readInvalidLines } from '../../src/pages/plan-view.js';

test('a message is split into lines, whatever the faults contain', () => {
  const { rest, faults } = parseLineFaults(
    'The job failed due to an invalid training file. Line 2: messages[0].role: is not one of a, b. ' +
      'Line 12: is not JSON. Line 300: completion: is missing.',
  );
  assert.equal(rest, 'The job failed due to an invalid training file.');
  assert.deepEqual(
    [...faults],
    [
      [2, 'messages[0].role: is not one of a, b'],
      [12, 'is not JSON'],
      [300, 'completion: is missing'],
    ],
  );
  const other = parseLineFaults('suffix: must be 1 to 64 characters');
  assert.equal(other.rest, 'suffix: must be 1 to 64 characters');
  assert.equal(other.faults.size, 0);
});

/** A file that is read in pieces of this size. */
function fileOf(text: string, pieceBytes: number): Blob {
  const bytes = new TextEncoder().encode(text);
  const stream = () =>
    new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += pieceBytes) {
          controller.enqueue(bytes.subarray(at, at + pieceBytes));
        }
        controller.close();
      },
    });
  return { stream } as unknown as Blob;
}

const LINES = ['one', '', 'sch\u00f6n \u{1f99c}', 'x'.repeat(1000), 'last'];

/** The shown text of each line. */
function shown(ending: string) {
  return LINES.map((text, i) => ({
    number: i + 1,
    fault: `fault ${i}`,
    text: text.length > 400 ? `${text.slice(0, 400)}…` : text,
    ending,
  })).map(({ ending: _, ...line }) => line);
}

const faults = new Map(LINES.map((_, i) => [i + 1, `fault ${i}`]));

for (const [name, ending] of Object.entries({
  'line feeds': '\n',
  'carriage returns too': '\r\n',
})) {
  test(`lines are read correctly, however the bytes are split; ${name}`, async () => {
    for (const pieceBytes of [1, 2, 3, 7, 64, 10_000]) {
      for (const end of ['', ending]) {
        const file = fileOf(LINES.join(ending) + end, pieceBytes);
        assert.deepEqual(await readInvalidLines(file, faults), shown(ending), `${pieceBytes}`);
      }
    }
  });
}

test('reading stops after the last invalid line', async () => {
  let pulled = 0;
  const stream = () =>
    new ReadableStream({
      pull(controller) {
        pulled++;
        controller.enqueue(new TextEncoder().encode('a line\n'));
      },
    });
  const endless = { stream } as unknown as Blob;
  const [line] = await readInvalidLines(endless, new Map([[3, 'is bad']]));
  assert.deepEqual(line, { number: 3, fault: 'is bad', text: 'a line' });
  assert.ok(pulled < 10);
});

test('a line that is not in the file is left out', async () => {
  const gone = await readInvalidLines(
    fileOf('one\ntwo', 100),
    new Map([
      [2, 'a'],
      [9, 'b'],
    ]),
  );
  assert.deepEqual(
    gone.map(({ number }) => number),
    [2],
  );
});

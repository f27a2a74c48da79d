// The form shows the name that the server gives to an adapter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { toAdapterName } from '../../src/jobs/names.ts';
import { adapterName } from '../../src/pages/fine-tuning/new-job/name.ts';

function serverName(suffix: string): string | undefined {
  try {
    return toAdapterName(suffix, 'ftjob-0123456789abcdef01234567');
  } catch {
    return undefined;
  }
}

const KNOWN = [
  'Colours',
  'My Model (v2)',
  '--zen',
  'Zürich',
  'a/b',
  'a..b',
  'base',
  'ft',
  '__proto__',
];
test('a typed name becomes the same adapter name on the page and on the server', () => {
  for (const typed of KNOWN) assert.equal(adapterName(typed), serverName(typed), typed);
  const text = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 70 }),
    fc.stringMatching(/^[a-c._\- /]{1,8}$/),
  );
  fc.assert(
    fc.property(text, (typed) => adapterName(typed) === serverName(typed)),
    { numRuns: 2000 },
  );
});

// One member of a large JSON object, found without parsing the rest.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { jsonMember } from '../src/common/json-scan.ts';

test('a member is what JSON.parse finds, however the text is spaced', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 6 }),
      fc.string(),
      fc.constantFrom(undefined, 1, '\t'),
      (object, other, space) => {
        const text = JSON.stringify(object, null, space);
        for (const name of [...Object.keys(object), other]) {
          const found = jsonMember(text, name);
          if (!Object.hasOwn(object, name)) assert.equal(found, undefined);
          else {
            assert.ok(found && found !== 'incomplete');
            assert.deepEqual(JSON.parse(found.text), JSON.parse(JSON.stringify(object[name])));
          }
        }
      },
    ),
  );
});

test('a text that is cut off has no member, or the whole member', () => {
  const value = [{ content: 'a "quoted" } ] one', id: 1 }, [], 'x\\'];
  const text = JSON.stringify({
    version: '1.0',
    other: { deep: [1, 2] },
    tokens: value,
    model: {},
  });
  const end = text.indexOf(',"model"');
  for (let length = 1; length <= text.length; length++) {
    const found = jsonMember(text.slice(0, length), 'tokens');
    if (length < end) assert.equal(found, 'incomplete', `${length}`);
    else assert.deepEqual(found && found !== 'incomplete' && JSON.parse(found.text), value);
  }
  assert.equal(jsonMember('[]', 'tokens'), undefined);
  assert.equal(jsonMember('', 'tokens'), undefined);
});

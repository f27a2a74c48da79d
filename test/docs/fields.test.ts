// The tables of request fields in the documents are up to date.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fieldTables } from '../../src/http/schema/documented-fields.ts';

test('docs/api.md lists the request fields of the server', () => {
  const page = readFileSync('docs/api.md', 'utf8');
  for (const [name, table] of Object.entries(fieldTables())) {
    const place = new RegExp(`<!-- ${name}: [^\\n]*\\n([\\s\\S]*?)<!-- end of ${name} -->`);
    assert.equal(place.exec(page)?.[1]?.trim(), table.trim(), `run \`npm run fix\`: ${name}`);
  }
});

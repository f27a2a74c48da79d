// The tables of request fields in the documents are up to date.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FIELD_PAGES, fieldTables } from '../../scripts/documented-fields.ts';

test('the pages list the request fields of the server', () => {
  for (const [name, table] of Object.entries(fieldTables())) {
    const page = readFileSync(`docs/${FIELD_PAGES[name as keyof typeof FIELD_PAGES]}`, 'utf8');
    const place = new RegExp(`<!-- ${name}: [^\\n]*\\n([\\s\\S]*?)<!-- end of ${name} -->`);
    assert.equal(place.exec(page)?.[1]?.trim(), table.trim(), `run \`npm run fix\`: ${name}`);
  }
});

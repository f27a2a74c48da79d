#!/usr/bin/env node
// Writes the tables of request fields in docs/api.md from the fields themselves. Needs a loader for TypeScript.
import { readFileSync, writeFileSync } from 'node:fs';
import { fieldTables } from '../src/http/schema/documented-fields.ts';

const FILE = 'docs/api.md';

let text = readFileSync(FILE, 'utf8');
for (const [name, table] of Object.entries(fieldTables())) {
  const mark = `<!-- ${name}: written by \`npm run fix\` -->\n`;
  const start = text.indexOf(mark) + mark.length;
  const end = text.indexOf(`<!-- end of ${name} -->`);
  text = `${text.slice(0, start)}\n${table}\n${text.slice(end)}`;
}
writeFileSync(FILE, text);

#!/usr/bin/env node
// Writes the table of settings in docs/configuration.md from the settings themselves. Needs a loader for TypeScript.
import { readFileSync, writeFileSync } from 'node:fs';
import { listSettings } from '../src/config.ts';

const FILE = 'docs/configuration.md';
const MARKS = ['<!-- settings: written by `npm run fix` -->\n', '<!-- end of settings -->'];

const text = readFileSync(FILE, 'utf8');
const [start, end] = MARKS.map((mark) => text.indexOf(mark));
const rows = listSettings().map(
  ({ env, flag, help }) =>
    `| \`${env}\` | ${flag ? `\`${flag}\`` : ''} | ${help.replaceAll('|', '\\|')} |\n`,
);
const table = `\n| variable | flag | meaning |\n|---|---|---|\n${rows.join('')}\n`;
writeFileSync(FILE, text.slice(0, start + MARKS[0].length) + table + text.slice(end));

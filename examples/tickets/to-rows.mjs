// Turns a CSV file with the columns "message" and "team" into training rows, one chat per line.
// Usage: node to-rows.mjs tickets.csv > tickets.jsonl
import { readFileSync } from 'node:fs';

const [file = 'tickets.csv'] = process.argv.slice(2);
const [, ...lines] = readFileSync(file, 'utf8').trim().split(/\r?\n/);
for (const line of lines) {
  const comma = line.lastIndexOf(','); // the team is the last column; a message may contain commas
  const unquoted = line
    .slice(0, comma)
    .replace(/^"(.*)"$/, '$1')
    .replaceAll('""', '"');
  const messages = [
    { role: 'user', content: unquoted },
    { role: 'assistant', content: line.slice(comma + 1) },
  ];
  process.stdout.write(`${JSON.stringify({ messages })}\n`);
}

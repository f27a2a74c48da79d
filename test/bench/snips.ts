// `npm run bench:snips -- --url URL`: the tokens that need no step when an adapter answers SNIPS' requests in a format with its
// intents and slots. Asks a running server that does nothing else for one row after the other, greedily, and prints a table.
// (`lorikeet eval` says how many answers are valid and right.)
// Arguments: --url URL  --model NAME  --rows N  --format FILE (only writes the format, for `lorikeet eval --response-format`)

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { readOptions } from '../options.ts';
import { sharedPath } from '../shared.ts';
import { chatTokens } from './measure.ts';

const options = readOptions({
  url: 'http://127.0.0.1:8080',
  model: 'snips',
  rows: 100,
  format: undefined,
});

interface Row {
  readonly messages: readonly { role: string; content: string }[];
}

interface Answer {
  readonly intent: string;
  /** A slot that occurs twice has a list. */
  readonly slots: Readonly<Record<string, string | readonly string[]>>;
}

/** Training rows have up to 7 slots. The bound ends answers that repeat slots for ever. */
const MAX_SLOTS = 8;
const TEXT = { type: 'string', maxLength: 80 };
const VALUE = { ...TEXT, type: ['string', 'array'], items: TEXT, maxItems: 4 };

const format = formatOf(readRows('train.jsonl').map(answerOf));
if (options.format) writeFileSync(options.format, JSON.stringify(format));
else await main();

async function main(): Promise<void> {
  const rows = readRows('test.jsonl').slice(0, options.rows);
  const table = ['| mask | tokens | of them without a step |', '|---|---|---|'];
  for (const [name, response_format] of [
    ['none', { type: 'text' }],
    ['JSON schema', format],
  ] as const) {
    const before = await forcedTokens();
    let tokens = 0;
    for (const { messages: all } of rows) {
      const messages = all.slice(0, -1);
      const body = { model: options.model, messages, max_tokens: 400, response_format };
      tokens += await chatTokens(options.url, body);
    }
    const share = ((await forcedTokens()) - before) / tokens;
    table.push(`| ${name} | ${tokens} | ${(100 * share).toFixed(1)} % |`);
  }
  process.stdout.write(`${options.model}, ${rows.length} rows\n\n${table.join('\n')}\n`);
}

function readRows(name: string): Row[] {
  const file = sharedPath('data', 'snips', name);
  assert(file, 'the rows are absent: set LORIKEET_SHARED');
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  return lines.map((line): Row => JSON.parse(line));
}

function answerOf({ messages }: Row): Answer {
  return JSON.parse(messages.at(-1)!.content);
}

/** The format of the answers: each intent with its slots, in any order, as in the rows. */
function formatOf(answers: readonly Answer[]) {
  const slotsOf = new Map<string, Set<string>>();
  for (const { intent, slots } of answers) {
    const known = slotsOf.get(intent) ?? new Set<string>();
    slotsOf.set(intent, known);
    for (const name of Object.keys(slots)) known.add(name);
  }
  const anyOf = [...slotsOf].sort().map(([intent, names]) => ({
    type: 'object',
    properties: {
      intent: { const: intent },
      slots: {
        type: 'object',
        propertyNames: { enum: [...names].sort() },
        additionalProperties: VALUE,
        maxProperties: MAX_SLOTS,
      },
    },
    required: ['intent', 'slots'],
    additionalProperties: false,
  }));
  return { type: 'json_schema', json_schema: { name: 'request', schema: { anyOf } } };
}

async function forcedTokens(): Promise<number> {
  const text = await (await fetch(`${options.url}/metrics`)).text();
  return Number(/^lorikeet_forced_tokens_total\S* (\d+)/m.exec(text)?.[1] ?? 0);
}

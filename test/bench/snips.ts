// `npm run bench:snips -- --url URL`: what a mask does for an adapter that answers SNIPS' requests with intent and slots. Asks a
// running server for the same rows with and without a JSON schema, greedily, and prints a table.
// Arguments: --url URL  --model NAME  --rows N  --system (keeps the rows' system message, which the demo adapter does not know)
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { sharedPath } from '../shared.ts';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:8080' },
    model: { type: 'string', default: 'intent' },
    rows: { type: 'string', default: '200' },
    system: { type: 'boolean', default: false },
  },
});

interface Answer {
  readonly intent: string;
  /** A slot that occurs twice has a list. */
  readonly slots: Readonly<Record<string, string | readonly string[]>>;
}

interface Row {
  readonly messages: readonly { role: string; content: string }[];
}

const INTENTS = [
  'AddToPlaylist',
  'BookRestaurant',
  'GetWeather',
  'PlayMusic',
  'RateBook',
  'SearchCreativeWork',
  'SearchScreeningEvent',
];
const TEXT = { type: 'string', maxLength: 80 };
/** Slots may come in any order, as in the training rows, so their names are not declared. */
const FORMAT = {
  type: 'json_schema',
  json_schema: {
    name: 'request',
    schema: {
      type: 'object',
      properties: {
        intent: { enum: INTENTS },
        slots: {
          type: 'object',
          additionalProperties: {
            type: ['string', 'array'],
            items: TEXT,
            maxItems: 4,
            maxLength: 80,
          },
        },
      },
      required: ['intent', 'slots'],
      additionalProperties: false,
    },
  },
};

await main();

async function main(): Promise<void> {
  const rows = readRows('test.jsonl').slice(0, Number(options.rows));
  const table = ['| mask | valid | exact match | slot F1 | tokens |', '|---|---|---|---|---|'];
  for (const [name, fields] of [
    ['none', { response_format: { type: 'text' } }],
    ['JSON schema', { response_format: FORMAT }],
  ] as const) {
    table.push(`| ${name} | ${await measure(rows, fields)} |`);
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

async function measure(rows: readonly Row[], fields: object): Promise<string> {
  let [valid, exact, tokens] = [0, 0, 0];
  const slots = { found: 0, given: 0, right: 0 };
  await mapBounded(rows, async (row) => {
    const { messages } = row;
    const wanted = answerOf(row);
    const prompt = messages.slice(0, -1).filter(({ role }) => options.system || role !== 'system');
    const { text, count } = await ask(prompt, fields);
    tokens += count;
    const answer = parse(text);
    slots.given += Object.keys(wanted.slots).length;
    if (!answer) return;
    valid++;
    const right = Object.entries(answer.slots).filter(([name, value]) =>
      isDeepStrictEqual(wanted.slots[name], value),
    );
    slots.found += Object.keys(answer.slots).length;
    slots.right += right.length;
    const isComplete = right.length === Object.keys(wanted.slots).length;
    const isClean = right.length === Object.keys(answer.slots).length;
    if (answer.intent === wanted.intent && isComplete && isClean) exact++;
  });
  const share = (count: number) => (count / rows.length).toFixed(3);
  const f1 = (2 * slots.right) / (slots.found + slots.given);
  return [share(valid), share(exact), f1.toFixed(3), String(tokens)].join(' | ');
}

/** Undefined if the text is not an answer of the format. */
function parse(text: string): Answer | undefined {
  try {
    const answer: Answer = JSON.parse(text);
    const isAnswer =
      INTENTS.includes(answer.intent) &&
      Object.values(answer.slots)
        .flat()
        .every((value) => typeof value === 'string');
    return isAnswer ? answer : undefined;
  } catch {
    return undefined;
  }
}

async function ask(messages: Row['messages'], fields: object) {
  const body = { model: options.model, messages, temperature: 0, max_tokens: 200, ...fields };
  const response = await fetch(`${options.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as {
    choices: { message: { content: string } }[];
    usage: { completion_tokens: number };
  };
  assert.equal(response.status, 200, JSON.stringify(answer));
  return { text: answer.choices[0]!.message.content, count: answer.usage.completion_tokens };
}

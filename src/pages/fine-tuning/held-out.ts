// The rows that a job held out from training, as questions with known answers. Pure: requests nothing.
import type Papa from 'papaparse';
import { isObject, type JsonObject, parseJson } from '../json.ts';

/** A message of a row. */
export interface Message {
  readonly role: string;
  readonly content?: string | null;
  readonly tool_calls?: readonly { readonly function: ToolCall }[] | undefined;
}
interface ToolCall {
  readonly name: string;
  readonly arguments: string;
}

/** A row as a question. */
export interface Question {
  /** How it is asked: as a chat, as a prompt that is continued, or as a text to classify. */
  readonly kind: 'chat' | 'prompt' | 'text';
  /** The messages of a chat, with the row's system prompt. */
  readonly messages: readonly Message[];
  readonly tools?: unknown;
  /** The last message of the user, the prompt or the text. */
  readonly prompt: string;
  /** The instructions of the row; empty: it has none. */
  readonly system: string;
  /** The answer of the row; undefined: it has none, only a grader can judge. */
  readonly expected: string | undefined;
  /** The values for a grader. */
  readonly item: Readonly<Record<string, unknown>>;
}

/** Reads a row in any form that the trainer reads; undefined if it asks nothing in words. */
export function toQuestion(line: string): Question | undefined {
  const row = parseJson(line);
  if (!isObject(row)) return undefined;
  const { text, label, prompt, completion, chosen, input, preferred_output: preferred } = row;
  if (typeof text === 'string') {
    return label === undefined ? undefined : plain('text', text, String(label));
  }
  if (typeof prompt === 'string' && !isMessages(chosen))
    return plain('prompt', prompt, String(completion ?? chosen));
  if (isObject(input) && isMessages(input['messages']))
    return chat({ ...input, messages: input['messages'] }, toMessages(preferred).at(-1));
  const messages = messagesOf(row);
  if (messages.length === 0) return undefined;
  const { messages: _, tools, parallel_tool_calls: __, ...item } = row;
  const answer = messages.at(-1)?.role === 'assistant' ? messages.at(-1) : undefined;
  return chat({ messages: answer ? messages.slice(0, -1) : messages, tools }, answer, item);
}

function isMessages(value: unknown): value is readonly Message[] {
  return Array.isArray(value) && value.length > 0 && value.every(isObject);
}

function toMessages(value: unknown): readonly Message[] {
  return isMessages(value) ? value : [];
}

const SPEAKERS: Readonly<Record<string, string>> = {
  human: 'user',
  gpt: 'assistant',
  chatgpt: 'assistant',
  model: 'assistant',
};

/** Returns the whole conversation of a row of OpenAI, ShareGPT, TRL or Alpaca; empty if it has another form. */
function messagesOf(row: JsonObject): readonly Message[] {
  const { messages, conversations, system, prompt, completion, chosen, instruction } = row;
  const before = typeof system === 'string' && system ? [{ role: 'system', content: system }] : [];
  if (isMessages(messages)) return messages;
  if (isMessages(conversations)) {
    const turns = conversations as readonly (Message & { from?: string; value?: string })[];
    const toMessage = ({ from, value, ...turn }: (typeof turns)[number]) =>
      from === undefined ? turn : { role: SPEAKERS[from] ?? from, content: value ?? '' };
    return [...before, ...turns.map(toMessage)];
  }
  const asked =
    typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : toMessages(prompt);
  if (isMessages(completion ?? chosen)) return [...asked, ...toMessages(completion ?? chosen)];
  if (typeof instruction !== 'string') return [];
  const content = [instruction, row['input']].filter(Boolean).join('\n');
  const answer = { role: 'assistant', content: String(row['output'] ?? row['response']) };
  return [...before, { role: 'user', content }, answer];
}

function plain(kind: 'prompt' | 'text', prompt: string, expected: string): Question {
  return { kind, messages: [], prompt, system: '', expected, item: {} };
}

function chat(
  { messages, tools }: { messages: readonly Message[]; tools?: unknown },
  answer: Message | undefined,
  item = {},
): Question {
  const instructions = messages.find(({ role }) => role === 'system' || role === 'developer');
  return {
    kind: 'chat',
    messages: messages.map(({ weight: _, ...message }: Message & { weight?: number }) => message),
    ...(tools != null && { tools }),
    prompt: messages.findLast(({ role }) => role === 'user')?.content ?? '',
    system: instructions?.content ?? '',
    expected: answer && messageText(answer),
    item,
  };
}

/** Returns the text of a message, or its calls as JSON. */
export function messageText({ content, tool_calls: calls }: Message): string {
  if (content || !calls) return content ?? '';
  return JSON.stringify(
    calls.map(({ function: { name, arguments: given } }) => [name, parsed(given)]),
  );
}

/** Whether an answer is the expected one. JSON is compared by its value, texts without the space around them. */
export function isEqual(answer: string, expected: string): boolean {
  return normal(answer) === normal(expected);
}

function normal(text: string): string {
  return JSON.stringify(parsed(text, sortKeys));
}

/** Returns the value of a JSON text; the text itself if it is none. */
function parsed(text: string, revive?: typeof sortKeys): unknown {
  try {
    return JSON.parse(text, revive);
  } catch {
    return text.trim();
  }
}

function sortKeys(_: string, value: unknown): unknown {
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Returns the rows of a text file (JSON lines, a JSON list or CSV), each as JSON. */
export function rowsOf(text: string, { parse }: Pick<typeof Papa, 'parse'>): string[] {
  const list = parseJson(text);
  if (Array.isArray(list)) return list.map((row) => JSON.stringify(row));
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  if (lines.length === 0 || parseJson(lines[0]!) !== undefined) return lines;
  // A cell holds a list of messages as JSON. Empty cells have no value.
  const toCell = (cell: string) => (/^\s*[[{]/.test(cell) ? (parseJson(cell) ?? cell) : cell);
  const { data } = parse<Record<string, string>>(text, { header: true, skipEmptyLines: 'greedy' });
  return data.map((row) => {
    const cells = Object.entries(row).filter(([, cell]) => cell !== '');
    return JSON.stringify(Object.fromEntries(cells.map(([name, cell]) => [name, toCell(cell)])));
  });
}

/** Returns the rows that a job held out: all, or the share that the trainer drew with the job's seed. */
export function heldOutRows(
  lines: readonly string[],
  share: number | undefined,
  seed: number,
): readonly string[] {
  if (share === undefined) return lines;
  const count = Math.min(Math.max(1, Math.round(share * lines.length)), lines.length - 1);
  const taken = new Set(
    shuffled(lines.length, streamSeed(seed, 'validation split')).slice(0, count),
  );
  return lines.filter((_, i) => taken.has(i));
}

/** The trainer's shuffle (Fisher-Yates) of the indices below `count`, with its random numbers (mulberry32). */
function shuffled(count: number, seed: number): number[] {
  const indices = [...Array(count).keys()];
  let state = seed;
  for (let i = count - 1; i > 0; i--) {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    const j = Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * (i + 1));
    [indices[i], indices[j]] = [indices[j]!, indices[i]!];
  }
  return indices;
}

/** The trainer's seed of a named stream (FNV-1a and a mixer). */
function streamSeed(seed: number, name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(`${seed} ${name}`)) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

// The rows that a job held out from training, as questions with known answers. Pure: requests nothing.
import { isObject } from '../json.ts';

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

/** Reads a row; undefined if it asks nothing in words. */
export function toQuestion(line: string): Question | undefined {
  const row = JSON.parse(line);
  if (typeof row.text === 'string') {
    return row.label === undefined ? undefined : plain('text', row.text, String(row.label));
  }
  if (typeof row.prompt === 'string') return plain('prompt', row.prompt, row.completion);
  if (row.input) return chat(row.input, row.preferred_output?.at(-1));
  const { messages, tools, parallel_tool_calls: _, ...item } = row;
  if (!Array.isArray(messages)) return undefined;
  const answer = messages.at(-1)?.role === 'assistant' ? messages.at(-1) : undefined;
  return chat({ messages: answer ? messages.slice(0, -1) : messages, tools }, answer, item);
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

/** Returns the lines of a file that a job held out: all, or the share that the trainer drew with the job's seed. */
export function heldOutLines(text: string, share: number | undefined, seed: number): string[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
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

// The forms of rows that other trainers read, each told apart by its columns and turned into a row of OpenAI's. They are
// described in LLaMA-Factory's, axolotl's and TRL's documentation.
import { isDeepStrictEqual } from 'node:util';
import {
  completeMessages,
  completeTools,
  isList,
  isRecord,
  isText,
  parsed,
  toList,
  withoutNulls,
} from './row-values.ts';

type Json = Readonly<Record<string, unknown>>;

/** A path in a row of OpenAI's form, and the field that it comes from. */
type Source = readonly [path: string, field: string];

/** A row in OpenAI's form. */
export interface ConvertedRow {
  readonly row: Json;
  /** For errors, longer paths first. */
  readonly sources: readonly Source[];
}

/** A form of rows. */
interface RowShape {
  /** The name that a plan shows. */
  readonly name: string;
  /** The columns that it reads, the one that tells it apart first. */
  readonly columns: readonly string[];
  /** Whether a row has this form. Absent: it has if that column has a value. */
  isOf?(row: Json): boolean;
  /** Absent: rows are in OpenAI's form, or in one of ours. Throws `RowFormError` for a fault that the row in OpenAI's form would not show. */
  convert?(row: Json): ConvertedRow;
}

/** A column cannot be converted. The message begins with its name. */
export class RowFormError extends Error {
  override name = 'RowFormError';
}

/** The columns that can hold the question of a pair as text, beside `prompt`. */
const QUESTIONS = ['question', 'instruction', 'input'] as const;
const PAIR_COLUMNS = [
  ...['prompt', 'messages', 'conversations', 'system', 'tools'],
  ...QUESTIONS,
] as const;

/** In the order in which they are tried. */
const ROW_SHAPES = [
  {
    name: 'preferences in text (prompt, chosen, rejected)',
    columns: ['chosen', 'rejected', 'prompt'],
    isOf: isTextPair,
    convert: fromChosenText,
  },
  {
    name: 'preferences (chosen, rejected)',
    columns: ['chosen', 'rejected', ...PAIR_COLUMNS],
    isOf: (row) => row['chosen'] != null || row['rejected'] != null,
    convert: fromChosen,
  },
  {
    name: "OpenAI's chat (messages)",
    columns: ['messages', 'tools', 'parallel_tool_calls'],
    convert: fromMessages,
  },
  {
    name: "OpenAI's preferences",
    columns: ['preferred_output', 'non_preferred_output', 'input'],
    isOf: (row) => row['preferred_output'] != null || row['non_preferred_output'] != null,
    convert: fromPreferences,
  },
  {
    name: 'ShareGPT (conversations)',
    columns: ['conversations', 'system', 'tools'],
    convert: fromConversations,
  },
  {
    name: 'messages as prompt and completion',
    columns: ['prompt', 'completion', 'tools'],
    isOf: ({ prompt }) => isList(prompt),
    convert: fromPromptMessages,
  },
  { name: 'prompt and completion', columns: ['prompt', 'completion'], convert: fromCompletion },
  {
    name: 'Alpaca (instruction, input, output)',
    columns: ['instruction', 'input', 'output', 'response', 'history', 'system'],
    convert: fromAlpaca,
  },
  { name: 'text and label', columns: ['label', 'text'] },
  { name: 'text', columns: ['text'] },
  { name: 'token ids', columns: ['input_ids', 'labels'], convert: fromTokens },
] as const satisfies readonly RowShape[];

/** All columns that tell a form apart, or that one reads. */
export const ROW_COLUMNS: ReadonlySet<string> = new Set(
  ROW_SHAPES.flatMap(({ columns }) => [...columns]),
);

/** Finds the form of a row; undefined if there is none. */
export function shapeOf(row: Json): RowShape | undefined {
  const shapes: readonly RowShape[] = ROW_SHAPES;
  return shapes.find(({ columns, isOf }) => isOf?.(row) ?? row[columns[0]!] != null);
}

function fromMessages(row: Json): ConvertedRow {
  refuseUnpaired(row);
  const { messages, parallel_tool_calls } = row;
  return {
    row: {
      messages: completeMessages(messages),
      ...toolsOf(row),
      ...(parallel_tool_calls != null && { parallel_tool_calls }),
    },
    sources: [],
  };
}

function fromPreferences(row: Json): ConvertedRow {
  const input = parsed(row['input']);
  const { messages, parallel_tool_calls, ...others } = isRecord(input) ? withoutNulls(input) : {};
  const completed = {
    ...others,
    messages: completeMessages(messages),
    ...toolsOf(others),
    ...(parallel_tool_calls !== undefined && { parallel_tool_calls }),
  };
  return {
    row: {
      input: isRecord(input) ? completed : input,
      preferred_output: completeMessages(row['preferred_output']),
      non_preferred_output: completeMessages(row['non_preferred_output']),
    },
    sources: [],
  };
}

function fromTokens(row: Json): ConvertedRow {
  return {
    row: { input_ids: parsed(row['input_ids']), labels: parsed(row['labels']) },
    sources: [],
  };
}

/** The speakers of ShareGPT's and LLaMA-Factory's conversations. */
const SPEAKERS: Readonly<Record<string, string>> = {
  system: 'system',
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  chatgpt: 'assistant',
  assistant: 'assistant',
  model: 'assistant',
  function_call: 'call',
  observation: 'tool',
  tool: 'tool',
};

function fromConversations(row: Json): ConvertedRow {
  refuseUnpaired(row);
  const { messages, first } = toTurns(row);
  const sources = messages.flatMap((_, i): Source[] => {
    if (i < first) return [[`messages[${i}].content`, 'system']];
    const field = `conversations[${i - first}]`;
    return [
      [`messages[${i}].content`, `${field}.value`],
      [`messages[${i}]`, field],
    ];
  });
  return {
    row: { messages: completeMessages(messages), ...toolsOf(row) },
    sources: [...sources, ['messages', 'conversations']],
  };
}

/** Returns the messages of a conversation, and the index of its first turn. */
function toTurns(row: Json): { messages: readonly unknown[]; first: number } {
  const turns = parsed(row['conversations']);
  if (!Array.isArray(turns)) throw new RowFormError('conversations: must be a list of messages');
  const system = systemOf(row);
  return {
    messages: [...system, ...turns.map((turn, at) => toMessage(turn, `conversations[${at}]`))],
    first: system.length,
  };
}

function toMessage(turn: unknown, field: string): unknown {
  if (!isRecord(turn) || !('from' in turn)) return turn; // with role and content, or at fault
  const { from, value, train, ...rest } = withoutNulls(turn);
  if (train !== undefined && typeof train !== 'boolean')
    throw new RowFormError(`${field}.train: must be true or false`);
  const role = typeof from === 'string' && Object.hasOwn(SPEAKERS, from) ? SPEAKERS[from]! : '';
  if (role === '') {
    throw new RowFormError(`${field}.from: is not one of ${Object.keys(SPEAKERS).join(', ')}`);
  }
  const isLeftOut = train === false && (role === 'assistant' || role === 'call');
  const message = { ...rest, ...(isLeftOut && { weight: 0 }) };
  if (role !== 'call') return { ...message, role, content: value };
  const given = parsed(value);
  const calls = (Array.isArray(given) ? given : [given]).map((call) => ({ function: call }));
  return { ...message, role: 'assistant', tool_calls: calls };
}

function fromAlpaca(row: Json): ConvertedRow {
  const { instruction, output, response } = row;
  refuseUnpaired(row);
  const system = systemOf(row);
  const history = historyOf(row);
  const earlier = [...system, ...history.flatMap(toExchange)];
  const at = earlier.length;
  const messages = [
    ...earlier,
    { role: 'user', content: withInput(instruction, textOf(row, 'input')) },
    { role: 'assistant', content: output ?? response },
  ];
  return {
    row: { messages },
    sources: [
      [`messages[${at + 1}].content`, output == null && response != null ? 'response' : 'output'],
      [`messages[${at}].content`, 'instruction'],
      ...history.flatMap((_, i): Source[] =>
        [0, 1].map((k) => [
          `messages[${system.length + 2 * i + k}].content`,
          `history[${i}][${k}]`,
        ]),
      ),
    ],
  };
}

/** As LLaMA-Factory and axolotl join them. */
function withInput(instruction: unknown, input: string | undefined): unknown {
  return isText(input) && typeof instruction === 'string'
    ? `${instruction}\n${input}`
    : instruction;
}

/** Returns the earlier questions with their answers. */
function historyOf(row: Json): readonly (readonly unknown[])[] {
  const rounds = parsed(row['history']) || [];
  if (!Array.isArray(rounds)) throw new RowFormError('history: must be a list of pairs');
  const wrong = rounds.findIndex((pair) => !Array.isArray(pair) || pair.length > 2);
  if (wrong >= 0) throw new RowFormError(`history[${wrong}]: must be a question and its answer`);
  return rounds;
}

function toExchange([content, answer]: readonly unknown[]): readonly unknown[] {
  return [
    { role: 'user', content },
    { role: 'assistant', content: answer },
  ];
}

function fromCompletion(row: Json): ConvertedRow {
  refuseUnpaired(row);
  const { prompt, completion } = row;
  return { row: { prompt, ...(completion != null && { completion }) }, sources: [] };
}

/** How tables write whether a completion is good. */
const RATING = /^(?:true|false|0|1)$/iu;

/** A completion that is marked as bad must not be learned. */
function refuseUnpaired(row: Json): void {
  const isRating = (value: unknown) => value != null && RATING.test(String(value));
  const column = ['label', 'kto_tag'].find((name) => isRating(row[name]));
  if (column === undefined) return;
  throw new RowFormError(
    `${column}: ratings of single completions are not supported. Use pairs: chosen and rejected`,
  );
}

function fromPromptMessages(row: Json): ConvertedRow {
  refuseUnpaired(row);
  const [prompt, completion] = [row['prompt'], row['completion']].map(toList);
  // Only the completion is learned.
  const context = prompt!.map((message) =>
    isRecord(message) && message['role'] === 'assistant' ? { ...message, weight: 0 } : message,
  );
  const messages = completeMessages([...context, ...completion!]);
  return {
    row: { messages, ...toolsOf(row) },
    sources: [
      ...completion!.map((_, i): Source => [`messages[${context.length + i}]`, `completion[${i}]`]),
      ['messages', 'prompt'],
    ],
  };
}

const PAIR_SOURCES = [
  ['non_preferred_output', 'rejected'],
  ['preferred_output', 'chosen'],
  ['input.messages', 'prompt'],
  ['input.tools', 'tools'],
] as const;

/** The prompt may be in columns, or the beginning that both outputs share. */
function fromChosen(row: Json): ConvertedRow {
  const [chosen, rejected] = [toOutput(row, 'chosen'), toOutput(row, 'rejected')];
  const isWhole = isRecord(chosen[0]) && chosen[0]['role'] !== 'assistant';
  const shared = isWhole ? sharedLength(chosen, rejected) : 0;
  const prompt = isWhole ? [...systemOf(row), ...chosen.slice(0, shared)] : promptOf(row);
  return {
    row: {
      input: { messages: completeMessages(prompt), ...toolsOf(row) },
      preferred_output: completeMessages(chosen.slice(shared)),
      non_preferred_output: completeMessages(rejected.slice(shared)),
    },
    sources: PAIR_SOURCES,
  };
}

function toOutput(row: Json, column: 'chosen' | 'rejected'): readonly unknown[] {
  const output = toList(row[column]).map((one, at) => toMessage(one, `${column}[${at}]`));
  if (output.length === 0) throw new RowFormError(`${column}: is missing or empty`);
  return output.map((one) => {
    if (typeof one === 'string') return { role: 'assistant', content: one };
    if (isRecord(one)) return one;
    throw new RowFormError(`${column}: must be a text, or a list of messages`);
  });
}

function promptOf(row: Json): readonly unknown[] {
  if (row['conversations'] != null) return toTurns(row).messages;
  const column = ['prompt', 'messages', ...QUESTIONS].find((name) => row[name] != null);
  if (column === undefined) return systemOf(row);
  const given = row[column];
  if (isList(given)) return [...systemOf(row), ...toList(given)];
  if (typeof given !== 'string')
    throw new RowFormError(`${column}: must be a text, or a list of messages`);
  const content = column === 'instruction' ? withInput(given, textOf(row, 'input')) : given;
  return [...systemOf(row), { role: 'user', content }];
}

/** A pair of texts has no columns of a conversation. */
function isTextPair(row: Json): boolean {
  const texts = [row['chosen'], row['rejected'], row['prompt'] ?? ''];
  const others = ['messages', 'conversations', 'system', ...QUESTIONS];
  return (
    texts.every((text) => typeof text === 'string' && !isList(text)) &&
    others.every((name) => row[name] == null)
  );
}

/** Without a prompt, it is the beginning that both texts share, up to the word in which they differ. */
function fromChosenText({ prompt, chosen, rejected }: Json): ConvertedRow {
  if (prompt != null) return { row: { prompt, chosen, rejected }, sources: [] };
  const [first, second] = [String(chosen), String(rejected)];
  const shared = [...first].slice(0, sharedLength([...first], [...second])).join('');
  const beginning = /^(.*?)\s*\S*$/su.exec(shared)![1]!;
  const [good, bad] = [first, second].map((text) => text.slice(beginning.length));
  return { row: { prompt: beginning, chosen: good, rejected: bad }, sources: [] };
}

/** Returns how many items two lists begin with. */
function sharedLength(a: readonly unknown[], b: readonly unknown[]): number {
  const different = a.findIndex((item, i) => !isDeepStrictEqual(item, b[i]));
  return different < 0 ? a.length : different;
}

function systemOf(row: Json): readonly unknown[] {
  const system = textOf(row, 'system');
  return isText(system) ? [{ role: 'system', content: system }] : [];
}

/** Other values must not be left out in silence. */
function textOf(row: Json, column: string): string | undefined {
  const value = row[column] ?? undefined;
  if (value === undefined || typeof value === 'string') return value;
  throw new RowFormError(`${column}: must be a text`);
}

function toolsOf({ tools }: Json): { tools?: unknown } {
  const complete = completeTools(tools);
  return complete == null ? {} : { tools: complete };
}

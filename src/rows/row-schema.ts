// Parses a row of a training file. There are seven kinds of rows, distinguished by their keys and, for prompts, by the objective.
// Rows in the forms of other trainers become one of them. Every fault names its field; a key that nothing reads is noted.
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { toPrintable } from '../common/errors.ts';
import { scanJson } from '../common/json-scan.ts';
import { describeIssue } from '../common/schema-errors.ts';
import type { Objective } from '../contracts/preference-settings.ts';
import { findOrphan, toolsSchema } from '../contracts/tools.ts';
import { MAX_LABEL_LENGTH } from '../contracts/training-settings.ts';
import { messageSchema } from './message-schema.ts';
import { type ConvertedRow, RowFormError, shapeOf } from './row-shapes.ts';
import { completeMessages, completeTools } from './row-values.ts';

const conversation = {
  messages: z.array(messageSchema, 'must be a list of messages').min(1, 'is empty'),
  tools: toolsSchema.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
};

const chatSchema = z
  .strictObject({
    ...conversation,
    messages: conversation.messages.refine(
      (messages) => messages.some(({ role }) => role === 'assistant'),
      { message: 'has no assistant message' },
    ),
  })
  .superRefine((row, ctx) => {
    checkCalls(row, (message, index, ...path) =>
      ctx.addIssue({ code: 'custom', message, path: ['messages', index, ...path] }),
    );
  });

/** Refuses results without a call, calls of unknown functions, and parallel calls if they are excluded. */
function checkCalls(
  { messages, tools, parallel_tool_calls: isParallel }: z.infer<z.ZodObject<typeof conversation>>,
  refuse: (message: string, index: number, ...path: PropertyKey[]) => void,
): void {
  const orphan = findOrphan(messages);
  if (orphan >= 0) refuse('no earlier message has a call with this id', orphan, 'tool_call_id');
  const names = new Set(tools?.map(({ name }) => name));
  for (const [i, { toolCalls = [] }] of messages.entries()) {
    const unknown = toolCalls.findIndex(({ name }) => !names.has(name));
    if (unknown >= 0) {
      refuse('tools has no function of this name', i, 'tool_calls', unknown, 'function', 'name');
    }
    if (isParallel === false && toolCalls.length > 1) {
      refuse('has several calls, but parallel_tool_calls is false', i, 'tool_calls');
    }
  }
}

const OUTPUTS = ['preferred_output', 'non_preferred_output'] as const;

const unweightedSchema = messageSchema.refine(({ weight }) => weight === undefined, {
  path: ['weight'],
  message: 'does not apply to pairs',
});

const outputSchema = z
  .array(unweightedSchema, 'must be a list of messages')
  .min(1, 'is empty')
  .refine((messages) => messages.every(({ role }) => role === 'assistant'), {
    message: 'has a message that is not from the assistant',
  });

const pairSchema = z
  .strictObject({
    input: z.strictObject({
      ...conversation,
      messages: z.array(unweightedSchema, 'must be a list of messages').min(1, 'is empty'),
    }),
    preferred_output: outputSchema,
    non_preferred_output: outputSchema,
  })
  .superRefine(({ input, ...outputs }, ctx) => {
    const count = input.messages.length;
    for (const output of OUTPUTS) {
      const messages = [...input.messages, ...outputs[output]];
      checkCalls({ ...input, messages }, (message, index, ...rest) => {
        const path = index < count ? ['input', 'messages', index] : [output, index - count];
        ctx.addIssue({ code: 'custom', message, path: [...path, ...rest] });
      });
    }
    if (!isDeepStrictEqual(outputs.preferred_output, outputs.non_preferred_output)) return;
    const message = 'equals the preferred one: there is nothing to learn';
    ctx.addIssue({ code: 'custom', message, path: ['non_preferred_output'] });
  })
  .transform(({ input, preferred_output: chosen, non_preferred_output: rejected }) => {
    // Only the outputs are learned.
    const context = input.messages.map((message) =>
      message.role === 'assistant' ? { ...message, weight: 0 } : message,
    );
    const withOutput = (output: typeof chosen) => ({
      kind: 'chat' as const,
      ...input,
      messages: [...context, ...output],
    });
    return { chosen: withOutput(chosen), rejected: withOutput(rejected) };
  });

const completionSchema = z.strictObject({
  prompt: z.string('must be a text'),
  completion: z.string('must be a text').min(1, 'is empty: there is nothing to learn'),
});

/** A pair of texts. No template is applied. */
const textPairSchema = z
  .strictObject({
    prompt: z.string('must be a text'),
    chosen: z.string('must be a text').min(1, 'is empty: there is nothing to learn'),
    rejected: z.string('must be a text').min(1, 'is empty: there is nothing to learn'),
  })
  .refine(({ chosen, rejected }) => chosen !== rejected, {
    path: ['rejected'],
    message: 'equals the preferred one: there is nothing to learn',
  })
  .transform(({ prompt, chosen, rejected }) => {
    const withOutput = (completion: string) => ({
      kind: 'completion' as const,
      prompt,
      completion,
    });
    return { chosen: withOutput(chosen), rejected: withOutput(rejected) };
  });

const textSchema = z.strictObject({ text: z.string('must be a text').min(1, 'is empty') });

const labelledSchema = textSchema.extend({
  label: z.union([z.string().min(1).max(MAX_LABEL_LENGTH), z.number().int()], {
    error: `must be a text of 1 to ${MAX_LABEL_LENGTH} characters or a whole number`,
  }),
});

const tokenId = z.number().int().min(0);
const tokensSchema = z
  .strictObject({
    input_ids: z.array(tokenId).min(1, 'is empty'),
    /** Not shifted, as in transformers. */
    labels: z.array(
      z
        .number()
        .int()
        .refine((label) => label >= 0 || label === -100, 'is neither a token id nor -100'),
    ),
  })
  .refine((row) => row.input_ids.length === row.labels.length, {
    path: ['labels'],
    message: 'must be as long as input_ids',
  });

const promptSchema = z
  .looseObject({
    messages: z
      .array(unweightedSchema, 'must be a list of messages')
      .min(1, 'is empty')
      .refine((messages) => messages.length === 0 || messages.at(-1)!.role === 'user', {
        message: "must end with the user's message, which the samples answer",
      }),
    tools: toolsSchema.nullish(),
  })
  .superRefine((row, ctx) => {
    checkCalls({ ...row, parallel_tool_calls: null }, (message, index, ...path) =>
      ctx.addIssue({ code: 'custom', message, path: ['messages', index, ...path] }),
    );
  })
  .transform(({ messages, tools, ...item }) => ({ messages, tools, item }));

/** A conversation. */
export type ChatRow = z.infer<typeof chatSchema>;

/** A text after a prompt. */
export type CompletionRow = z.infer<typeof completionSchema>;

/** A row that fits its schema. */
export type TrainingRow =
  | ({ kind: 'chat' } & ChatRow)
  | ({ kind: 'pair' } & (z.infer<typeof pairSchema> | z.infer<typeof textPairSchema>))
  | ({ kind: 'prompt' } & z.infer<typeof promptSchema>)
  | ({ kind: 'completion' } & CompletionRow)
  | ({ kind: 'text' } & z.infer<typeof textSchema>)
  | ({ kind: 'labelled' } & z.infer<typeof labelledSchema>)
  | ({ kind: 'tokens' } & z.infer<typeof tokensSchema>);

/** The most unknown keys to remember: a message names them. */
const MAX_UNKNOWN = 20;
const MAX_NAME_LENGTH = 64;

/** The forms of a file's rows, and the keys in them that nothing reads. */
export class RowNotes {
  /** The names of the forms, see `ROW_SHAPES`. */
  readonly shapes = new Set<string>();
  readonly kinds = new Set<TrainingRow['kind']>();
  /** The keys that nothing reads, such as `messages[].audio`. */
  readonly unknown = new Set<string>();

  noteUnknown(path: readonly PropertyKey[]): void {
    if (this.unknown.size >= MAX_UNKNOWN) return;
    const name = fieldName(path).replace(/\[\d+\]/gu, '[]');
    this.unknown.add(toPrintable(name).slice(0, MAX_NAME_LENGTH));
  }
}

/** A row cannot be used. The message names the field. */
export class TrainingRowError extends Error {
  override name = 'TrainingRowError';

  constructor(message: string) {
    super(toPrintable(message));
  }
}

/** Returns the result of `work`, or its error if a row cannot be used. */
export function orRowError<T>(work: () => T): T | TrainingRowError {
  try {
    return work();
  } catch (error) {
    if (error instanceof TrainingRowError) return error;
    throw error;
  }
}

/** Deeper values overflow the stack when they are copied. */
const MAX_DEPTH = 1500;

/** How to parse rows. */
interface RowOptions {
  readonly objective?: Objective | undefined;
  /** Gets the row's form and its unknown keys. */
  readonly notes?: RowNotes;
}

/**
 * Parses a line. For reinforcement, every row is a prompt, whose other keys the grader gets.
 * @throws TrainingRowError naming the first field at fault
 */
export function parseRow(line: string, options: RowOptions = {}): TrainingRow {
  const toError = () => new TrainingRowError(`is nested deeper than ${MAX_DEPTH} levels`);
  scanJson(line, { maxDepth: MAX_DEPTH, toError });
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw new TrainingRowError('is not JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new TrainingRowError('is not a JSON object');
  }
  const { notes = new RowNotes() } = options;
  const given = json as Readonly<Record<string, unknown>>;
  if (options.objective === 'reinforcement') {
    return { kind: 'prompt', ...check(promptSchema, toPrompt(given), notes) };
  }
  const shape = shapeOf(given);
  if (!shape) {
    throw new TrainingRowError(
      'has neither messages, prompt and completion, text, text and label, input_ids and labels, preferred_output and ' +
        'non_preferred_output, conversations, instruction and output nor chosen and rejected',
    );
  }
  notes.shapes.add(shape.name);
  if (!shape.convert) return toKind(given, notes);
  const { row, sources } = inField(() => shape.convert!(given));
  const unread = Object.keys(given).filter((key) => !shape.columns.includes(key));
  for (const key of unread) notes.noteUnknown([key]);
  try {
    return toKind(row, notes);
  } catch (error) {
    throw error instanceof TrainingRowError ? namingSource(error, sources) : error;
  }
}

function toKind(row: object, notes: RowNotes): TrainingRow {
  const parsed = checkKind(row, notes);
  notes.kinds.add(parsed.kind);
  return parsed;
}

function checkKind(row: object, notes: RowNotes): TrainingRow {
  if (OUTPUTS.some((key) => key in row)) return { kind: 'pair', ...check(pairSchema, row, notes) };
  if ('chosen' in row) return { kind: 'pair', ...check(textPairSchema, row, notes) };
  if ('messages' in row) return { kind: 'chat', ...check(chatSchema, row, notes) };
  if ('prompt' in row) return { kind: 'completion', ...check(completionSchema, row, notes) };
  if ('label' in row) return { kind: 'labelled', ...check(labelledSchema, row, notes) };
  if ('text' in row) return { kind: 'text', ...check(textSchema, row, notes) };
  return { kind: 'tokens', ...check(tokensSchema, row, notes) };
}

/** Returns a prompt with messages, also from a row with the column `prompt`, as TRL's online trainers read it. */
function toPrompt({ messages, tools, ...item }: Readonly<Record<string, unknown>>): object {
  const { prompt } = item;
  const asked = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
  return {
    ...item,
    messages: completeMessages(messages ?? asked),
    ...(tools != null && { tools: completeTools(tools) }),
  };
}

function inField<T>(convert: () => T): T {
  try {
    return convert();
  } catch (error) {
    throw error instanceof RowFormError ? new TrainingRowError(error.message) : error;
  }
}

/** Names the field that the user has written in place of ours. */
function namingSource({ message }: Error, sources: ConvertedRow['sources']): TrainingRowError {
  const source = sources.find(([path]) => message.startsWith(path));
  const renamed = source ? source[1] + message.slice(source[0].length) : message;
  return new TrainingRowError(renamed);
}

/** Checks that a row is of the objective's kind. @throws TrainingRowError naming the missing or superfluous field */
export function refuseOtherObjective(row: TrainingRow, objective: Objective): void {
  if ((row.kind === 'pair') === (objective === 'dpo')) return;
  throw new TrainingRowError(
    objective === 'dpo'
      ? 'preferred_output: is missing, but dpo learns from pairs of outputs'
      : 'preferred_output: is only for dpo, which learns from pairs of outputs',
  );
}

/** Checks a row without its unknown keys, which are noted. */
function check<T>(schema: z.ZodType<T>, json: object, notes: RowNotes): T {
  const result = schema.safeParse(json, { reportInput: true, error: describeIssue });
  if (result.success) return result.data;
  const { issues } = result.error;
  const unknown = issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [],
  );
  if (unknown.length > 0) {
    for (const path of unknown) notes.noteUnknown(path);
    return check(schema, withoutKeys(json, unknown), notes);
  }
  const issue = issues[0]!;
  const missing = issue.code !== 'custom' && issue.input === undefined;
  throw new TrainingRowError(`${fieldName(issue.path)}: ${missing ? 'is missing' : issue.message}`);
}

function withoutKeys(json: object, paths: readonly (readonly PropertyKey[])[]): object {
  const copy = structuredClone(json);
  for (const path of paths) {
    const parent = path.slice(0, -1).reduce((value: object, key) => Reflect.get(value, key), copy);
    Reflect.deleteProperty(parent, path.at(-1)!);
  }
  return copy;
}

/** Returns a path such as `messages[2].role`. */
function fieldName(path: readonly PropertyKey[]): string {
  return path
    .map((part, i) =>
      typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}

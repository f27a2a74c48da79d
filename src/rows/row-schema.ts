// Parses a row of a training file. There are seven kinds of rows, distinguished by their keys and, for prompts, by the objective. Every fault names its field.
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { toPrintable } from '../common/errors.ts';
import { describeIssue } from '../common/schema-errors.ts';
import type { Objective } from '../contracts/preference-settings.ts';
import { findOrphan, toolCallsSchema, toolsSchema } from '../contracts/tools.ts';
import { MAX_LABEL_LENGTH } from '../contracts/training-settings.ts';

/** OpenAI's roles, except `function`, which is an older form of `tool`. */
const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'] as const;

const messageSchema = z
  .strictObject({
    role: z.enum(ROLES, `is not one of ${ROLES.join(', ')}`),
    content: z.string('must be a text').nullish(),
    name: z.string().optional(),
    weight: z.number().min(0).max(1000).optional(),
    tool_calls: toolCallsSchema.nullish(),
    tool_call_id: z.string('must be a text').optional(),
  })
  .refine(({ content, tool_calls: calls }) => content != null || (calls?.length ?? 0) > 0, {
    path: ['content'],
    message: 'is missing',
  })
  .refine(({ role, tool_calls: calls }) => role === 'assistant' || calls == null, {
    path: ['tool_calls'],
    message: 'are only allowed on assistant messages',
  })
  .refine(({ role, tool_call_id: id }) => (role === 'tool') === (id !== undefined), {
    path: ['tool_call_id'],
    message: 'is required on tool messages and not allowed on others',
  })
  .refine(({ role, weight }) => weight === undefined || role === 'assistant', {
    path: ['weight'],
    message: 'is only allowed on assistant messages',
  })
  .refine(
    ({ role, content, tool_calls: calls }) =>
      role !== 'assistant' || content !== '' || (calls?.length ?? 0) > 0,
    { path: ['content'], message: 'is empty: there is nothing to learn' },
  )
  .transform(({ content, tool_calls: calls, tool_call_id: id, ...message }) => ({
    ...message,
    content: content ?? '',
    ...(calls?.length && { toolCalls: calls }),
    ...(id !== undefined && { toolCallId: id }),
  }));

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
    const message = 'equals preferred_output: there is nothing to learn';
    ctx.addIssue({ code: 'custom', message, path: ['non_preferred_output'] });
  })
  .transform(({ input, preferred_output: chosen, non_preferred_output: rejected }) => {
    // Only the outputs are learned.
    const context = input.messages.map((message) =>
      message.role === 'assistant' ? { ...message, weight: 0 } : message,
    );
    const withOutput = (output: typeof chosen) => ({ ...input, messages: [...context, ...output] });
    return { chosen: withOutput(chosen), rejected: withOutput(rejected) };
  });

const completionSchema = z.strictObject({
  prompt: z.string('must be a text'),
  completion: z.string('must be a text').min(1, 'is empty: there is nothing to learn'),
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

/** A row that fits its schema. */
export type TrainingRow =
  | ({ kind: 'chat' } & ChatRow)
  | ({ kind: 'pair' } & z.infer<typeof pairSchema>)
  | ({ kind: 'prompt' } & z.infer<typeof promptSchema>)
  | ({ kind: 'completion' } & z.infer<typeof completionSchema>)
  | ({ kind: 'text' } & z.infer<typeof textSchema>)
  | ({ kind: 'labelled' } & z.infer<typeof labelledSchema>)
  | ({ kind: 'tokens' } & z.infer<typeof tokensSchema>);

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

/**
 * Parses a line. For reinforcement, every row is a prompt, whose other keys the grader gets.
 * @throws TrainingRowError naming the first field at fault
 */
export function parseRow(line: string, objective?: Objective): TrainingRow {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw new TrainingRowError('is not JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new TrainingRowError('is not a JSON object');
  }
  if (objective === 'reinforcement') return { kind: 'prompt', ...check(promptSchema, json) };
  if ('messages' in json) return { kind: 'chat', ...check(chatSchema, json) };
  if (OUTPUTS.some((key) => key in json)) return { kind: 'pair', ...check(pairSchema, json) };
  if ('prompt' in json) return { kind: 'completion', ...check(completionSchema, json) };
  if ('label' in json) return { kind: 'labelled', ...check(labelledSchema, json) };
  if ('text' in json) return { kind: 'text', ...check(textSchema, json) };
  if ('input_ids' in json) return { kind: 'tokens', ...check(tokensSchema, json) };
  throw new TrainingRowError(
    'has neither messages, prompt and completion, text, text and label, input_ids and labels nor preferred_output and non_preferred_output',
  );
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

function check<T>(schema: z.ZodType<T>, json: unknown): T {
  const result = schema.safeParse(json, { reportInput: true, error: describeIssue });
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  if (issue.code === 'unrecognized_keys') {
    throw new TrainingRowError(`${fieldName([...issue.path, issue.keys[0]!])}: is not a known key`);
  }
  const missing = issue.code !== 'custom' && issue.input === undefined;
  throw new TrainingRowError(`${fieldName(issue.path)}: ${missing ? 'is missing' : issue.message}`);
}

/** Returns a path such as `messages[2].role`. */
function fieldName(path: readonly PropertyKey[]): string {
  return path
    .map((part, i) =>
      typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}

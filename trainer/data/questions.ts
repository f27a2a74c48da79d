// Turns rows into questions with known answers. A row qualifies if it ends with JSON, with tool calls, or in a given format.
import { ConfigError } from '../../src/common/errors.ts';
import type { Constraint } from '../../src/contracts/generation.ts';
import type { FunctionTool } from '../../src/contracts/tools.ts';
import { createAnswerCheck } from '../../src/grammar/answer-check.ts';
import { GrammarError } from '../../src/grammar/grammar-error.ts';
import type { TrainingRow } from '../../src/rows/row-schema.ts';
import { argumentsOf } from '../../src/tools/call-constraint.ts';
import { type CompletionRules, completionRules } from './completion-rules.ts';
import type { ModelText } from './encode-row.ts';

/** A prompt and its answer. */
export interface Question {
  readonly promptIds: readonly number[];
  /** The most tokens of an answer. */
  readonly maxTokens: number;
  /** The constraint that a server would enforce. */
  readonly constraint: Constraint;
  /** The correct answer, as `read` returns it. */
  readonly wanted: unknown;
  /** Parses an answer: to the value of its JSON, a list of calls, or a text. Undefined if it is not valid. */
  read(ids: readonly number[]): unknown;
}

/** Settings for all rows of a file. */
export interface QuestionOptions {
  readonly modelText: ModelText;
  /** The format of answers. Absent: any JSON, for rows that end with JSON. */
  readonly format?: Constraint | undefined;
  /** The tools for rows without tools. */
  readonly tools?: readonly FunctionTool[] | undefined;
}

/** An answer longer than this, and longer than twice the correct one, has gone astray. */
const MIN_ANSWER_TOKENS = 256;

/**
 * Returns the row's question, or undefined if its answer is plain text. Throws `ConfigError` for tools that cannot be enforced.
 */
export function toQuestion(row: TrainingRow, options: QuestionOptions): Question | undefined {
  const asked = split(row);
  if (!asked) return undefined;
  const { tokenizer, template } = options.modelText;
  const { turns, answer } = asked;
  const tools = asked.tools ?? options.tools ?? [];
  const format = formatOf(answer, options.format);
  if (answer.calls.length === 0 && !format) return undefined;
  if (turns && !template) return undefined;
  const { isParallel } = asked;
  const rules = completionRules(options.modelText, { tools, isParallel, format });
  const { constraint, toText } = rules;
  if (!constraint) return undefined;
  const promptIds = turns
    ? template!.render(turns, { tools: rules.callable, addGenerationPrompt: true }).ids
    : tokenizer.encode(asked.prompt, { specials: false, affixes: true });
  const readAnswer = createReader(format, rules);
  const answerTokens = tokenizer.encode(answer.text, { specials: false }).length;
  return {
    promptIds,
    maxTokens: Math.max(MIN_ANSWER_TOKENS, 2 * answerTokens),
    constraint,
    wanted: answer.calls.length > 0 ? answer.calls.map(toValue) : answerValue(answer.text, format),
    read: (ids) => readAnswer(toText(ids)),
  };
}

interface Call {
  readonly name: string;
  readonly arguments: string;
}

/** A row's prompt and answer, with messages rendered. */
interface Asked {
  readonly turns?: readonly Turn[];
  readonly prompt: string;
  readonly answer: { readonly text: string; readonly calls: readonly Call[] };
  readonly tools?: readonly FunctionTool[] | undefined;
  readonly isParallel: boolean;
}

type Turn = Parameters<NonNullable<ModelText['template']>['render']>[0][number];

function split(row: TrainingRow): Asked | undefined {
  if (row.kind === 'completion') {
    const { prompt, completion } = row;
    return { prompt, answer: { text: completion.trim(), calls: [] }, isParallel: true };
  }
  if (row.kind !== 'chat') return undefined;
  const turns = row.messages.map(({ weight: _, role, ...message }) => ({
    ...message,
    role: role === 'developer' ? 'system' : role,
  })) as Turn[];
  const last = turns.pop();
  if (last?.role !== 'assistant') return undefined;
  return {
    turns,
    prompt: '',
    answer: { text: last.content.trim(), calls: last.toolCalls ?? [] },
    tools: row.tools ?? undefined,
    isParallel: row.parallel_tool_calls ?? true,
  };
}

/**
 * Returns the format of an answer: the given one, or JSON of the same kind. A number or a word that happens to be JSON is plain
 * text.
 */
function formatOf({ text, calls }: Asked['answer'], given: Constraint | undefined) {
  if (given) return given.kind === 'any_text' ? undefined : given;
  if (calls.length > 0) return undefined;
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null) return undefined;
  const type = Array.isArray(value) ? 'array' : 'object';
  return { kind: 'json_schema', schema: { type } } satisfies Constraint;
}

function answerValue(text: string, format: Constraint | undefined): unknown {
  return format?.kind === 'json_schema' ? parseJson(text) : text;
}

function toValue({ name, arguments: given }: Call) {
  return { name, arguments: parseJson(given) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Returns a function that parses the text of an answer. */
function createReader(
  format: Constraint | undefined,
  { callable, open, read }: CompletionRules,
): (text: string) => unknown {
  const isInFormat = format && checkOf(format, 'response_format');
  const checks = new Map(
    callable.map((tool) => [tool.name, checkOf(argumentsOf(tool), tool.name)]),
  );
  return (text) => {
    const { content, calls } = read(text);
    if (calls.length > 0) {
      const areValid = calls.every((call) => checks.get(call.name)?.(call.arguments));
      return areValid ? calls.map(toValue) : undefined;
    }
    if (isInFormat) return isInFormat(content) ? answerValue(content, format) : undefined;
    const isBroken = open !== undefined && content.includes(open);
    return isBroken ? undefined : content;
  };
}

function checkOf(constraint: Constraint, field: string) {
  try {
    return createAnswerCheck(constraint);
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    throw new ConfigError(`${field}: ${`${error.path} ${error.message}`.trim()}`);
  }
}

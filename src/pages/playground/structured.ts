// Response formats, tools and the model's calls as plain data: reads what the user typed, joins streamed calls, and checks
// answers.
import type { ChatCompletionChunk } from '../../contracts/openai.ts';
import type { ToolCall } from '../../contracts/tools.ts';
import { isObject, parseJson } from '../json.ts';

/** A call of a function. */
export interface Call extends ToolCall {
  /** The result that the user gave; none yet if undefined. */
  readonly result?: string;
}
/** The meaning of a text field. Without a problem and a value it is empty. */
export interface Reading {
  readonly value?: unknown;
  readonly problem: string;
}
/** Whether an answer is what was asked for, in words. */
export interface Validity {
  readonly isValid: boolean;
  readonly text: string;
}
type CallDeltas = NonNullable<ChatCompletionChunk['choices'][number]['delta']['tool_calls']>;

/** The values of `response_format.type`. None of them is a type of JSON Schema. */
const FORMAT_TYPES = new Set(['text', 'json_object', 'json_schema']);

/** Reads a response format: a JSON Schema, or the whole value of `response_format`. */
export function readFormat(text: string): Reading {
  const { value, problem } = readJson(text);
  if (problem || value === undefined) return { problem };
  if (!isObject(value)) return { problem: 'A schema is a JSON object.' };
  if (FORMAT_TYPES.has(String(value['type']))) return { value, problem };
  return {
    value: { type: 'json_schema', json_schema: { name: 'answer', schema: value } },
    problem,
  };
}

/** Reads tools: a function or a list of functions, each with or without `type: "function"` around it. */
export function readTools(text: string): Reading {
  const { value, problem } = readJson(text);
  if (problem || value === undefined) return { problem };
  const items: unknown[] = Array.isArray(value) ? value : [value];
  if (items.length === 0 || !items.every(isObject)) {
    return { problem: 'Tools are a list of functions, which are JSON objects.' };
  }
  const isBare = (item: object) => 'name' in item && !('function' in item);
  return {
    value: items.map((item) => (isBare(item) ? { type: 'function', function: item } : item)),
    problem,
  };
}

function readJson(text: string): Reading {
  if (text.trim() === '') return { problem: '' };
  try {
    return { value: JSON.parse(text), problem: '' };
  } catch (error) {
    return { problem: `Not JSON: ${error instanceof Error ? error.message : error}` };
  }
}

/** Whether a request's answer will be JSON. `format` is the value of `response_format`. */
export function isJsonFormat(format: unknown): boolean {
  return isObject(format) && format['type'] !== 'text';
}

/** Adds the calls of a streamed event to those before. */
export function addCallDeltas(calls: readonly Call[], deltas: CallDeltas): Call[] {
  const result = [...calls];
  for (const { index, id, function: part } of deltas) {
    const { id: knownId = '', name = '', arguments: before = '' } = result[index] ?? {};
    result[index] = {
      id: id ?? knownId,
      name: part?.name ?? name,
      arguments: before + (part?.arguments ?? ''),
    };
  }
  return result;
}

/** Whether a call was not cut off. */
export function isComplete(call: Call): boolean {
  return parseJson(call.arguments) !== undefined;
}

/**
 * Checks an ended answer: the arguments of its calls, or its text if that should be JSON. Undefined if there is nothing to
 * check.
 */
export function checkAnswer({
  text,
  calls,
  isJson: shouldBeJson,
}: {
  readonly text: string;
  readonly calls: readonly Call[];
  readonly isJson: boolean;
}): Validity | undefined {
  const hasCalls = calls.length > 0;
  if (!hasCalls && !shouldBeJson) return undefined;
  const isValid = hasCalls ? calls.every(isComplete) : parseJson(text) !== undefined;
  const what = hasCalls ? 'arguments' : 'JSON';
  return { isValid, text: isValid ? `valid ${what}` : `incomplete ${what}` };
}

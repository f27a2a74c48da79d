// Response formats, tools and the model's calls as plain data: reads what the user typed, joins streamed calls, and checks
// answers. Pure: touches no element.

/** A call of a function. Its arguments are the text of a JSON object. @typedef {{ id: string, name: string, arguments: string }} Call */
/** The meaning of a text field. Without a problem and a value it is empty. @typedef {{ value?: unknown, problem: string }} Reading */
/** @typedef {{ isValid: boolean, text: string }} Validity */
/** @typedef {NonNullable<import('../contracts/openai.ts').ChatCompletionChunk['choices'][number]['delta']['tool_calls']>} CallDeltas */

/** The values of `response_format.type`. None of them is a type of JSON Schema. */
const FORMAT_TYPES = new Set(['text', 'json_object', 'json_schema']);

/** Reads a response format: a JSON Schema, or the whole value of `response_format`. @param {string} text @returns {Reading} */
export function readFormat(text) {
  const { value, problem } = readJson(text);
  if (problem || value === undefined) return { problem };
  if (!isObject(value)) return { problem: 'A schema is a JSON object.' };
  if (FORMAT_TYPES.has(String(value['type']))) return { value, problem };
  return {
    value: { type: 'json_schema', json_schema: { name: 'answer', schema: value } },
    problem,
  };
}

/** Reads tools: a function or a list of functions, each with or without `type: "function"` around it. @param {string} text @returns {Reading} */
export function readTools(text) {
  const { value, problem } = readJson(text);
  if (problem || value === undefined) return { problem };
  const items = Array.isArray(value) ? value : [value];
  if (items.length === 0 || !items.every(isObject)) {
    return { problem: 'Tools are a list of functions, which are JSON objects.' };
  }
  const isBare = (/** @type {object} */ item) => 'name' in item && !('function' in item);
  return {
    value: items.map((item) => (isBare(item) ? { type: 'function', function: item } : item)),
    problem,
  };
}

/** @param {string} text @returns {Reading} */
function readJson(text) {
  if (text.trim() === '') return { problem: '' };
  try {
    return { value: JSON.parse(text), problem: '' };
  } catch (error) {
    return { problem: `Not JSON: ${error instanceof Error ? error.message : error}` };
  }
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether a request's answer will be JSON. @param {unknown} format the value of `response_format` */
export function isJsonFormat(format) {
  return isObject(format) && format['type'] !== 'text';
}

/** Adds the calls of a streamed event to those before. @param {readonly Call[]} calls @param {CallDeltas} deltas @returns {Call[]} */
export function addCallDeltas(calls, deltas) {
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

/** Whether a call was not cut off. @param {Call} call */
export function isComplete(call) {
  return isJson(call.arguments);
}

/** Returns a call's arguments, indented if they are complete. @param {Call} call */
export function argumentsOf({ arguments: text }) {
  return isJson(text) ? JSON.stringify(JSON.parse(text), null, 2) : text;
}

/**
 * Checks an ended answer: the arguments of its calls, or its text if that should be JSON.
 * @param {{ text: string, calls: readonly Call[], isJson: boolean }} answer
 * @returns {Validity | undefined} undefined if there is nothing to check
 */
export function checkAnswer({ text, calls, isJson: shouldBeJson }) {
  const hasCalls = calls.length > 0;
  if (!hasCalls && !shouldBeJson) return undefined;
  const isValid = hasCalls ? calls.every(isComplete) : isJson(text);
  const what = hasCalls ? 'arguments' : 'JSON';
  return { isValid, text: isValid ? `valid ${what}` : `incomplete ${what}` };
}

/** @param {string} text */
function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

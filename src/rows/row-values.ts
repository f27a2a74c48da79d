// Values of rows as other trainers and tables write them: messages, tools, and texts of JSON.
import { parseShallowText } from '../common/json-scan.ts';

type Json = Readonly<Record<string, unknown>>;

/**
 * Completes messages as other trainers leave them: a text of JSON becomes the list, calls get ids, arguments become texts, results
 * belong to the calls before them, and fields without a value are left out, since a table has a cell for each.
 */
export function completeMessages(value: unknown): unknown {
  const messages = parsed(value);
  if (!Array.isArray(messages)) return messages;
  const open: unknown[] = []; // ids of calls without a result
  return messages.map((given, at) => {
    if (!isRecord(given)) return given;
    const { thinking, ...message } = withoutNulls(given);
    if (thinking !== undefined) message['reasoning_content'] ??= thinking; // as gpt-oss calls it
    if (Array.isArray(message['tool_calls'])) {
      message['tool_calls'] = message['tool_calls'].map((call, i) => {
        if (!isRecord(call)) return call;
        const complete = { id: `call_${at}_${i}`, type: 'function', ...withoutNulls(call) };
        open.push(complete.id);
        return { ...complete, function: withTextArguments(call['function']) };
      });
    }
    if (message['role'] !== 'tool') return message;
    const result = { tool_call_id: open[0], ...message };
    const answered = open.indexOf(result.tool_call_id);
    if (answered >= 0) open.splice(answered, 1);
    return withoutNulls(result);
  });
}

/** Completes tools: a text of JSON becomes the list, and bare functions become tools. */
export function completeTools(value: unknown): unknown {
  const tools = value === '' ? undefined : parsed(value);
  if (!Array.isArray(tools)) return tools;
  return tools.map((tool) =>
    isRecord(tool) && 'name' in tool && !('function' in tool)
      ? { type: 'function', function: withoutNulls(tool) }
      : tool,
  );
}

function withTextArguments(call: unknown): unknown {
  if (!isRecord(call)) return call;
  const { arguments: given } = call;
  return isRecord(given) ? { ...call, arguments: JSON.stringify(withoutNulls(given)) } : call;
}

/** Returns a list of messages, from a list, a text of JSON, or one message. Other texts stay texts, also if they are JSON. */
export function toList(value: unknown): readonly unknown[] {
  const list = isMessages(parsed(value)) ? parsed(value) : value;
  return Array.isArray(list) ? list : list == null || list === '' ? [] : [list];
}

/** Cells of a table hold lists and objects as texts of JSON. A text that is nested too deeply stays a text. */
export function parsed(value: unknown): unknown {
  if (typeof value !== 'string' || !/^\s*[[{]/u.test(value)) return value;
  try {
    return parseShallowText(value);
  } catch {
    return value;
  }
}

/** Whether a value is a list, or a text of JSON with a list of messages. */
export function isList(value: unknown): boolean {
  return Array.isArray(value) || (Array.isArray(parsed(value)) && isMessages(parsed(value)));
}

/** Whether a value is a message, or a list of some. */
function isMessages(value: unknown): boolean {
  const list = Array.isArray(value) ? value : [value];
  return list.length > 0 && list.every((one) => isRecord(one) && ('role' in one || 'from' in one));
}

/** Whether a value is a text that is not blank. */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '';
}

/** Whether a value is an object and no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Returns the fields that have a value. */
export function withoutNulls(value: Json): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item != null));
}

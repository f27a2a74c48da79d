// The lines of a batch's input file. All of them are checked before any is answered, as far as they concern the batch. The
// route that answers a line checks its body.
import { createReadStream } from 'node:fs';
import { jsonMember, parseShallowText } from '../common/json-scan.ts';
import { splitLines } from '../rows/lines.ts';
import type { BatchFault, BatchRecord } from './batch.ts';

/** One request of a batch. */
export interface BatchLine {
  /** Counted from 0, without blank lines. */
  readonly index: number;
  readonly customId: string;
  /** The body as the client wrote it. */
  readonly body: string;
}

/** A client with a longer list fixes the file in any case. */
const MAX_FAULTS = 50;
const MAX_CUSTOM_ID_LENGTH = 512;

/** Reads a checked file. */
export async function* readBatchLines(file: string): AsyncGenerator<BatchLine> {
  let index = 0;
  for await (const { text } of splitLines(createReadStream(file))) {
    const value = parseShallowText(text!) as { custom_id: string; body: unknown };
    const member = jsonMember(text!, 'body');
    const body = typeof member === 'object' ? member.text : JSON.stringify(value.body);
    yield { index: index++, customId: value.custom_id, body };
  }
}

/** The outcome of a check. */
export type CheckedInput =
  | { readonly faults: readonly BatchFault[] }
  | { readonly total: number; readonly model: string | undefined };

/** Checks a file. Returns the first faults, or the number of lines and their model if they share one. */
export async function checkBatchInput(
  file: string,
  { endpoint }: Pick<BatchRecord, 'endpoint'>,
  { maxLines, signal }: { readonly maxLines: number; readonly signal: AbortSignal },
): Promise<CheckedInput> {
  const faults: BatchFault[] = [];
  const ids = new Set<string>();
  const models = new Set<unknown>();
  let total = 0;
  for await (const { number, text, fault } of splitLines(createReadStream(file, { signal }))) {
    total++;
    const checked = text === undefined ? invalidJson(fault!) : checkLine(text, { endpoint, ids });
    if ('code' in checked) faults.push({ ...checked, line: number });
    else models.add(checked.model);
    if (total > maxLines) faults.push(tooMany(maxLines));
    if (faults.length >= MAX_FAULTS || total > maxLines) return { faults };
  }
  if (total === 0) faults.push({ ...EMPTY, line: null, param: 'input_file_id' });
  if (faults.length > 0) return { faults };
  const [model] = models;
  return { total, model: models.size === 1 && typeof model === 'string' ? model : undefined };
}

type LineFault = Omit<BatchFault, 'line'>;

const EMPTY = { code: 'empty_file', message: 'The input file has no lines.' };

function tooMany(maxLines: number): BatchFault {
  const message = `The input file has more than ${maxLines} lines. Split it into several batches.`;
  return { code: 'too_many_requests', message, line: null, param: 'input_file_id' };
}

function invalidJson(reason: string): LineFault {
  return { code: 'invalid_json_line', message: `The line ${reason}.`, param: null };
}

/** Returns the line's model, or what is wrong with it. Adds its id to `ids`. */
function checkLine(
  text: string,
  { endpoint, ids }: { readonly endpoint: string; readonly ids: Set<string> },
): { readonly model: unknown } | LineFault {
  let value: unknown;
  try {
    value = parseShallowText(text);
  } catch {
    return invalidJson('is not valid JSON');
  }
  if (!isObject(value)) return invalidJson('is not a JSON object');
  const { custom_id: id, method, url, body } = value;
  const fault = (code: string, param: string, message: string) => ({ code, message, param });
  for (const param of ['custom_id', 'method', 'url', 'body']) {
    if (value[param] === undefined)
      return fault('missing_required_parameter', param, `${param}: is required`);
  }
  if (typeof id !== 'string' || id === '' || id.length > MAX_CUSTOM_ID_LENGTH) {
    const message = `custom_id: must be a text of 1 to ${MAX_CUSTOM_ID_LENGTH} characters`;
    return fault('invalid_custom_id', 'custom_id', message);
  }
  if (ids.has(id)) {
    return fault('duplicate_custom_id', 'custom_id', 'custom_id: an earlier line has the same');
  }
  ids.add(id);
  if (method !== 'POST') return fault('invalid_method', 'method', 'method: must be POST');
  if (url !== endpoint) {
    return fault('mismatched_url', 'url', `url: must be ${endpoint}, the endpoint of the batch`);
  }
  if (!isObject(body)) return fault('invalid_body', 'body', 'body: must be an object');
  if (body['stream'] === true) {
    return fault(
      'invalid_body',
      'body.stream',
      'body.stream: a batch has no streams; leave it out',
    );
  }
  if (body['background'] === true) {
    const message = 'body.background: a batch waits for its responses; leave it out';
    return fault('invalid_body', 'body.background', message);
  }
  return { model: body['model'] };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// Templates of graders: texts with places such as `{{item.answer}}` or `{{sample.output_tools[0].function.name}}`.

/** The faults of a grader or an output, by OpenAI's names. */
type GraderFault =
  | 'invalid_variable_error'
  | 'sample_parse_error'
  | 'formula_parse_error'
  | 'other_error';

/** A template or a formula is wrong, or a value that it names is missing. */
export class GraderError extends Error {
  override name = 'GraderError';
  readonly kind: GraderFault;

  constructor(kind: GraderFault, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** The values that templates can name. */
export interface GradedValues {
  /** The row that the sample answers. */
  readonly item: unknown;
  readonly sample: Readonly<Record<string, unknown>>;
}

/** The longest text that is graded. Two of them are compared in 15 ms. */
export const MAX_GRADED_TEXT = 8192;

const PLACE = /\{\{([^{}]*)\}\}/g;
const PATH = /^(item|sample)((?:\.[^\s.[\]{}]+|\[\d{1,6}\])*)$/;

/** Throws `GraderError` if a template has a place that names neither the item nor the sample. */
export function checkTemplate(template: string): void {
  for (const [, name = ''] of template.matchAll(PLACE)) readPath(name.trim());
}

/** Fills in a template. Values that are not texts are written as JSON. @throws GraderError */
export function fillTemplate(template: string, values: GradedValues): string {
  let length = template.length;
  return template.replace(PLACE, (_, name: string) => {
    const text = textAt(name.trim(), values);
    length += text.length;
    if (length <= MAX_GRADED_TEXT) return text;
    throw new GraderError('other_error', `is longer than ${MAX_GRADED_TEXT} characters`);
  });
}

function textAt(name: string, values: GradedValues): string {
  const { root, keys } = readPath(name);
  let value: unknown = values[root];
  for (const key of keys) value = memberOf(value, key);
  if (value !== undefined) return typeof value === 'string' ? value : JSON.stringify(value);
  const isUnparsed = keys[0] === 'output_json' && !('output_json' in values.sample);
  throw root === 'sample' && isUnparsed
    ? new GraderError('sample_parse_error', `{{${name}}}: the output is not JSON`)
    : new GraderError('invalid_variable_error', `{{${name}}}: has no value`);
}

function readPath(name: string): { root: keyof GradedValues; keys: string[] } {
  const [, root, rest = ''] = PATH.exec(name) ?? [];
  if (root === undefined) {
    const message = `{{${name}}}: must be a value of item or sample, such as item.answer`;
    throw new GraderError('invalid_variable_error', message);
  }
  const keys = [...rest.matchAll(/\.([^.[]+)|\[(\d+)\]/g)].map(([, key, index]) => key ?? index!);
  return { root: root as keyof GradedValues, keys };
}

function memberOf(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, unknown>)[key];
}

/** A call in an output, as OpenAI's API writes it. */
export interface SampledCall {
  readonly function: { readonly name: string; readonly arguments: string };
}

/** Returns the values of an output. `output_json` is absent if the text is not JSON. */
export function toSample(text: string, calls: readonly SampledCall[] = []): GradedValues['sample'] {
  const isCall = calls.length > 0;
  const message = { role: 'assistant', content: text, ...(isCall && { tool_calls: calls }) };
  return {
    output_text: text,
    output_tools: calls,
    choices: [{ index: 0, message }],
    ...parsed(text),
  };
}

function parsed(text: string): { output_json?: unknown } {
  try {
    return { output_json: JSON.parse(text) };
  } catch {
    return {};
  }
}

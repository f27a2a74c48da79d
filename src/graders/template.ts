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
/** A step of a path: `.key`, `[0]`, `["any key"]` or `['any key']`. */
const STEP = /\.([^\s.[\]{}]+)|\[(\d{1,6})\]|\["([^"{}]+)"\]|\['([^'{}]+)'\]/;
const STEPS = new RegExp(STEP, 'g');
const PATH = new RegExp(`^(?<root>item|sample)(?<steps>(?:${STEP.source})*)$`);

/** The members of a value. A list's members have numbers, and any JSON has any. A text or a number has none. */
type Members = 'any' | readonly [Members] | { readonly [key: string]: Members };
const NONE: Members = {};
const CALLS: Members = [{ id: NONE, type: NONE, function: { name: NONE, arguments: NONE } }];
const SAMPLE = {
  output_text: NONE,
  output_json: 'any',
  output_tools: CALLS,
  choices: { 0: { index: NONE, message: { role: NONE, content: NONE, tool_calls: CALLS } } },
} satisfies Members;

/** Throws `GraderError` if a template has a place that names neither the item nor a value that samples can have. */
export function checkTemplate(template: string): void {
  const [unclosed] = /\{\{[^{}]{0,64}/.exec(template.replaceAll(PLACE, ' ')) ?? [];
  if (unclosed !== undefined) {
    const message = `${unclosed}: "{{" begins the name of a value, which must end with "}}" and have no braces inside`;
    throw new GraderError('invalid_variable_error', message);
  }
  for (const { name, root, keys } of placesOf(template)) {
    if (root === 'item' || isMember(SAMPLE, keys)) continue;
    const known = Object.keys(SAMPLE).join(', ');
    const message = `{{${name}}}: no sample has this value. Samples have ${known}`;
    throw new GraderError('invalid_variable_error', message);
  }
}

function isMember(members: Members, [key, ...rest]: readonly string[]): boolean {
  if (key === undefined || members === 'any') return true;
  if (Array.isArray(members)) return /^\d+$/.test(key) && isMember(members[0], rest);
  return Object.hasOwn(members, key) && isMember((members as Record<string, Members>)[key]!, rest);
}

/** Returns the first name of a template that none of the items has, or undefined. */
export function unknownName(template: string, items: readonly unknown[]): string | undefined {
  const unknown = placesOf(template).find(
    ({ root, keys }) => root === 'item' && items.every((item) => valueAt(item, keys) === undefined),
  );
  return unknown?.name;
}

function placesOf(template: string) {
  return [...template.matchAll(PLACE)].map(([, name = '']) => readPath(name.trim()));
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
  const value = valueAt(values[root], keys);
  if (value !== undefined) return typeof value === 'string' ? value : JSON.stringify(value);
  // A model may yet learn to write JSON, or to call a tool. A row stays as it is.
  const kind = root === 'sample' ? 'sample_parse_error' : 'invalid_variable_error';
  throw new GraderError(kind, `{{${name}}}: has no value`);
}

function readPath(name: string): { name: string; root: keyof GradedValues; keys: string[] } {
  const { root, steps = '' } = PATH.exec(name)?.groups ?? {};
  if (root === undefined) {
    const message = `{{${name}}}: must be a value of item or sample, such as item.answer or item["my key"]`;
    throw new GraderError('invalid_variable_error', message);
  }
  const keys = [...steps.matchAll(STEPS)].map(([, ...found]) => found.find((key) => key)!);
  return { name, root: root as keyof GradedValues, keys };
}

function valueAt(root: unknown, keys: readonly string[]): unknown {
  return keys.reduce(memberOf, root);
}

function memberOf(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  if (!Object.prototype.propertyIsEnumerable.call(value, key)) return undefined; // such as a list's length
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

// Graders and the rows that they grade, as plain data: templates of each kind, the item of a row, and faults in words. Pure:
// touches no element.
import type { GraderRun } from '../../../contracts/fine-tuning-api.ts';
import { isObject, parseJson } from '../../json.ts';

/** A kind of graders. */
interface Template {
  readonly id: string;
  readonly label: string;
  /** Returns one that compares with a key of the item. */
  readonly write: (key: string) => object;
}

/** A row as the model and the grader get it. */
export interface PromptRow {
  readonly messages: unknown;
  readonly tools: unknown;
  readonly item: Readonly<Record<string, unknown>>;
}

/** The kind that only some servers allow. */
export const PYTHON = 'python';
const OUTPUT = '{{sample.output_text}}';
const JUDGE = 'Rate the answer from 0 to 1.';
const ofItem = (key: string) => `{{item.${key}}}`;
const compared = (key: string) => ({ input: OUTPUT, reference: ofItem(key) });
const equal = (key: string) => ({
  ...{ type: 'string_check', name: 'equal', ...compared(key), operation: 'eq' },
});
const alike = (key: string) => ({
  ...{ type: 'text_similarity', name: 'alike', ...compared(key) },
  evaluation_metric: 'fuzzy_match',
});

/** The kinds of graders. */
export const TEMPLATES: readonly Template[] = [
  { id: 'text_similarity', label: 'How alike two texts are', write: alike },
  { id: 'string_check', label: 'Equal, or containing a text', write: equal },
  {
    id: 'multi',
    label: 'A formula over several graders',
    write: (key) => ({
      type: 'multi',
      name: 'both',
      graders: { equal: equal(key), alike: alike(key) },
      calculate_output: '0.7 * equal + 0.3 * alike',
    }),
  },
  {
    id: 'score_model',
    label: 'A model that judges',
    write: (key) => ({
      type: 'score_model',
      name: 'judge',
      model: 'base',
      input: [{ role: 'user', content: `${JUDGE}\nExpected: ${ofItem(key)}\nAnswer: ${OUTPUT}` }],
      range: [0, 1],
    }),
  },
  {
    id: PYTHON,
    label: 'A function in Python',
    write: (key) => ({
      type: PYTHON,
      name: 'function',
      source: `def grade(sample, item):\n    return float(sample["output_text"] == item[${JSON.stringify(key)}])\n`,
    }),
  },
];

/** The key that OpenAI's examples compare with. */
const USUAL_KEY = 'answer';

/** Writes the JSON of a template. @param row whose item it compares with */
export function writeTemplate(id = TEMPLATES[0]!.id, row?: PromptRow): string {
  const [key = USUAL_KEY] = Object.keys(row?.item ?? {});
  return JSON.stringify(TEMPLATES.find((one) => one.id === id)?.write(key), null, 2);
}

/** Returns the template of a grader's kind. */
export function templateOf(grader: string): string | undefined {
  const { type } = (parseJson(grader) ?? {}) as { type?: unknown };
  return TEMPLATES.find(({ id }) => id === type)?.id;
}

/** Reads a line of a training file; undefined if it is not a JSON object. */
export function readRow(line: string): PromptRow | undefined {
  const row = parseJson(line);
  if (!isObject(row)) return undefined;
  const { messages, tools, ...item } = row;
  return { messages, tools, item };
}

/** Returns the names in a grader's templates or its Python that a row lacks, such as `item.answer`. */
export function missingNames(grader: string, { item }: PromptRow): string[] {
  const uses = grader.matchAll(/\{\{\s*item\.([^\s.[\]{}]+)|\bitem\[\\?["']([^"'\\]+)/g);
  const names = [...uses].map(([, filled, read = '']) => filled ?? read);
  return [...new Set(names)].filter((name) => !(name in item)).map((name) => `item.${name}`);
}

/** Returns what to say about a grader. @param refusal why the server refuses it @param number the row's */
export function verdictOn(
  grader: string,
  { refusal, row, number }: { refusal: string; row: PromptRow | undefined; number: number },
): string {
  if (refusal !== '') return refusal;
  try {
    JSON.parse(grader);
  } catch (error) {
    return `Not JSON: ${(error as Error).message}`;
  }
  const missing = row ? missingNames(grader, row) : [];
  if (missing.length === 0) return 'Valid';
  const keys = Object.keys(row?.item ?? {});
  const has = keys.length === 0 ? 'no keys besides messages' : keys.join(', ');
  return `Valid, but row ${number} lacks ${missing.join(', ')}. It has ${has}.`;
}

const FAULTS: Readonly<Record<string, string>> = {
  invalid_variable_error: 'A template names a value that the row lacks.',
  sample_parse_error:
    'A template names a value that the completion lacks: it has other JSON or none, or no such call.',
  other_error: 'A filled template is too long, or the formula has no finite result.',
  model_grader_server_error: 'The model did not answer.',
  model_grader_parse_error: 'The model did not answer with a number.',
  unresponsive_reward_error: 'The completion is empty.',
};

/** Returns an error of a grader in words. Details may follow its name in the API after a colon. */
export function faultText(fault: string): string {
  const [name = '', ...details] = fault.split(': ');
  return [FAULTS[name] ?? name, details.join(': ')].join(' ').trim();
}

/** Returns the errors of a grader's run in words. */
export function faultsOf({ metadata: { errors } }: Pick<GraderRun, 'metadata'>): string {
  const set = Object.keys(errors).filter((name) => errors[name] === true);
  const details = Object.values(errors).filter((value) => typeof value === 'string');
  return [...set.map(faultText), ...details].join(' ');
}

/** The shown characters of a row. */
const MAX_SHOWN = 2000;

/** Writes a row as the user reads it. */
export function rowText({ messages, item }: PromptRow): string {
  const texts = Array.isArray(messages)
    ? messages.map(({ role, content }) => `${role}: ${asText(content)}`)
    : [];
  const values = Object.entries(item).map(([key, value]) => `item.${key}: ${asText(value)}`);
  return [...texts, ...values].join('\n').slice(0, MAX_SHOWN);
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

// Graders and the rows that they grade, as plain data: templates of each kind, the item of a row, and faults in words. Pure:
// touches no element.

/** Grader → its JSON. @typedef {{ id: string, label: string, write: (key: string) => object }} Template */
/** A row as the model and the grader get it. @typedef {{ messages: unknown, tools: unknown, item: Record<string, unknown> }} PromptRow */

/** The kind that only some servers allow. */
export const PYTHON = 'python';
const OUTPUT = '{{sample.output_text}}';
/** @param {string} key */
const ofItem = (key) => `{{item.${key}}}`;
/** @param {string} key */
const equal = (key) => ({
  type: 'string_check',
  name: 'equal',
  input: OUTPUT,
  reference: ofItem(key),
  operation: 'eq',
});
/** @param {string} key */
const alike = (key) => ({
  type: 'text_similarity',
  name: 'alike',
  input: OUTPUT,
  reference: ofItem(key),
  evaluation_metric: 'fuzzy_match',
});

/** The kinds of graders, each with one that compares with a key of the item. @type {readonly Template[]} */
export const TEMPLATES = [
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
      input: [
        {
          role: 'user',
          content: `Rate the answer from 0 to 1.\nExpected: ${ofItem(key)}\nAnswer: ${OUTPUT}`,
        },
      ],
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

/** Writes the JSON of a template. @param {string} id @param {PromptRow | undefined} row whose item it compares with */
export function writeTemplate(id, row) {
  const [key = USUAL_KEY] = Object.keys(row?.item ?? {});
  return JSON.stringify(TEMPLATES.find((one) => one.id === id)?.write(key), null, 2);
}

/** Reads a line of a training file; undefined if it is not a JSON object. @param {string} line @returns {PromptRow | undefined} */
export function readRow(line) {
  try {
    const { messages, tools, ...item } = JSON.parse(line);
    return { messages, tools, item };
  } catch {
    return undefined;
  }
}

/** Returns the names in a grader's templates or its Python that a row lacks, such as `item.answer`. @param {string} grader @param {PromptRow} row */
export function missingNames(grader, { item }) {
  const uses = grader.matchAll(/\{\{\s*item\.([^\s.[\]{}]+)|\bitem\[\\?["']([^"'\\]+)/g);
  const names = [...uses].map(([, filled, read = '']) => filled ?? read);
  return [...new Set(names)].filter((name) => !(name in item)).map((name) => `item.${name}`);
}

/** @type {Readonly<Record<string, string>>} */
const FAULTS = {
  invalid_variable_error: 'A template names a value that the row lacks.',
  sample_parse_error:
    'A template names a value that the completion lacks: it has other JSON or none, or no such call.',
  other_error: 'A filled template is too long, or the formula has no finite result.',
  model_grader_server_error: 'The model did not answer.',
  model_grader_parse_error: 'The model did not answer with a number.',
  unresponsive_reward_error: 'The completion is empty.',
};

/** Returns an error of a grader in words. @param {string} fault its name in the API, which details may follow after a colon */
export function faultText(fault) {
  const [name = '', ...details] = fault.split(': ');
  return [FAULTS[name] ?? name, details.join(': ')].join(' ').trim();
}

/** Returns the errors of a grader's run in words. @param {import('../contracts/fine-tuning-api.ts').GraderRun} run */
export function faultsOf({ metadata: { errors } }) {
  const set = Object.keys(errors).filter((name) => errors[name] === true);
  const details = Object.values(errors).filter((value) => typeof value === 'string');
  return [...set.map(faultText), ...details].join(' ');
}

/**
 * Returns a line of a file; undefined if it has fewer.
 * @param {ReadableStream<Uint8Array>} stream read no further than needed
 * @param {number} number from 1
 */
export async function readLine(stream, number) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let line = 1;
  let text = '';
  try {
    while (true) {
      const { done, value } = await reader.read();
      const [first = '', ...others] = decoder.decode(value, { stream: !done }).split('\n');
      if (line === number) text += first;
      for (const piece of others) {
        if (line === number) return text;
        line++;
        if (line === number) text = piece;
      }
      if (done) return line === number && text !== '' ? text : undefined;
    }
  } finally {
    await reader.cancel();
  }
}

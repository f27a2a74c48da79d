// Turns the rows of a table into rows of a training file: which column is what, by its name or by the user's choice. Pure: it
// reads no file and touches no element.

/** @typedef {{ id: string, label: string, names: RegExp, isOptional?: true }} Role */
/** @typedef {'chat' | 'classifier' | 'pairs' | 'text'} FormId */

/**
 * A form of training rows.
 * @typedef {object} Form
 * @property {FormId} id
 * @property {string} label
 * @property {readonly Role[]} roles the columns that it needs
 * @property {(cells: Readonly<Record<string, string>>) => object} toRow makes a row from the cells by role
 */

/** Role → index of its column; -1 if it has none. @typedef {Readonly<Record<string, number>>} Mapping */

const PROMPT = /^(?:prompt|question|input|instruction|user|query)$/i;

/** @param {string} role @param {string | undefined} content */
const message = (role, content) => ({ role, content });

/** @param {Readonly<Record<string, string>>} cells */
const promptOf = ({ system, prompt }) => [
  ...(system ? [message('system', system)] : []),
  message('user', prompt),
];

/** @type {Role} */
const SYSTEM = { id: 'system', label: 'System prompt', names: /^system/i, isOptional: true };

/** The forms, the most specific names first. @type {readonly Form[]} */
export const FORMS = [
  {
    id: 'pairs',
    label: 'Preference pairs (DPO)',
    roles: [
      { id: 'prompt', label: 'Prompt', names: PROMPT },
      { id: 'chosen', label: 'Preferred', names: /^(?:chosen|preferred|better|accepted)/i },
      { id: 'rejected', label: 'Non-preferred', names: /^(?:rejected|non.?preferred|worse)/i },
      SYSTEM,
    ],
    toRow: (cells) => ({
      input: { messages: promptOf(cells) },
      preferred_output: [message('assistant', cells['chosen'])],
      non_preferred_output: [message('assistant', cells['rejected'])],
    }),
  },
  {
    id: 'classifier',
    label: 'Text and class',
    roles: [
      { id: 'text', label: 'Text', names: /^(?:text|sentence|utterance|message|query)$/i },
      { id: 'label', label: 'Class', names: /^(?:label|class|category|intent|topic|sentiment)$/i },
    ],
    toRow: ({ text, label }) => ({ text, label }),
  },
  {
    id: 'chat',
    label: 'Question and answer',
    roles: [
      { id: 'prompt', label: 'Prompt', names: PROMPT },
      {
        id: 'completion',
        label: 'Answer',
        names: /^(?:completion|answer|response|output|assistant|reply)$/i,
      },
      SYSTEM,
    ],
    toRow: (cells) => ({
      messages: [...promptOf(cells), message('assistant', cells['completion'])],
    }),
  },
  {
    id: 'text',
    label: 'Plain text',
    roles: [{ id: 'text', label: 'Text', names: /^(?:text|content|document)$/i }],
    toRow: ({ text }) => ({ text }),
  },
];

/** A column that nobody wants to train on. */
const NUMBERING = /^(?:id|index|no\.?|#|)$/i;

/** Guesses what the columns are: the first form whose columns all have a known name, else questions and answers. @param {readonly string[]} columns @returns {{ form: Form, mapping: Mapping }} */
export function guessForm(columns) {
  for (const form of FORMS) {
    const mapping = guessMapping(form, columns);
    if (isComplete(form, mapping)) return { form, mapping };
  }
  const form = /** @type {Form} */ (FORMS.find(({ id }) => id === 'chat'));
  const { prompt = -1, completion = -1, system = -1 } = guessMapping(form, columns);
  const left = columns.flatMap((name, i) =>
    [prompt, completion, system].includes(i) || NUMBERING.test(name.trim()) ? [] : [i],
  );
  const take = (/** @type {number} */ known) => (known < 0 ? (left.shift() ?? -1) : known);
  return { form, mapping: { prompt: take(prompt), completion: take(completion), system } };
}

/** Finds the columns of a form by their names. @param {Form} form @param {readonly string[]} columns @returns {Mapping} */
export function guessMapping({ roles }, columns) {
  return Object.fromEntries(
    roles.map(({ id, names }) => [id, columns.findIndex((column) => names.test(column.trim()))]),
  );
}

/** Whether every column that the form needs is chosen, each for one role. @param {Form} form @param {Mapping} mapping */
export function isComplete({ roles }, mapping) {
  const chosen = roles.map(({ id }) => mapping[id] ?? -1).filter((column) => column >= 0);
  const isMissing = roles.some(({ id, isOptional }) => !isOptional && (mapping[id] ?? -1) < 0);
  return !isMissing && new Set(chosen).size === chosen.length;
}

/**
 * Converts rows. Those without a value that the form needs are left out.
 * @param {readonly (readonly string[])[]} rows
 * @param {Form} form
 * @param {Mapping} mapping complete
 * @returns {{ lines: string[], skipped: number }} lines of JSON
 */
export function toLines(rows, { roles, toRow }, mapping) {
  /** @type {string[]} */
  const lines = [];
  for (const row of rows) {
    const cells = Object.fromEntries(
      roles.map(({ id }) => [id, row[mapping[id] ?? -1]?.trim() ?? '']),
    );
    const isWhole = roles.every(({ id, isOptional }) => isOptional || cells[id] !== '');
    if (isWhole) lines.push(JSON.stringify(toRow(cells)));
  }
  return { lines, skipped: rows.length - lines.length };
}

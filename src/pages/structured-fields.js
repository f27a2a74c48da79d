// The playground's editors for the response format and the tools. They are checked as typed; if the server refuses one, its
// reason is shown next to the editor.
import { byId, setText } from './dom.js';
import { readFormat, readTools } from './structured.js';

/**
 * @typedef {object} Editor
 * @property {string} name as in the API, and the id of the text field
 * @property {string} title
 * @property {(text: string) => import('./structured.js').Reading} read
 * @property {string} help while the field is empty
 * @property {unknown} example
 */

/** @type {readonly Editor[]} */
const EDITORS = [
  {
    name: 'response_format',
    title: 'the response format',
    read: readFormat,
    help: 'With a schema the answer is always JSON that satisfies it.',
    example: {
      type: 'object',
      properties: {
        answer: { type: 'string', maxLength: 80 },
        certainty: { enum: ['low', 'medium', 'high'] },
      },
      required: ['answer', 'certainty'],
      additionalProperties: false,
    },
  },
  {
    name: 'tools',
    title: 'the list of tools',
    read: readTools,
    help: 'A list of functions. Their calls are shown, and not run.',
    example: [
      {
        name: 'get_weather',
        description: 'The weather of a city',
        parameters: {
          type: 'object',
          properties: { city: { type: 'string', maxLength: 40 } },
          required: ['city'],
        },
      },
    ],
  },
];
const CHOICE = 'tool_choice';

/** The names of the fields that a link can contain. */
export const STRUCTURE_NAMES = [...EDITORS.map(({ name }) => name), CHOICE];

/** Sets the editors up. @param {() => void} onChange after an example was inserted */
export function createStructuredFields(onChange) {
  for (const editor of EDITORS) {
    fieldOf(editor).addEventListener('input', () => showState(editor));
    byId(`${editor.name}-example`).addEventListener('click', () => {
      fieldOf(editor).value = JSON.stringify(editor.example, null, 2);
      showState(editor);
      fieldOf(editor).focus();
      onChange();
    });
    showState(editor);
  }
}

/** Returns the fields as typed. @returns {[name: string, value: string][]} */
export function typedStructure() {
  return [
    ...EDITORS.map(
      (editor) => /** @type {[string, string]} */ ([editor.name, fieldOf(editor).value]),
    ),
    [CHOICE, choiceField().value],
  ];
}

/** Fills the fields, and clears those that are not given. @param {Readonly<Record<string, string>>} typed */
export function writeStructure(typed) {
  for (const editor of EDITORS) {
    fieldOf(editor).value = typed[editor.name] ?? '';
    showState(editor);
  }
  choiceField().value = typed[CHOICE] ?? '';
  if (choiceField().selectedIndex < 0) choiceField().value = '';
}

/** Returns the fields as the API takes them, without those that are empty or not JSON. @returns {Record<string, unknown>} */
export function readStructure() {
  const values = EDITORS.map((editor) => [editor.name, editor.read(fieldOf(editor).value).value]);
  const body = Object.fromEntries(values.filter(([, value]) => value !== undefined));
  const choice = choiceField().value;
  return { ...body, ...('tools' in body && choice !== '' && { [CHOICE]: choice }) };
}

/** Returns why the fields cannot be sent, after moving the focus to the first one at fault; undefined if they can. */
export function structureFault() {
  const bad = EDITORS.find((editor) => editor.read(fieldOf(editor).value).problem !== '');
  if (!bad) return undefined;
  open(bad);
  fieldOf(bad).focus();
  return `The message was not sent: ${bad.title} under Settings is not valid. Correct or clear it.`;
}

/**
 * Shows the server's reason next to the editor whose field it refused.
 * @param {readonly { problem: string, param: string }[]} answers
 */
export function showRefusals(answers) {
  for (const editor of EDITORS) {
    const refused = answers.find(({ param }) => isAbout(editor, param));
    if (!refused) continue;
    showState(editor, refused.problem);
    open(editor);
  }
}

/** @param {Editor} editor @param {string} param such as `tools[0].function.name` */
function isAbout({ name }, param) {
  return /^\w+/.exec(param)?.[0] === name;
}

/** @param {Editor} editor @param {string} [refusal] why the server refused it */
function showState({ name, read, help }, refusal = '') {
  const field = byId(name, HTMLTextAreaElement);
  const { value, problem } = read(field.value);
  const fault = problem || refusal;
  const verdict = byId(`${name}-verdict`);
  setText(verdict, fault || (value === undefined ? help : 'Valid JSON'));
  verdict.classList.toggle('bad', fault !== '');
  field.setAttribute('aria-invalid', String(fault !== ''));
  const state = problem ? 'not JSON' : refusal ? 'refused' : value === undefined ? '' : 'on';
  setText(byId(`${name}-state`), state);
  byId(`${name}-example`, HTMLButtonElement).disabled = field.value.trim() !== '';
}

/** @param {Editor} editor */
function open({ name }) {
  byId('settings', HTMLDetailsElement).open = true;
  byId(`${name}-editor`, HTMLDetailsElement).open = true;
}

/** @param {Editor} editor */
function fieldOf({ name }) {
  return byId(name, HTMLTextAreaElement);
}

function choiceField() {
  return byId(CHOICE, HTMLSelectElement);
}

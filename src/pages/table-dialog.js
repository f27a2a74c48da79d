// The dialog that turns a CSV or TSV file into a JSONL file: the user says what its columns are, and sees the first rows.
import { byId, el, fill, setText } from './dom.js';
import { counted } from './format.js';
import { FORMS, guessForm, guessMapping, isComplete, toLines } from './table-rows.js';
import { createTable } from './widgets.js';

/** @typedef {import('./table-rows.js').Form} Form */
/** @typedef {import('./table-rows.js').Mapping} Mapping */

const PREVIEWED_ROWS = 5;
/** The characters shown of a long cell. */
const MAX_CELL = 120;

/**
 * Asks what the columns are.
 * @param {File} file
 * @returns {Promise<{ file: File, form: Form } | undefined>} the rows as JSONL; undefined if the user does not want them
 */
export async function convertTable(file) {
  const dialog = byId('table-dialog', HTMLDialogElement);
  const { rows: all, problem } = await readTable(file);
  const [columns = [], ...rows] = all;
  const guess = guessForm(columns);
  let { form, mapping } = guess;
  setText(byId('table-title'), `Columns of ${file.name}`);
  setText(byId('table-problem'), problem);
  byId('table-problem').hidden = problem === '';
  const select = byId('table-form', HTMLSelectElement);
  fill(select, ...FORMS.map(({ id, label }) => el('option', { value: id }, label)));
  select.value = form.id;
  const showRows = createTable(byId('table-rows'), { caption: 'The first rows', columns });
  showRows(rows.slice(0, PREVIEWED_ROWS).map((row) => row.map(shortened)));
  const update = () => showOutcome(rows, form, mapping);
  const showRoles = () => {
    const onChoose = (/** @type {Mapping} */ changed) => {
      mapping = { ...mapping, ...changed };
      update();
    };
    fill(byId('table-roles'), ...roleFields(columns, { form, mapping, onChoose }));
    update();
  };
  select.onchange = () => {
    form = /** @type {Form} */ (FORMS.find(({ id }) => id === select.value));
    mapping = guessMapping(form, columns);
    showRoles();
  };
  showRoles();
  dialog.returnValue = '';
  dialog.showModal();
  select.focus();
  await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
  if (dialog.returnValue !== 'yes') return undefined;
  const { lines } = toLines(rows, form, mapping);
  const name = file.name.replace(/\.\w+$/, '.jsonl');
  return { file: new File([`${lines.join('\n')}\n`], name), form };
}

/** Reads all cells, and says what is wrong with them. @param {File} file @returns {Promise<{ rows: string[][], problem: string }>} */
async function readTable(file) {
  if (document.readyState !== 'complete') {
    await new Promise((resolve) => addEventListener('load', resolve, { once: true }));
  }
  if (!('Papa' in globalThis)) {
    return { rows: [], problem: 'The reader of tables was not loaded. Reload the page.' };
  }
  return new Promise((resolve) => {
    Papa.parse(file, {
      skipEmptyLines: 'greedy',
      complete: ({ data: rows, errors }) => resolve({ rows, problem: faultOf(rows, errors) }),
      error: ({ message }) => resolve({ rows: [], problem: message }),
    });
  });
}

/** @param {readonly string[][]} rows @param {readonly { type: string, message: string, row?: number }[]} errors */
function faultOf(rows, errors) {
  if (rows.length < 2) return 'The file has no rows below its first one, which names the columns.';
  const quotes = errors.find(({ type }) => type === 'Quotes');
  if (quotes) return `Row ${(quotes.row ?? 0) + 1}: ${quotes.message}.`;
  if (!rows.some((row) => row.some((cell) => cell.includes('\uFFFD')))) return '';
  return 'Some characters are not UTF-8. Save the table as “CSV UTF-8”, and choose it again.';
}

/** @param {string} cell */
function shortened(cell) {
  return cell.length > MAX_CELL ? `${cell.slice(0, MAX_CELL)}…` : cell;
}

/** @param {readonly string[]} columns @param {{ form: Form, mapping: Mapping, onChoose: (changed: Mapping) => void }} options */
function roleFields(columns, { form, mapping, onChoose }) {
  return form.roles.map(({ id, label, isOptional }) => {
    const select = el(
      'select',
      {
        id: `role-${id}`,
        onchange: () => onChoose({ [id]: Number(select.value) }),
      },
      el('option', { value: -1 }, isOptional ? 'None' : 'Choose a column'),
      ...columns.map((column, i) => el('option', { value: i }, column || `Column ${i + 1}`)),
    );
    select.value = String(mapping[id] ?? -1);
    return el('div.field', el('label', { htmlFor: select.id }, label), select);
  });
}

/** Shows the first row as it will be, and how many there are. @param {readonly string[][]} rows @param {Form} form @param {Mapping} mapping */
function showOutcome(rows, form, mapping) {
  const isReady = isComplete(form, mapping);
  const { lines, skipped } = isReady ? toLines(rows, form, mapping) : { lines: [], skipped: 0 };
  const left = skipped > 0 ? ` ${counted(skipped, 'row')} without a value left out.` : '';
  const text = isReady
    ? `${counted(lines.length, 'row')}.${left}`
    : 'Choose a different column for each part.';
  setText(byId('table-count'), text);
  const [first] = lines;
  const scroller = { tabIndex: 0, role: 'group', 'aria-label': 'The first row as it will be' };
  const shown =
    first !== undefined && el('pre.example', scroller, JSON.stringify(JSON.parse(first), null, 2));
  fill(byId('table-first'), shown);
  byId('table-yes', HTMLButtonElement).disabled = lines.length === 0;
}

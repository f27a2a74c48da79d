// Turns the rows of a table into rows of a training file: which column is what, by its name or by the user's choice. Also finds
// answers that look like classes. Pure: it reads no file and touches no element.
import type Papa from 'papaparse';
import { isObject, parseJson } from '../../json.ts';

type Cells = Readonly<Record<string, string>>;

/** The roles of columns, and the names that columns with a role usually have. */
const ROLES = {
  prompt: ['Prompt', /^(?:prompt|question|input|instruction|user|query)$/i],
  completion: ['Answer', /^(?:completion|answer|response|output|assistant|reply)$/i],
  system: ['System prompt', /^system/i],
  chosen: ['Preferred', /^(?:chosen|preferred|better|accepted)/i],
  rejected: ['Non-preferred', /^(?:rejected|non.?preferred|worse)/i],
  text: ['Text', /^(?:text|sentence|utterance|message|query|content|document)$/i],
  label: ['Class', /^(?:label|class|category|intent|topic|sentiment)$/i],
} as const;
type RoleId = keyof typeof ROLES;

/** A form of training rows. */
interface Form {
  readonly label: string;
  /** The columns that it needs. Only the system prompt is optional. */
  readonly roles: readonly RoleId[];
  /** Makes a row from the cells by role. */
  readonly toRow: (cells: Cells) => object;
}

const message = (role: string, content: string | undefined) => ({ role, content });
const promptOf = ({ system, prompt }: Cells) => [
  ...(system ? [message('system', system)] : []),
  message('user', prompt),
];

/** The forms, the most specific names first. */
export const FORMS = {
  pairs: {
    label: 'Preference pairs (DPO)',
    roles: ['prompt', 'chosen', 'rejected', 'system'],
    toRow: (cells) => ({
      input: { messages: promptOf(cells) },
      preferred_output: [message('assistant', cells['chosen'])],
      non_preferred_output: [message('assistant', cells['rejected'])],
    }),
  },
  classifier: {
    label: 'Text and class',
    roles: ['text', 'label'],
    toRow: ({ text, label }) => ({ text, label }),
  },
  chat: {
    label: 'Question and answer',
    roles: ['prompt', 'completion', 'system'],
    toRow: (cells) => ({
      messages: [...promptOf(cells), message('assistant', cells['completion'])],
    }),
  },
  text: { label: 'Plain text', roles: ['text'], toRow: ({ text }) => ({ text }) },
} as const satisfies Record<string, Form>;
/** A form of rows. */
export type FormId = keyof typeof FORMS;
export const FORM_IDS = Object.keys(FORMS) as FormId[];

/** A table whose columns the user names. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly form: FormId;
  /** Role → index of its column; absent or -1 if it has none. */
  readonly mapping: Readonly<Record<string, number>>;
  /** The system prompt of rows without a column for it. */
  readonly system: string;
}

/** Returns the columns that a table's form needs, with their labels and chosen indexes. */
export function rolesOf({ form, mapping }: Pick<Table, 'form' | 'mapping'>) {
  return FORMS[form].roles.map((id) => {
    return { id, label: ROLES[id][0], column: mapping[id] ?? -1, isOptional: id === 'system' };
  });
}

/** Chooses a form, and the columns whose names fit it. */
export function withForm(table: Table, form: FormId): Table {
  const columns = FORMS[form].roles.map((id) => {
    return [id, table.columns.findIndex((name) => ROLES[id][1].test(name.trim()))];
  });
  return { ...table, form, mapping: Object.fromEntries(columns) };
}

/** Numbers of rows. */
const NUMBERING = /^(?:id|index|no\.?|#|)$/i;

/** Guesses what the columns are: the first form whose columns all have a known name, else questions and answers. */
export function guessTable([columns = [], ...rows]: readonly (readonly string[])[]): Table {
  const table: Table = { columns, rows, form: 'chat', mapping: {}, system: '' };
  const known = FORM_IDS.map((form) => withForm(table, form)).find(isComplete);
  if (known) return known;
  const { mapping } = withForm(table, 'chat');
  const left = columns.flatMap((name, i) =>
    Object.values(mapping).includes(i) || NUMBERING.test(name.trim()) ? [] : [i],
  );
  const guessed = Object.entries(mapping).map(([id, column]) => {
    return [id, column < 0 && id !== 'system' ? (left.shift() ?? -1) : column];
  });
  return { ...table, mapping: Object.fromEntries(guessed) };
}

/** Whether every column that the form needs is chosen, each for one role. */
export function isComplete(table: Pick<Table, 'form' | 'mapping'>): boolean {
  const roles = rolesOf(table);
  const chosen = roles.map(({ column }) => column).filter((column) => column >= 0);
  const isMissing = roles.some(({ column, isOptional }) => !isOptional && column < 0);
  return !isMissing && new Set(chosen).size === chosen.length;
}

/** Whether the system prompt of a table's rows can be typed: the form has one, and no column is chosen for it. */
export function takesSystem(table: Table): boolean {
  return rolesOf(table).some(({ id, column }) => id === 'system' && column < 0);
}

/** Converts the rows to lines of JSON, none if columns are missing. Rows without a value that the form needs are skipped. */
export function toLines(table: Table): string[] {
  if (!isComplete(table)) return [];
  const roles = rolesOf(table);
  const typed = takesSystem(table) && { system: table.system.trim() };
  return table.rows.flatMap((row) => {
    const cells: Cells = Object.fromEntries(
      roles.map(({ id, column }) => [id, row[column]?.trim() ?? '']),
    );
    const isWhole = roles.every(({ id, isOptional }) => isOptional || cells[id] !== '');
    return isWhole ? [JSON.stringify(FORMS[table.form].toRow({ ...cells, ...typed }))] : [];
  });
}

/** With more, they are probably free answers. */
const MAX_CLASSES = 20;
/** Below this, they are free answers. */
const MIN_ROWS_PER_CLASS = 5;

/** Lines of questions and answers as a classifier learns them. */
export interface ClassifierRows {
  readonly classes: readonly string[];
  readonly lines: readonly string[];
}

/** Returns the rows of a classifier if lines are questions and the same few answers again and again. */
export function toClassifier(lines: readonly string[]): ClassifierRows | undefined {
  const rows = lines.filter((line) => line.trim() !== '').map(toLabelled);
  const classes = [...new Set(rows.map((row) => row?.label ?? ''))];
  const isFew = classes.length > 1 && classes.length <= MAX_CLASSES;
  if (!isFew || classes.includes('') || classes.length * MIN_ROWS_PER_CLASS > rows.length)
    return undefined;
  return { classes, lines: rows.map((row) => JSON.stringify(row)) };
}

/** Returns a question and its answer as a text and its class. A system prompt is dropped. */
function toLabelled(line: string): { text: string; label: string } | undefined {
  const row = parseJson(line);
  const { prompt, completion, messages } = isObject(row) ? row : {};
  if (completion !== undefined) {
    const isText = typeof prompt === 'string' && typeof completion === 'string';
    return isText ? { text: prompt, label: completion.trim() } : undefined;
  }
  if (!Array.isArray(messages) || !messages.every(isObject)) return undefined;
  const [question, answer, ...more] = messages.filter((message) => message['role'] !== 'system');
  const [text, label] = [question?.['content'], answer?.['content']];
  const isPair = question?.['role'] === 'user' && more.length === 0;
  if (!isPair || typeof text !== 'string' || typeof label !== 'string') return undefined;
  return { text, label: label.trim() };
}

/** Returns the text of a file, and whether it is UTF-8 or UTF-16. Other files of Western languages are Windows-1252. */
export function decodeText(bytes: Uint8Array): { text: string; isUnicode: boolean } {
  const isWide = bytes[0] === 0xff && bytes[1] === 0xfe; // Excel's “Unicode text”
  try {
    const decoder = new TextDecoder(isWide ? 'utf-16le' : 'utf-8', { fatal: true });
    return { text: decoder.decode(bytes), isUnicode: true };
  } catch {
    return { text: new TextDecoder('windows-1252').decode(bytes), isUnicode: false };
  }
}

/** Reads the cells of a table, guesses its columns, and says what is wrong with it. */
export function readTable(text: string, { parse }: typeof Papa): { table: Table; problem: string } {
  const { data, errors } = parse<string[]>(text, { skipEmptyLines: 'greedy' });
  const quotes = errors.find(({ type }) => type === 'Quotes');
  const fault = quotes ? `Row ${(quotes.row ?? 0) + 1}: ${quotes.message}.` : '';
  const none = 'The file has no rows below its first one, which names the columns.';
  return { table: guessTable(data), problem: data.length < 2 ? none : fault };
}

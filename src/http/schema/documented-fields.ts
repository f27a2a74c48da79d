// Writes the tables of request fields as Markdown for docs/api.md. A test compares the page with them.
import { DEFAULT_LIMITS } from '../limits.ts';
import { MESSAGE_FIELDS, PART_FIELDS } from './chat.ts';
import { type FieldRow, type Treatment, treatmentOf } from './field-table.ts';
import { requestFields, STREAM_OPTION_FIELDS } from './request-fields.ts';

type FieldTable = Readonly<Record<string, FieldRow>>;

const SHOWN: Record<Treatment, string> = {
  honoured: 'yes',
  'no effect': 'no effect',
  refused: 'refused',
  unknown: 'unknown',
};

/** Returns the tables by the names of their places in the page. */
export function fieldTables(): Record<'fields' | 'message fields', string> {
  const fields = requestFields({ vocabSize: 1, limits: DEFAULT_LIMITS });
  return {
    fields: generationTable({ ...fields, ...below('stream_options', STREAM_OPTION_FIELDS) }),
    'message fields': messageTable({ ...MESSAGE_FIELDS, ...below('content[]', PART_FIELDS) }),
  };
}

function below(name: string, table: FieldTable): FieldTable {
  return Object.fromEntries(
    Object.entries(table).map(([field, row]) => [`${name}.${field}`, row] as const),
  );
}

function generationTable(table: FieldTable): string {
  const rows = Object.entries(table).map(([name, row]) => {
    const [chat, completions] = [treatmentOf(row, 'chat'), treatmentOf(row, 'completions')];
    return `| \`${name}\` | ${SHOWN[chat]} | ${SHOWN[completions]} | ${row.help} |\n`;
  });
  return `| field | chat | completions | meaning |\n|---|---|---|---|\n${rows.join('')}`;
}

function messageTable(table: FieldTable): string {
  const rows = Object.entries(table).map(([name, row]) => {
    return `| \`${name}\` | ${SHOWN[treatmentOf(row, 'chat')]} | ${row.help} |\n`;
  });
  return `| field | treatment | meaning |\n|---|---|---|\n${rows.join('')}`;
}

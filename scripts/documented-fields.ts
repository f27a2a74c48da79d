// Writes the tables of request fields as Markdown for pages of docs/. A test compares the pages with them.

import { MESSAGE_FIELDS, PART_FIELDS } from '../src/http/schema/chat.ts';
import {
  DEFAULT_ONLY,
  type EndpointName,
  type FieldRow,
  INERT,
  REFUSED,
} from '../src/http/schema/fields.ts';
import { BLOCK_FIELDS } from '../src/http/schema/message-blocks.ts';
import { MESSAGE_TOOL_FIELDS, messageFields } from '../src/http/schema/messages.ts';
import { classifyFields, embeddingFields } from '../src/http/schema/pooled.ts';
import { requestFields, STREAM_OPTION_FIELDS } from '../src/http/schema/request-fields.ts';
import {
  CALL_ITEM_FIELDS,
  ITEM_PART_FIELDS,
  MESSAGE_ITEM_FIELDS,
} from '../src/http/schema/response-items.ts';
import { responseFields } from '../src/http/schema/responses.ts';
import { DEFAULT_LIMITS } from '../src/http/wire/limits.ts';

type FieldTable = Readonly<Record<string, FieldRow>>;

/** Returns how an endpoint treats the field. */
export function treatmentOf(row: FieldRow, route: EndpointName): string {
  const schema = row[route];
  if (!schema) return 'unknown';
  if (schema === REFUSED) return 'refused';
  if (DEFAULT_ONLY.has(schema)) return 'default only';
  return schema === INERT ? 'no effect' : 'yes';
}

type TableName =
  | 'fields'
  | 'message fields'
  | 'response fields'
  | 'messages fields'
  | 'embedding fields'
  | 'classify fields';

/** The page of each table in docs/. */
export const FIELD_PAGES: Readonly<Record<TableName, string>> = {
  fields: 'request-fields.md',
  'message fields': 'request-fields.md',
  'response fields': 'responses.md',
  'messages fields': 'messages.md',
  'embedding fields': 'embeddings.md',
  'classify fields': 'classify.md',
};

/** Returns the tables by the names of their markers in the pages. */
export function fieldTables(): Record<TableName, string> {
  const bounds = { vocabSize: 1, limits: DEFAULT_LIMITS };
  const items = {
    ...MESSAGE_ITEM_FIELDS,
    ...below('content[]', ITEM_PART_FIELDS),
    ...CALL_ITEM_FIELDS,
  };
  return {
    fields: generationTable({
      ...requestFields(bounds),
      ...below('stream_options', STREAM_OPTION_FIELDS),
    }),
    'message fields': fieldTable({ ...MESSAGE_FIELDS, ...below('content[]', PART_FIELDS) }, 'chat'),
    'response fields': fieldTable(
      { ...responseFields({ ...bounds, keepsResponses: true }), ...below('input[]', items) },
      'responses',
    ),
    'messages fields': fieldTable(
      {
        ...messageFields(bounds),
        ...below('messages[].content[]', BLOCK_FIELDS),
        ...below('tools[]', MESSAGE_TOOL_FIELDS),
      },
      'messages',
    ),
    'classify fields': fieldTable(classifyFields(bounds), 'classify'),
    'embedding fields': fieldTable(embeddingFields({ ...bounds, hiddenSize: 1 }), 'embeddings'),
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
    return `| \`${name}\` | ${chat} | ${completions} | ${row.help} |\n`;
  });
  return `| field | chat | completions | meaning |\n|---|---|---|---|\n${rows.join('')}`;
}

function fieldTable(table: FieldTable, endpoint: EndpointName): string {
  const rows = Object.entries(table).map(([name, row]) => {
    return `| \`${name}\` | ${treatmentOf(row, endpoint)} | ${row.help} |\n`;
  });
  return `| field | treatment | meaning |\n|---|---|---|\n${rows.join('')}`;
}

// Defines tables of request fields: a row says how each endpoint treats a field and what the field means. Schemas, refusals and
// documentation follow from the rows, which are in `request-fields.ts` and `chat.ts`.
import { z } from '@hono/zod-openapi';

/** The endpoints whose requests have a table. */
export type EndpointName = 'chat' | 'completions' | 'responses' | 'embeddings' | 'classify';

/** A field's meaning, and its schema for each endpoint that accepts it. */
export interface FieldRow {
  readonly chat?: z.ZodType;
  readonly completions?: z.ZodType;
  readonly responses?: z.ZodType;
  readonly embeddings?: z.ZodType;
  readonly classify?: z.ZodType;
  readonly help: string;
}

/** The schemas of one endpoint's fields, by name. */
type FieldsOf<Table, R extends EndpointName> = {
  [Name in keyof Table as Table[Name] extends Record<R, z.ZodType>
    ? Name
    : never]: Table[Name] extends Record<R, infer Schema> ? Schema : never;
};

/** How an endpoint treats a field, for the documentation. */
export type Treatment = 'honoured' | 'no effect' | 'refused' | 'unknown';

const UNSUPPORTED = { code: 'unsupported_parameter' };

/** Accepts and ignores a field that could not change the completion. */
export const INERT = z.unknown().optional();

/** Refuses a field by name, because ignoring it would change the completion. null, [] and {} request nothing and pass. */
export const REFUSED = z
  .unknown()
  .optional()
  .refine(isEmpty, { message: 'is not supported by this server', params: UNSUPPORTED });

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

/** Accepts only values that request what the server does anyway. `accepted` names them in the error. */
export function only(accepted: string, isAccepted: (value: unknown) => boolean) {
  return z
    .unknown()
    .optional()
    .refine((value) => value === undefined || value === null || isAccepted(value), {
      message: `only ${accepted} is supported by this server`,
      params: UNSUPPORTED,
    });
}

/** Accepts only this value. */
export function onlyValue(accepted: boolean | number | string) {
  return only(JSON.stringify(accepted), (value) => value === accepted);
}

/** A field that chat and completions treat alike. */
export function both<Schema extends z.ZodType>(schema: Schema, help: string) {
  return { chat: schema, completions: schema, help };
}

/** The row of a field that chat and completions ignore. */
export function inert(help: string) {
  return both(INERT, help);
}

/** The row of a field that chat and completions refuse. */
export function refused(help: string) {
  return both(REFUSED, help);
}

/** Several fields with the same row. */
export function rows<const Name extends string, Row extends FieldRow>(
  names: readonly Name[],
  row: Row,
): Record<Name, Row> {
  return Object.fromEntries(names.map((name) => [name, row])) as Record<Name, Row>;
}

/** Returns the schemas of an endpoint's fields, with the rows' descriptions. */
export function fieldsOf<Table extends Record<string, FieldRow>, R extends EndpointName>(
  table: Table,
  route: R,
): FieldsOf<Table, R> {
  const fields = Object.entries(table).flatMap(([name, row]) => {
    const schema = row[route];
    return schema ? [[name, schema.openapi({ description: row.help })]] : [];
  });
  return Object.fromEntries(fields);
}

/** Returns how an endpoint treats the field. */
export function treatmentOf(row: FieldRow, route: EndpointName): Treatment {
  const schema = row[route];
  if (!schema) return 'unknown';
  if (schema === REFUSED) return 'refused';
  return schema === INERT ? 'no effect' : 'honoured';
}

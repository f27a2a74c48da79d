// What a row of a table of request fields is, and the schema of an object that takes such a table's fields and no others.
// The rows themselves are in `request-fields.ts` and `message-fields.ts`.
import { z } from '@hono/zod-openapi';

/** The routes whose requests share a table. */
export type Route = 'chat' | 'completions';

/** A field: how each route takes it (absent: the route knows no such field), and what it means. */
export interface FieldRow {
  readonly chat?: z.ZodType;
  readonly completions?: z.ZodType;
  readonly help: string;
}

/** The fields of one route, by name. */
export type FieldsOf<Table, R extends Route> = {
  [Name in keyof Table as Table[Name] extends Record<R, z.ZodType>
    ? Name
    : never]: Table[Name] extends Record<R, infer Schema> ? Schema : never;
};

/** How a route takes a field, for the documentation. */
export type Treatment = 'honoured' | 'no effect' | 'refused' | 'unknown';

const UNSUPPORTED = { code: 'unsupported_parameter' };

/** Accepted and ignored: it could not change the answer. */
export const INERT = z.unknown().optional();

/** Refused by name, because ignoring it would change the answer. null, [] and {} ask for nothing and pass. */
export const REFUSED = z
  .unknown()
  .optional()
  .refine(asksForNothing, { message: 'is not supported by this server', params: UNSUPPORTED });

function asksForNothing(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

/** Refuses every value but those that mean what the server does anyway; `accepted` names them. */
export function only(accepted: string, isAccepted: (value: unknown) => boolean) {
  return z
    .unknown()
    .optional()
    .refine((value) => value === undefined || value === null || isAccepted(value), {
      message: `only ${accepted} is supported by this server`,
      params: UNSUPPORTED,
    });
}

/** Only this value. */
export function onlyValue(accepted: boolean | number | string) {
  return only(JSON.stringify(accepted), (value) => value === accepted);
}

/** The same field on both routes. */
export function both<Schema extends z.ZodType>(schema: Schema, help: string) {
  return { chat: schema, completions: schema, help };
}

export function inert(help: string) {
  return both(INERT, help);
}

export function refused(help: string) {
  return both(REFUSED, help);
}

/** The same row for several names. */
export function rows<const Name extends string, Row extends FieldRow>(
  names: readonly Name[],
  row: Row,
): Record<Name, Row> {
  return Object.fromEntries(names.map((name) => [name, row])) as Record<Name, Row>;
}

/** The fields that a route takes, each with its row's meaning as its description. */
export function fieldsOf<Table extends Record<string, FieldRow>, R extends Route>(
  table: Table,
  route: R,
): FieldsOf<Table, R> {
  const fields = Object.entries(table).flatMap(([name, row]) => {
    const schema = row[route];
    return schema ? [[name, schema.openapi({ description: row.help })]] : [];
  });
  return Object.fromEntries(fields);
}

export function treatmentOf(row: FieldRow, route: Route): Treatment {
  const schema = row[route];
  if (!schema) return 'unknown';
  if (schema === REFUSED) return 'refused';
  return schema === INERT ? 'no effect' : 'honoured';
}

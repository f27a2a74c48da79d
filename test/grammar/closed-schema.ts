// The conventions of the grammar, written into a schema: keywords imply the type that they are about, and objects with declared
// properties have no others.
import { isObject, typesAbout } from '../../src/grammar/schema-keywords.ts';

/** Keywords whose values are data, not schemas. */
const DATA: ReadonlySet<string> = new Set(['const', 'enum', 'default', 'examples', 'required']);
const BY_NAME: ReadonlySet<string> = new Set(['properties', '$defs', 'definitions']);

/** Returns the schema of the values that the grammar writes. */
export function closeSchema(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closeSchema);
  if (!isObject(schema)) return schema;
  const { $schema: _, ...rest } = schema;
  const closed = Object.entries(rest).map(([name, value]): [string, unknown] => {
    if (DATA.has(name)) return [name, value];
    if (!BY_NAME.has(name) || !isObject(value)) return [name, closeSchema(value)];
    return [name, closeEach(value)];
  });
  const about = typesAbout(Object.keys(schema));
  const hasTypes = ['type', 'const', 'enum'].some((name) => name in schema) || about.length === 0;
  return {
    ...Object.fromEntries(closed),
    ...(!hasTypes && { type: about }),
    ...(('properties' in schema || 'patternProperties' in schema) &&
      !('additionalProperties' in schema) && { additionalProperties: false }),
  };
}

function closeEach(schemas: Readonly<Record<string, unknown>>): unknown {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, inner]) => [name, closeSchema(inner)]),
  );
}

// Puts the JSON Schemas of the API's document into words. Pure: touches no element.

/** A JSON Schema. @typedef {Readonly<Record<string, any>>} Schema */
/** The document's schemas by name. @typedef {Readonly<Record<string, Schema>>} Schemas */

/** Returns a schema's type in words: `integer or null, at least 1`. @param {Schema} schema @returns {string} */
export function typeText(schema) {
  const { $ref, const: constant, enum: values, anyOf, oneOf, type, items } = schema;
  if ($ref) return nameOf($ref);
  if (constant !== undefined) return JSON.stringify(constant);
  if (values)
    return values.map((/** @type {unknown} */ value) => JSON.stringify(value)).join(' or ');
  const choices = anyOf ?? oneOf;
  if (choices) return [...new Set(choices.map(typeText))].join(' or ');
  const types = [type ?? 'any'].flat();
  const words = types.map((one) => (one === 'array' ? `list of ${typeText(items ?? {})}` : one));
  return [words.join(' or '), ...boundsOf(schema)].join(', ');
}

/** @param {Schema} schema @returns {string[]} */
function boundsOf({ minimum, maximum, exclusiveMinimum, exclusiveMaximum, maxLength, maxItems }) {
  const range =
    minimum !== undefined && maximum !== undefined
      ? [`${minimum} to ${maximum}`]
      : [
          ...(minimum === undefined ? [] : [`at least ${minimum}`]),
          ...(maximum === undefined ? [] : [`at most ${maximum}`]),
        ];
  return [
    ...range,
    ...(exclusiveMinimum === undefined ? [] : [`more than ${exclusiveMinimum}`]),
    ...(exclusiveMaximum === undefined ? [] : [`less than ${exclusiveMaximum}`]),
    ...(maxLength === undefined ? [] : [`at most ${maxLength} characters`]),
    ...(maxItems === undefined ? [] : [`at most ${maxItems} items`]),
  ];
}

/**
 * Returns the objects that a schema describes, each with its fields: itself, the items of its list, or its alternatives.
 * @param {Schema} schema
 * @param {Schemas} schemas
 * @returns {{ name: string, schema: Schema, isRequired: boolean }[][]}
 */
export function objectsOf(schema, schemas) {
  const { $ref, anyOf, oneOf, items, properties, required = [] } = schema;
  if ($ref) return objectsOf(schemas[nameOf($ref)] ?? {}, schemas);
  if (properties) {
    const fields = Object.entries(/** @type {Schemas} */ (properties));
    return [
      fields.map(([name, field]) => ({ name, schema: field, isRequired: required.includes(name) })),
    ];
  }
  const inner = anyOf ?? oneOf ?? (items ? [items] : []);
  return inner.flatMap((/** @type {Schema} */ one) => objectsOf(one, schemas));
}

/** @param {string} reference such as `#/components/schemas/Model` */
function nameOf(reference) {
  return reference.slice(reference.lastIndexOf('/') + 1);
}

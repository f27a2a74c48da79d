// Proves that no value can match two schemas: by their types, their constants, or a property that both require.
import { isSchema, type JsonType, type Schema, TYPES, typesOf } from './schema-keywords.ts';

/** Constants that distinguish schemas are at most this deep inside them. */
const MAX_DEPTH = 4;

/** Compares schemas in pairs. */
export class DisjointSchemas {
  readonly #expand: (schema: unknown) => boolean | Schema;
  readonly #expanded = new Map<unknown, boolean | Schema>();
  readonly #values = new Map<Schema, ReadonlySet<string> | undefined>();

  /** @param expand replaces a schema that is a reference by its target */
  constructor(expand: (schema: unknown) => boolean | Schema) {
    this.#expand = expand;
  }

  /** Whether no value matches both. If false, a value may still match both. */
  areDisjoint(one: boolean | Schema, other: boolean | Schema, depth = 0): boolean {
    if (one === false || other === false) return true;
    if (one === true || other === true || depth > MAX_DEPTH) return false;
    const [left, right] = [this.#valuesOf(one), this.#valuesOf(other)];
    if (left && right) return ![...left].some((value) => right.has(value));
    const shared = [...commonTypes(one, other), ...commonTypes(other, one)];
    if (shared.length === 0) return true;
    if (shared.some((type) => type !== 'object')) return false;
    const required = new Set(other['required'] as string[] | undefined);
    return ((one['required'] as string[] | undefined) ?? []).some((name) => {
      if (!required.has(name)) return false;
      const inner = [one, other].map(
        ({ properties }) => (properties as Schema | undefined)?.[name],
      );
      if (!inner.every(isSchema)) return false;
      const [first, second] = inner.map((schema) => this.#expandOnce(schema));
      return this.areDisjoint(first!, second!, depth + 1);
    });
  }

  #expandOnce(schema: unknown): boolean | Schema {
    const expansion = this.#expanded.get(schema) ?? this.#expand(schema);
    this.#expanded.set(schema, expansion);
    return expansion;
  }

  #valuesOf(schema: Schema): ReadonlySet<string> | undefined {
    if (!this.#values.has(schema)) this.#values.set(schema, valuesOf(schema));
    return this.#values.get(schema);
  }
}

/** Returns the types of one schema that match the other. A schema without `type` matches all. */
function commonTypes(written: Schema, matched: Schema): JsonType[] {
  const all = matched['type'] === undefined ? TYPES : typesOf(matched)!;
  return (typesOf(written) ?? TYPES).filter((type) => all.some((other) => isSameType(type, other)));
}

function isSameType(one: JsonType, other: JsonType): boolean {
  const isNumber = (type: JsonType) => type === 'number' || type === 'integer';
  return one === other || (isNumber(one) && isNumber(other));
}

function valuesOf(schema: Schema): ReadonlySet<string> | undefined {
  const values = 'const' in schema ? [schema['const']] : (schema['enum'] as unknown[] | undefined);
  return values && new Set(values.map((value) => JSON.stringify(value)));
}

// Normalizes schemas by the rules of their draft.
import { ContradictionError, GrammarError } from './grammar-error.ts';
import {
  type Alternatives,
  type ArrayRule,
  EMPTY_SCHEMA,
  type Located,
  Normalized,
  type ObjectRule,
  type Part,
  type StringRule,
  type Unsupported,
} from './normalized-schema.ts';
import {
  type Draft,
  draftOf,
  isSchema,
  type JsonType,
  KEYWORDS,
  LATEST,
  LIMITS,
  type LimitName,
  readKeywords,
  type Schema,
  typesAbout,
} from './schema-keywords.ts';
import { absentMember, negations, notSupported } from './schema-negation.ts';
import { FIRST_WITH_SIBLINGS, SchemaTree, toPointer } from './schema-tree.ts';

/** Reads the parts of one schema. The same schema has the same normalized form. */
export class SchemaReader {
  readonly #tree: SchemaTree;
  /** Undefined: the schema names none. */
  readonly #draft: Draft | undefined;
  readonly #normal = new Map<unknown, Normalized>();
  readonly #negated = new Map<unknown, Normalized>();
  /** The schemas whose opposites these are. */
  readonly #originals = new Map<unknown, Part>();

  constructor(root: unknown) {
    this.#draft = draftOf(root);
    this.#tree = new SchemaTree(root, this.#draft);
  }

  /** Returns the normalized schema, without its parts. Throws `ContradictionError` if it allows no value. */
  read({ schema, path: near }: Part): Normalized {
    if (schema instanceof Normalized) return schema;
    if (schema === true) return EMPTY_SCHEMA;
    if (schema === false) throw new ContradictionError('allows no value', near);
    const known = this.#normal.get(schema);
    if (known) return known;
    const path = this.#tree.pathOf(schema, near);
    if (!isSchema(schema)) throw new GrammarError('must be a schema: an object or a boolean', path);
    const normal = this.#readReference(schema as Schema, path);
    this.#normal.set(schema, normal);
    return normal;
  }

  /** Returns the schema of all values that a schema does not allow. */
  negate(part: Part): Normalized {
    const known = this.#negated.get(part.schema);
    if (known) return known;
    // A schema that contains itself is not negated for ever.
    this.#negated.set(
      part.schema,
      notSupported({ types: [], path: part.path, message: 'refers to itself inside of not' }),
    );
    const original = this.#originals.get(part.schema);
    const normal = original ? new Normalized({ parts: [original] }) : this.#negate(part);
    this.#negated.set(part.schema, normal);
    this.#originals.set(normal, part);
    return normal;
  }

  #readReference(schema: Schema, path: string): Normalized {
    const keywords = readKeywords(schema, this.#draft, path);
    const { $ref } = keywords;
    if (typeof $ref !== 'string') return this.#readObject(keywords, path);
    const target = {
      schema: this.#tree.resolve(schema, $ref, `${path}/$ref`),
      path: `${path}/$ref`,
    };
    if ((this.#draft ?? LATEST) < FIRST_WITH_SIBLINGS) return new Normalized({ parts: [target] });
    const normal = this.#readObject(keywords, path);
    return new Normalized({ ...normal, parts: [target, ...normal.parts], hasPartsFirst: true });
  }

  #readObject(schema: Schema, path: string): Normalized {
    const list = <T>(name: string): readonly Located<T>[] =>
      schema[name] === undefined
        ? []
        : [schema[name] as T | T[]]
            .flat()
            .map((value) => ({ value: value as T, path: `${path}/${name}` }));
    const parts = (name: string) => partsOf(schema, name, path);
    const enumerated =
      schema['enum'] === undefined
        ? undefined
        : { value: schema['enum'] as unknown[], path: `${path}/enum` };
    const values =
      'const' in schema ? { value: [schema['const']], path: `${path}/const` } : enumerated;
    const names = Object.keys(schema);
    return new Normalized({
      types:
        schema['type'] === undefined ? undefined : list<JsonType>('type').map(({ value }) => value),
      about: schema['type'] === undefined ? typesAbout(names) : [],
      values,
      limits: limitsOf(schema, path),
      multiples: list<number>('multipleOf'),
      strings: stringRules(schema, path),
      objects: objectRules(schema, path),
      required: list<string>('required'),
      names: parts('propertyNames'),
      arrays: arrayRules(schema, path),
      unique:
        schema['uniqueItems'] === true ? { value: true, path: `${path}/uniqueItems` } : undefined,
      contains: parts('contains'),
      parts: [
        ...parts('allOf'),
        // A constant has to satisfy the list as well.
        ...('const' in schema && enumerated
          ? [{ schema: new Normalized({ values: enumerated }), path: `${path}/enum` }]
          : []),
        ...parts('not').map((inner) => ({ ...inner, schema: this.negate(inner) })),
      ],
      hasPartsFirst: names.find((name) => name === 'allOf' || name === 'properties') === 'allOf',
      alternatives: this.#alternatives(schema, path),
      unsupported: unsupportedKeywords(schema, path),
    });
  }

  #alternatives(schema: Schema, path: string): Alternatives[] {
    const ofSchemas = ['anyOf', 'oneOf'].map((name) => ({
      options: partsOf(schema, name, path),
      isExclusive: name === 'oneOf',
      path: `${path}/${name}`,
    }));
    const ofNames = ['dependentSchemas', 'dependentRequired', 'dependencies'].flatMap((keyword) =>
      partsByName(schema, keyword, path).map(([name, part]) => {
        const { schema: inner, path: here } = part;
        const absent = { about: ['object'] as const, objects: [absentMember(name, here)] };
        const present = {
          about: ['object'] as const,
          required: [{ value: name, path: here }],
          parts: [Array.isArray(inner) ? { ...part, schema: { required: inner } } : part],
        };
        return {
          options: [absent, present].map((one) => ({ schema: new Normalized(one), path: here })),
          path: here,
        };
      }),
    );
    return [
      ...ofSchemas.filter(({ options }) => options.length > 0),
      ...(schema['if'] === undefined ? [] : this.#conditional(schema, path)),
      ...ofNames,
    ];
  }

  /** `then` applies if a value matches `if`, and `else` if it does not. */
  #conditional(schema: Schema, path: string): Alternatives[] {
    const [condition, then, otherwise] = ['if', 'then', 'else'].map((name) => ({
      schema: schema[name] ?? true,
      path: `${path}/${name}`,
    })) as [Part, Part, Part];
    if (then.schema === true && otherwise.schema === true) return [];
    const not = { ...condition, schema: this.negate(condition) };
    const options = [
      [condition, then],
      [not, otherwise],
    ].map((parts) => ({ schema: new Normalized({ parts }), path: condition.path }));
    return [{ options, path: condition.path }];
  }

  #negate(part: Part): Normalized {
    if (part.schema === false) return EMPTY_SCHEMA;
    const negate = (inner: Part) => ({ ...inner, schema: this.negate(inner) });
    const options = part.schema === true ? [] : negations(this.read(part), part.path, negate);
    const parts = options.map((schema) => ({ schema, path: part.path }));
    return new Normalized({ alternatives: [{ options: parts, path: part.path }] });
  }
}

/** Returns the schemas that a keyword holds: one, or a list. */
function partsOf(schema: Schema, name: string, path: string): Part[] {
  const value = schema[name];
  if (value === undefined) return [];
  if (!Array.isArray(value)) return [{ schema: value, path: `${path}/${name}` }];
  return value.map((inner, i) => ({ schema: inner, path: `${path}/${name}/${i}` }));
}

function partsByName(schema: Schema, name: string, path: string): [string, Part][] {
  return Object.entries((schema[name] ?? {}) as Schema).map(([key, inner]) => [
    key,
    { schema: inner, path: `${path}/${name}/${toPointer(key)}` },
  ]);
}

function unsupportedKeywords(schema: Schema, path: string): Unsupported[] {
  const isUnsupported = (name: string) => {
    const { isRefused, next = name } = KEYWORDS[name]!;
    return isRefused && schema[name] !== true && next in schema;
  };
  return Object.keys(schema)
    .filter(isUnsupported)
    .map((name) => ({
      types: typesAbout([name]),
      path: `${path}/${name}`,
      message: 'is not supported',
    }));
}

/** Until draft 7, an encoding is enforced like a format. */
function stringRules(schema: Schema, path: string): StringRule[] {
  const keywords = { pattern: 'pattern', format: 'format', contentEncoding: 'format' } as const;
  return Object.entries(keywords).flatMap(([name, keyword]) => {
    const value = schema[name];
    return typeof value === 'string' ? [{ keyword, value, path: `${path}/${name}` }] : [];
  });
}

/** Returns the bounds. In draft 4, `exclusiveMinimum` and `exclusiveMaximum` make the other bound exclusive. */
function limitsOf(schema: Schema, path: string): Normalized['limits'] {
  const limits: Partial<Record<LimitName, Located<number>>> = {};
  for (const name of Object.keys(LIMITS) as LimitName[]) {
    const value = schema[name];
    if (typeof value !== 'number') continue;
    const strict = name.replace(/^m/, 'exclusiveM') as LimitName;
    limits[schema[strict] === true ? strict : name] = { value, path: `${path}/${name}` };
  }
  return limits;
}

function objectRules(schema: Schema, path: string): ObjectRule[] {
  const keywords = ['properties', 'patternProperties', 'additionalProperties'];
  if (!keywords.some((name) => name in schema)) return [];
  const patterns = partsByName(schema, 'patternProperties', path);
  const [others] = partsOf(schema, 'additionalProperties', path);
  return [
    {
      properties: new Map(partsByName(schema, 'properties', path)),
      patterns: patterns.map(([source, part]) => ({ source, part })),
      others,
      path,
    },
  ];
}

/** An array of `items` lists the first items, as `prefixItems` does in later drafts. */
function arrayRules(schema: Schema, path: string): ArrayRule[] {
  if (!('items' in schema || 'prefixItems' in schema)) return [];
  const isTuple = Array.isArray(schema['items']);
  const [others] = partsOf(schema, isTuple ? 'additionalItems' : 'items', path);
  return [{ first: partsOf(schema, isTuple ? 'items' : 'prefixItems', path), others }];
}

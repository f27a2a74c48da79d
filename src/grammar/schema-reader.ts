// Normalizes schemas by the rules of their draft.
import { append } from '../common/long-arrays.ts';
import { ContradictionError, GrammarError } from './grammar-error.ts';
import {
  type Alternatives,
  type ArrayRule,
  EMPTY_SCHEMA,
  LIMITS,
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
  LATEST,
  readKeywords,
  type Schema,
  typesAbout,
} from './schema-keywords.ts';
import { absentMember, negations, notSupported } from './schema-negation.ts';
import { FIRST_WITH_SIBLINGS, SchemaTree, toPointer } from './schema-tree.ts';

/** Keywords that cannot be enforced, and those without which they mean nothing. */
const UNSUPPORTED: readonly (readonly [name: string, needed?: string])[] = [
  ['$dynamicRef'],
  ['$recursiveRef'],
  ['unevaluatedProperties'],
  ['unevaluatedItems'],
  ['minContains', 'contains'],
  ['maxContains', 'contains'],
  ['contentMediaType'],
  ['divisibleBy'],
  ['disallow'],
  ['extends'],
];

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
    return new Normalized({
      ...normal,
      parts: [target, ...normal.parts],
      hasPartsFirst: true,
    });
  }

  #readObject(schema: Schema, path: string): Normalized {
    const at = <T>(name: string, value = schema[name] as T): Located<T> => ({
      value,
      path: `${path}/${name}`,
    });
    const list = <T>(name: string) => (schema[name] === undefined ? [] : [schema[name] as T]);
    const part = (name: string, inner: unknown = schema[name]): Part => ({
      schema: inner,
      path: `${path}/${name}`,
    });
    const partIf = (name: string) => (schema[name] === undefined ? [] : [part(name)]);
    const values =
      'const' in schema
        ? at('const', [schema['const']])
        : schema['enum']
          ? at<unknown[]>('enum')
          : undefined;
    return new Normalized({
      types: list<JsonType | JsonType[]>('type').flat(2),
      ...(schema['type'] === undefined && { types: undefined }),
      about: schema['type'] === undefined ? typesAbout(Object.keys(schema)) : [],
      values,
      limits: limitsOf(schema, path),
      multiples: list<number>('multipleOf').map((value) => at('multipleOf', value)),
      strings: stringRules(schema, path),
      objects: objectRules(schema, path),
      required: list<string[]>('required')
        .flat()
        .map((name) => at('required', name)),
      names: partIf('propertyNames'),
      arrays: arrayRules(schema, path),
      unique: schema['uniqueItems'] === true ? at('uniqueItems', true as const) : undefined,
      contains: partIf('contains'),
      parts: [
        ...list<unknown[]>('allOf')
          .flat()
          .map((inner, i) => part(`allOf/${i}`, inner)),
        // A constant has to satisfy the list as well.
        ...('const' in schema && schema['enum']
          ? [part('enum', new Normalized({ values: at('enum') }))]
          : []),
        ...partIf('not').map((inner) => ({ ...inner, schema: this.negate(inner) })),
      ],
      hasPartsFirst:
        Object.keys(schema).find((name) => name === 'allOf' || name === 'properties') === 'allOf',
      alternatives: this.#alternatives(schema, path),
      unsupported: unsupportedKeywords(schema, path),
    });
  }

  #alternatives(schema: Schema, path: string): Alternatives[] {
    const options = (name: string) =>
      ((schema[name] ?? []) as unknown[]).map((option, i) => ({
        schema: option,
        path: `${path}/${name}/${i}`,
      }));
    const alternatives: Alternatives[] = [];
    if (schema['anyOf']) alternatives.push({ options: options('anyOf'), path: `${path}/anyOf` });
    if (schema['oneOf'])
      alternatives.push({ options: options('oneOf'), isExclusive: true, path: `${path}/oneOf` });
    if (schema['if'] !== undefined) append(alternatives, this.#conditional(schema, path));
    const dependents = ['dependentSchemas', 'dependentRequired', 'dependencies'].flatMap((keyword) =>
      Object.entries((schema[keyword] ?? {}) as Schema).map((entry) => [keyword, ...entry] as const),
    );
    for (const [keyword, name, inner] of dependents) {
      const here = `${path}/${keyword}/${toPointer(name)}`;
      const absent = new Normalized({
        about: ['object'],
        objects: [absentMember(name, here)],
      });
      const present = new Normalized({
        about: ['object'],
        required: [{ value: name, path: here }],
        parts: [{ schema: Array.isArray(inner) ? { required: inner } : inner, path: here }],
      });
      alternatives.push({
        options: [
          { schema: absent, path: here },
          { schema: present, path: here },
        ],
        path: here,
      });
    }
    return alternatives;
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
    if (part.schema === true || part.schema === false) {
      return part.schema ? noValue(part.path) : EMPTY_SCHEMA;
    }
    const normal = this.read(part);
    const options = negations(normal, part.path, (inner) => ({
      ...inner,
      schema: this.negate(inner),
    }));
    return new Normalized({
      alternatives: [
        { options: options.map((schema) => ({ schema, path: part.path })), path: part.path },
      ],
    });
  }
}

/** Returns the schema of no value. */
function noValue(path: string): Normalized {
  return new Normalized({ alternatives: [{ options: [], path }] });
}

function unsupportedKeywords(schema: Schema, path: string): Unsupported[] {
  return UNSUPPORTED.filter(([name, needed]) => {
    const isSet = schema[name] !== undefined && schema[name] !== true;
    return isSet && (needed === undefined || schema[needed] !== undefined);
  }).map(([name]) => ({
    types: typesAbout([name]),
    path: `${path}/${name}`,
    message: 'is not supported',
  }));
}

/** Until draft 7, an encoding is enforced like a format. */
function stringRules(schema: Schema, path: string): StringRule[] {
  const rule = (name: string, keyword: StringRule['keyword'], value: unknown) =>
    value === undefined ? [] : [{ keyword, value: value as string, path: `${path}/${name}` }];
  const { pattern, format, contentEncoding } = schema;
  return [
    ...rule('pattern', 'pattern', pattern),
    ...rule('format', 'format', format),
    ...rule('contentEncoding', 'format', contentEncoding),
  ];
}

/** Returns the bounds. In draft 4, `exclusiveMinimum` and `exclusiveMaximum` make the other bound exclusive. */
function limitsOf(schema: Schema, path: string): Normalized['limits'] {
  const limits: Record<string, Located<number>> = {};
  for (const name of LIMITS) {
    const value = schema[name];
    if (typeof value !== 'number') continue;
    const strict = { minimum: 'exclusiveMinimum', maximum: 'exclusiveMaximum' }[name as string];
    const isStrict = strict !== undefined && schema[strict] === true;
    limits[isStrict ? strict : name] = { value, path: `${path}/${name}` };
  }
  return limits;
}

function objectRules(schema: Schema, path: string): ObjectRule[] {
  const { properties, patternProperties, additionalProperties } = schema;
  if (
    properties === undefined &&
    patternProperties === undefined &&
    additionalProperties === undefined
  )
    return [];
  const parts = (name: string) =>
    Object.entries((schema[name] ?? {}) as Schema).map(
      ([key, inner]) =>
        [key, { schema: inner, path: `${path}/${name}/${toPointer(key)}` }] as const,
    );
  return [
    {
      properties: new Map(parts('properties')),
      patterns: parts('patternProperties').map(([source, part]) => ({ source, part })),
      others:
        additionalProperties === undefined
          ? undefined
          : { schema: additionalProperties, path: `${path}/additionalProperties` },
      path,
    },
  ];
}

/** An array of `items` lists the first items, as `prefixItems` does in later drafts. */
function arrayRules(schema: Schema, path: string): ArrayRule[] {
  const { items, prefixItems, additionalItems } = schema;
  const isTuple = Array.isArray(items);
  const name = isTuple ? 'items' : 'prefixItems';
  const rest = isTuple ? 'additionalItems' : 'items';
  const others = isTuple ? additionalItems : items;
  if (items === undefined && prefixItems === undefined) return [];
  return [
    {
      first: ((schema[name] ?? []) as unknown[]).map((inner, i) => ({
        schema: inner,
        path: `${path}/${name}/${i}`,
      })),
      others: others === undefined ? undefined : { schema: others, path: `${path}/${rest}` },
    },
  ];
}

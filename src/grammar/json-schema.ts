// Turns a JSON Schema into a pattern of compact JSON. Members come in the order of `properties`, and undeclared ones only if
// the schema asks for them. Every text of the pattern is valid; keywords that cannot be enforced are refused by name.

import { ANY_ARRAY, ANY_OBJECT, ANY_VALUE, commaSeparated } from './json-text.ts';
import { objectPattern } from './object-pattern.ts';
import {
  checkKeywords,
  combine,
  enforcedKeywords,
  isObject,
  isSchema,
  type JsonType,
  type Schema,
  typesOf,
} from './schema-keywords.ts';
import { counts, literals, numberPattern, stringPattern, tuple } from './schema-values.ts';
import {
  choice,
  EMPTY,
  GrammarError,
  type PatternRule,
  sequence,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** A usual schema has less than 100. */
const MAX_SCHEMAS = 5000;
/** Schemas within schemas. References start again. */
const MAX_DEPTH = 64;

/** Returns the pattern of the JSON values that a schema allows. Throws `GrammarError` with the path in the schema. */
export function schemaPattern(schema: unknown): TextPattern {
  return new SchemaConverter(schema).convert(schema, '#', 0);
}

class SchemaConverter {
  readonly #root: unknown;
  /** By the target of a reference. */
  readonly #rules = new Map<string, PatternRule>();
  #count = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  convert(schema: unknown, path: string, depth: number): TextPattern {
    if (schema === true) return ANY_VALUE;
    if (schema === false) return choice();
    if (!isObject(schema)) throw new GrammarError('must be a schema: an object or a boolean', path);
    if (++this.#count > MAX_SCHEMAS)
      throw new GrammarError(`there are more than ${MAX_SCHEMAS} schemas`, path);
    if (depth > MAX_DEPTH)
      throw new GrammarError(`there are more than ${MAX_DEPTH} schemas within schemas`, path);
    checkKeywords(schema, path);
    const { $ref, allOf, anyOf, oneOf, ...rest } = schema;
    if ($ref !== undefined) return this.#reference($ref as string, schema, path, depth);
    if (allOf) {
      const { allOf: parts, ...beside } = schema;
      const combined = this.#combineAll(parts as unknown[], beside, path);
      return this.convert(combined, path, depth + 1);
    }
    if (anyOf)
      return this.#anyOf(
        anyOf as unknown[],
        { ...rest, ...(oneOf !== undefined && { oneOf }) },
        `${path}/anyOf`,
        depth,
      );
    if (oneOf) {
      this.#checkDisjoint(oneOf as unknown[], `${path}/oneOf`);
      return this.#anyOf(oneOf as unknown[], rest, `${path}/oneOf`, depth);
    }
    return this.#plain(schema, path, depth);
  }

  #plain(schema: Schema, path: string, depth: number): TextPattern {
    if ('const' in schema || schema['enum']) return literals(schema, path);
    const types = typesOf(schema);
    if (!types) return ANY_VALUE;
    return choice(...types.map((type) => this.#ofType(type, schema, path, depth)));
  }

  #ofType(type: JsonType, schema: Schema, path: string, depth: number): TextPattern {
    switch (type) {
      case 'object':
        return this.#object(schema, path, depth);
      case 'array':
        return this.#array(schema, path, depth);
      case 'string':
        return stringPattern(schema, path);
      case 'boolean':
        return choice(text('true'), text('false'));
      case 'null':
        return text('null');
      default:
        return numberPattern(type, schema, path);
    }
  }

  #object(schema: Schema, path: string, depth: number): TextPattern {
    const {
      properties = {},
      required = [],
      additionalProperties,
    } = schema as {
      properties?: Schema;
      required?: string[];
      additionalProperties?: boolean | Schema;
    };
    const declared = Object.keys(properties);
    // With declared properties, others are wanted only if the schema says so.
    const more = additionalProperties ?? declared.length === 0;
    if (declared.length === 0 && required.length === 0 && more === true) return ANY_OBJECT;
    const names = [...declared, ...required.filter((name) => !Object.hasOwn(properties, name))];
    const members = names.map((name) => {
      const isDeclared = Object.hasOwn(properties, name);
      const isRequired = required.includes(name);
      const inner = isDeclared ? properties[name] : (additionalProperties ?? true);
      if (inner === false && isRequired) {
        throw new GrammarError(
          `"${name}" is required, but no value of it is allowed`,
          `${path}/required`,
        );
      }
      const place = isDeclared ? `${path}/properties/${toPointer(name)}` : path;
      return { name, isRequired, value: this.convert(inner, place, depth + 1) };
    });
    const others =
      more === false ? undefined : this.convert(more, `${path}/additionalProperties`, depth + 1);
    return objectPattern(
      [...new Map(members.map((member) => [member.name, member])).values()],
      others,
    );
  }

  #array(schema: Schema, path: string, depth: number): TextPattern {
    const {
      prefixItems = [],
      items = true,
      uniqueItems,
    } = schema as {
      prefixItems?: unknown[];
      items?: unknown;
      uniqueItems?: boolean;
    };
    const { min, max } = counts(schema, 'minItems', 'maxItems', path);
    if (uniqueItems && max > 1) throw new GrammarError('is not supported', `${path}/uniqueItems`);
    if (prefixItems.length === 0 && items === true && min === 0 && max === Number.POSITIVE_INFINITY)
      return ANY_ARRAY;
    const item = this.convert(items, `${path}/items`, depth + 1);
    const first = prefixItems.map((inner, i) =>
      this.convert(inner, `${path}/prefixItems/${i}`, depth + 1),
    );
    if (first.length === 0) return sequence(text('['), commaSeparated(item, min, max), text(']'));
    return sequence(text('['), tuple(first, item, { min, max }), text(']'));
  }

  /** A reference with nothing beside it is a rule, which may be recursive. */
  #reference(ref: string, schema: Schema, path: string, depth: number): TextPattern {
    const target = this.#resolve(ref, `${path}/$ref`);
    const { $ref: _ref, ...beside } = schema;
    if (enforcedKeywords(beside).length > 0) {
      return this.convert(this.#combineAll([{ $ref: ref }], beside, path), path, depth + 1);
    }
    const known = this.#rules.get(ref);
    if (known) return { kind: 'rule', rule: known };
    const rule: PatternRule = { body: EMPTY };
    this.#rules.set(ref, rule);
    rule.body = this.convert(target, ref, 0);
    return { kind: 'rule', rule };
  }

  #resolve(ref: string, path: string): unknown {
    if (ref !== '#' && !ref.startsWith('#/')) {
      throw new GrammarError('must be a reference within this schema, such as #/$defs/name', path);
    }
    let target = this.#root;
    for (const part of ref.split('/').slice(1)) {
      const name = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
      const isThere = typeof target === 'object' && target !== null && Object.hasOwn(target, name);
      if (!isThere) throw new GrammarError(`nothing is at ${ref}`, path);
      target = (target as Record<string, unknown>)[name];
    }
    if (!isSchema(target)) throw new GrammarError(`${ref} is not a schema`, path);
    return target;
  }

  #combineAll(parts: readonly unknown[], beside: Schema, path: string): unknown {
    let all = beside;
    for (const [i, part] of parts.entries()) {
      const place = `${path}/allOf/${i}`;
      const schema = this.#expand(part, place, 0);
      if (schema === false) return false;
      if (schema !== true) all = combine(all, schema, place);
    }
    return all;
  }

  /** Replaces a schema that is a reference by its target. */
  #expand(schema: unknown, path: string, depth: number): boolean | Schema {
    if (typeof schema === 'boolean') return schema;
    if (!isObject(schema)) throw new GrammarError('must be a schema: an object or a boolean', path);
    if (depth > MAX_DEPTH) throw new GrammarError('refers to itself', path);
    checkKeywords(schema, path);
    const { $ref, ...beside } = schema;
    if ($ref === undefined) return schema;
    const target = this.#expand(this.#resolve($ref as string, `${path}/$ref`), path, depth + 1);
    if (typeof target === 'boolean') return target ? beside : false;
    return combine(target, beside, path);
  }

  /** The keywords beside `anyOf` apply to each option. */
  #anyOf(options: readonly unknown[], beside: Schema, path: string, depth: number): TextPattern {
    const isAlone = enforcedKeywords(beside).length === 0;
    const patterns = options.map((option, i) => {
      const place = `${path}/${i}`;
      if (isAlone || typeof option === 'boolean') {
        return this.convert(option === true && !isAlone ? beside : option, place, depth + 1);
      }
      const schema = this.#expand(option, place, 0);
      if (typeof schema === 'boolean')
        return this.convert(schema ? beside : false, place, depth + 1);
      return this.convert(combine(schema, beside, place), place, depth + 1);
    });
    return choice(...patterns);
  }

  /** Exactly one option of oneOf may match, which is certain if no value matches two of them. */
  #checkDisjoint(options: readonly unknown[], path: string): void {
    const schemas = options.map((option, i) => this.#expand(option, `${path}/${i}`, 0));
    for (const [i, one] of schemas.entries()) {
      for (const other of schemas.slice(i + 1)) {
        if (this.#isDisjoint(one, other, path)) continue;
        const message =
          'is supported only if no value matches two of its schemas: give them different types, or a required property with different constants. Or use anyOf';
        throw new GrammarError(message, path);
      }
    }
  }

  #isDisjoint(one: unknown, other: unknown, path: string): boolean {
    if (one === false || other === false) return true;
    if (!isObject(one) || !isObject(other)) return false;
    const [left, right] = [valuesOf(one), valuesOf(other)];
    if (left && right) return !left.some((value) => right.includes(value));
    const [types, otherTypes] = [typesOf(one), typesOf(other)];
    if (
      types &&
      otherTypes &&
      !types.some((type) => otherTypes.some((with_) => isSameType(type, with_)))
    )
      return true;
    const required = [one, other].map(
      (schema) => (schema['required'] as string[] | undefined) ?? [],
    );
    return required[0]!.some((name) => {
      if (!required[1]!.includes(name)) return false;
      const inner = [one, other].map(
        (schema) => (schema['properties'] as Schema | undefined)?.[name],
      );
      if (!inner.every(isSchema)) return false;
      const [first, second] = inner.map((schema) => this.#expand(schema, path, 0));
      return this.#isDisjoint(first, second, path);
    });
  }
}

function isSameType(one: JsonType, other: JsonType): boolean {
  const isNumber = (type: JsonType) => type === 'number' || type === 'integer';
  return one === other || (isNumber(one) && isNumber(other));
}

function valuesOf(schema: Schema): string[] | undefined {
  if ('const' in schema) return [JSON.stringify(schema['const'])];
  return (schema['enum'] as unknown[] | undefined)?.map((value) => JSON.stringify(value));
}

function toPointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

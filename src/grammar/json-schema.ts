// Converts a JSON Schema to a pattern of compact JSON. Members come in the order of `properties`, and undeclared members only
// if the schema asks for them. Every text that matches the pattern is valid. A keyword that cannot be enforced is refused by
// name.

import { DisjointSchemas } from './disjoint-schemas.ts';
import { ANY_ARRAY, ANY_OBJECT, ANY_VALUE, commaSeparated } from './json-text.ts';
import { findCycle } from './network.ts';
import { mapPattern, objectPattern } from './object-pattern.ts';
import {
  checkKeywords,
  combine,
  enforcedKeywords,
  isObject,
  type JsonType,
  type Schema,
  typesOf,
} from './schema-keywords.ts';
import { SchemaTree, toPointer } from './schema-tree.ts';
import { counts, literals, numberPattern, stringPattern, tuple } from './schema-values.ts';
import {
  ContradictionError,
  choice,
  EMPTY,
  GrammarError,
  located,
  type PatternRule,
  sequence,
  type TextPattern,
  text,
} from './text-pattern.ts';

const MAP_KEYWORDS = ['propertyNames', 'minProperties', 'maxProperties'];

/** A typical schema has fewer than 100. */
const MAX_SCHEMAS = 5000;
/** The depth of nested schemas. It restarts at a reference. */
const MAX_DEPTH = 64;
/** The options are compared in pairs. */
const MAX_OPTIONS = 256;

/** Returns the pattern of the JSON values that a schema allows. Throws `GrammarError` with the path inside the schema. */
export function schemaPattern(schema: unknown): TextPattern {
  return new SchemaConverter(schema).run();
}

/** A schema's position inside the whole schema. */
interface Position {
  readonly path: string;
  readonly depth: number;
  /** The rule whose texts start with this schema's. Absent: something comes before them. */
  readonly rule?: PatternRule | undefined;
  /** Whether the schema was combined from several ones, which share no paths below this point. */
  readonly isCombined?: boolean;
}

const START: Position = { path: '#', depth: 0 };

/** Returns the position of a schema for the same value. */
function within({ path, depth, rule, isCombined = false }: Position, name: string): Position {
  return { path: isCombined ? path : `${path}/${name}`, depth: depth + 1, rule, isCombined };
}

/** Returns the position of the schema of a member or an item. */
function below(position: Position, name: string): Position {
  return { ...within(position, name), rule: undefined };
}

class SchemaConverter {
  readonly #tree: SchemaTree;
  /** The targets of references. They are rules, because they can contain themselves. */
  readonly #targets = new Map<Schema, PatternRule>();
  /** Schemas combined from several ones. They are rules as well, because they can contain themselves. */
  readonly #combined = new Map<Schema, PatternRule>();
  /** Rules without a body yet. A chain of references may be longer than the stack is deep. */
  readonly #open: (() => void)[] = [];
  /** For each rule, the rules that its texts may start with. */
  readonly #begins = new Map<PatternRule, { rule: PatternRule; path: string }[]>();
  #count = 0;

  constructor(root: unknown) {
    this.#tree = new SchemaTree(root);
  }

  run(): TextPattern {
    const { root } = this.#tree;
    if (root === false) throw new ContradictionError('allows no value', '#');
    const pattern = isObject(root)
      ? this.#rule(this.#targets, [root, START], (rule) => this.#convert(root, { ...START, rule }))
      : this.#convert(root, START);
    for (let next = this.#open.pop(); next; next = this.#open.pop()) next();
    this.#refuseCycles();
    return pattern;
  }

  /** Returns a reference to a schema's rule. `convert` builds the body later. */
  #rule(
    rules: Map<Schema, PatternRule>,
    [schema, position]: [Schema, Position],
    convert: (rule: PatternRule) => TextPattern,
  ): TextPattern {
    const existing = rules.get(schema);
    const rule = existing ?? { body: EMPTY };
    if (position.rule) this.#begins.get(position.rule)!.push({ rule, path: position.path });
    if (!existing) {
      rules.set(schema, rule);
      this.#begins.set(rule, []);
      this.#open.push(() => {
        rule.body = convert(rule);
      });
    }
    return { kind: 'rule', rule };
  }

  #convert(schema: unknown, { path: near, depth, rule }: Position): TextPattern {
    if (schema === true) return ANY_VALUE;
    if (schema === false) return choice();
    const path = this.#tree.pathOf(schema, near);
    const position = { path, depth, rule, isCombined: !this.#tree.has(schema) };
    if (!isObject(schema)) throw new GrammarError('must be a schema: an object or a boolean', path);
    if (++this.#count > MAX_SCHEMAS)
      throw new GrammarError(`there are more than ${MAX_SCHEMAS} schemas`, path);
    if (depth > MAX_DEPTH)
      throw new GrammarError(`there are more than ${MAX_DEPTH} schemas within schemas`, path);
    checkKeywords(schema, path);
    const { $ref, allOf, anyOf, oneOf, ...rest } = schema;
    if ($ref !== undefined) return this.#reference(schema, position);
    if (allOf) return this.#allOf(schema, position);
    if (anyOf) {
      const beside = oneOf === undefined ? rest : { ...rest, oneOf };
      return this.#anyOf(anyOf as unknown[], beside, this.#within(position, 'anyOf', anyOf));
    }
    if (oneOf) {
      const options = this.#within(position, 'oneOf', oneOf);
      this.#checkDisjoint(oneOf as unknown[], options.path);
      return this.#anyOf(oneOf as unknown[], rest, options);
    }
    return this.#plain(schema, position);
  }

  /** Returns the position of a keyword's value, which may come from another schema. */
  #within(position: Position, name: string, value: unknown): Position {
    const here = within(position, name);
    const isCombined = !this.#tree.has(value);
    return { ...here, path: this.#tree.pathOf(value, here.path), isCombined };
  }

  #plain(schema: Schema, position: Position): TextPattern {
    if ('const' in schema || schema['enum']) return literals(schema, position.path);
    const types = typesOf(schema);
    if (!types) return ANY_VALUE;
    return choice(...types.map((type) => this.#ofType(type, schema, position)));
  }

  #ofType(type: JsonType, schema: Schema, position: Position): TextPattern {
    switch (type) {
      case 'object':
        return this.#object(schema, position);
      case 'array':
        return this.#array(schema, position);
      case 'string':
        return stringPattern(schema, position.path);
      case 'boolean':
        return choice(text('true'), text('false'));
      case 'null':
        return text('null');
      default:
        return numberPattern(type, schema, position.path);
    }
  }

  #object(schema: Schema, position: Position): TextPattern {
    const mapKeyword = MAP_KEYWORDS.find((keyword) => schema[keyword] !== undefined);
    if (mapKeyword) return this.#map(schema, mapKeyword, position);
    const { additionalProperties } = schema as { additionalProperties?: boolean | Schema };
    const properties = (schema['properties'] ?? {}) as Schema;
    const required = new Set(schema['required'] as string[] | undefined);
    const declared = Object.keys(properties);
    // If properties are declared, others are allowed only if the schema says so.
    const more = additionalProperties ?? declared.length === 0;
    if (declared.length === 0 && required.size === 0 && more === true) return ANY_OBJECT;
    const names = [...new Set([...declared, ...required])];
    const members = names.map((name) => {
      const isDeclared = Object.hasOwn(properties, name);
      const isRequired = required.has(name);
      const inner = isDeclared ? properties[name] : (additionalProperties ?? true);
      if (inner === false && isRequired) {
        const message = `"${name}" is required, but no value of it is allowed`;
        throw new ContradictionError(message, `${position.path}/required`);
      }
      const keyword = isDeclared ? `properties/${toPointer(name)}` : 'additionalProperties';
      return { name, isRequired, value: this.#convert(inner, below(position, keyword)) };
    });
    const others =
      more === false ? undefined : this.#convert(more, below(position, 'additionalProperties'));
    return located(position.path, () => objectPattern(members, others));
  }

  /** Matches an object with bounds on its names or on their number. */
  #map(schema: Schema, keyword: string, position: Position): TextPattern {
    const { properties, required, propertyNames = true, additionalProperties = true } = schema;
    if (properties || required) {
      const message = 'is supported only without properties and required';
      throw new GrammarError(message, `${position.path}/${keyword}`);
    }
    const { min, max } = counts(schema, 'minProperties', 'maxProperties', position.path);
    if (min > 1) {
      const message = 'must be at most 1, because a completion may repeat a name';
      throw new GrammarError(message, `${position.path}/minProperties`);
    }
    const anyName = { type: 'string' };
    const names = propertyNames === true ? anyName : { allOf: [propertyNames, anyName] };
    return mapPattern(
      this.#convert(names, below(position, 'propertyNames')),
      this.#convert(additionalProperties, below(position, 'additionalProperties')),
      { min, max },
    );
  }

  #array(schema: Schema, position: Position): TextPattern {
    const { prefixItems = [], items = true } = schema as {
      prefixItems?: unknown[];
      items?: unknown;
    };
    const { min, max } = counts(schema, 'minItems', 'maxItems', position.path);
    if (schema['uniqueItems'] === true && max > 1)
      throw new GrammarError('is not supported', `${position.path}/uniqueItems`);
    if (prefixItems.length === 0 && items === true && min === 0 && max === Number.POSITIVE_INFINITY)
      return ANY_ARRAY;
    const item = this.#convert(items, below(position, 'items'));
    const first = prefixItems.map((inner, i) =>
      this.#convert(inner, below(position, `prefixItems/${i}`)),
    );
    if (first.length === 0) return sequence(text('['), commaSeparated(item, min, max), text(']'));
    return sequence(text('['), tuple(first, item, { min, max }), text(']'));
  }

  /** A reference without sibling keywords is the rule of its target. */
  #reference(schema: Schema, position: Position): TextPattern {
    const { $ref, ...beside } = schema;
    const here = within(position, '$ref');
    const target = this.#tree.resolve($ref as string, here.path);
    if (target === false) throw new ContradictionError('allows no value', here.path);
    if (target === true) return this.#convert(beside, within(position, ''));
    if (enforcedKeywords(beside).length > 0) {
      return this.#rule(this.#combined, [schema, here], (rule) => {
        return this.#convert(this.#tree.expand(schema, position.path), {
          ...here,
          path: position.path,
          rule,
        });
      });
    }
    return this.#rule(this.#targets, [target, here], (rule) => {
      return this.#convert(target, { path: $ref as string, depth: 0, rule });
    });
  }

  /** Returns a rule, unless `allOf` only wraps its single part. */
  #allOf(schema: Schema, position: Position): TextPattern {
    const { allOf, ...beside } = schema;
    const parts = allOf as unknown[];
    const here = this.#within(position, 'allOf', allOf);
    if (parts.length === 1 && enforcedKeywords(beside).length === 0)
      return this.#convert(parts[0], within(here, '0'));
    return this.#rule(this.#combined, [schema, here], (rule) => {
      let all = beside;
      for (const [i, part] of parts.entries()) {
        const path = this.#tree.pathOf(part, within(here, String(i)).path);
        const expanded = this.#tree.expand(part, path);
        if (expanded === false) throw new ContradictionError('allows no value', path);
        if (expanded !== true) all = combine(all, expanded, path);
      }
      return this.#convert(all, { ...position, depth: here.depth, rule });
    });
  }

  /** Keywords next to `anyOf` apply to each option. Options that contradict them are left out. */
  #anyOf(options: readonly unknown[], beside: Schema, position: Position): TextPattern {
    if (enforcedKeywords(beside).length === 0) {
      if (options.every((option) => option === false))
        throw new ContradictionError('allows no value', position.path);
      return choice(
        ...options.map((option, i) => this.#convert(option, within(position, String(i)))),
      );
    }
    const faults: ContradictionError[] = [];
    const patterns = options.flatMap((option, i) => {
      const here = within(position, String(i));
      const schema = this.#tree.expand(option, here.path);
      if (schema === false) return [];
      try {
        const both = schema === true ? beside : combine(schema, beside, here.path);
        return [this.#convert(both, here)];
      } catch (error) {
        if (!(error instanceof ContradictionError)) throw error;
        faults.push(error);
        return [];
      }
    });
    if (patterns.length === 0)
      throw faults[0] ?? new ContradictionError('allows no value', position.path);
    return choice(...patterns);
  }

  /** Exactly one option of oneOf may match. That is guaranteed if no value matches two of them. */
  #checkDisjoint(options: readonly unknown[], path: string): void {
    if (options.length > MAX_OPTIONS) {
      throw new GrammarError(`has more than ${MAX_OPTIONS} schemas. Use anyOf`, path);
    }
    const schemas = options.map((option, i) => this.#tree.expand(option, `${path}/${i}`));
    const disjoint = new DisjointSchemas((schema) => this.#tree.expand(schema, path));
    for (const [i, one] of schemas.entries()) {
      for (const other of schemas.slice(i + 1)) {
        if (disjoint.areDisjoint(one, other)) continue;
        const message =
          'is supported only if no value matches two of its schemas: give them different types, or a required property with different constants. Or use anyOf';
        throw new GrammarError(message, path);
      }
    }
  }

  /** A rule that starts with itself matches nothing. */
  #refuseCycles(): void {
    const beginsOf = (rule: PatternRule) => this.#begins.get(rule)!;
    const cycle = findCycle(this.#begins.keys(), beginsOf, ({ rule }) => rule);
    if (cycle) throw new GrammarError('refers to itself, with nothing in between', cycle.path);
  }
}

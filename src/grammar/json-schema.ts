// Converts a JSON Schema to a pattern of compact JSON. Members come in the order of `properties`, then others. Every text that
// matches the pattern is valid. A keyword that cannot be enforced is refused by name.

import { largest } from '../common/long-arrays.ts';
import type { SchemaReading } from '../contracts/generation.ts';
import { arrayPattern, containingPattern, setPattern } from './array-pattern.ts';
import { DisjointSchemas } from './disjoint-schemas.ts';
import { ContradictionError, GrammarError, located } from './grammar-error.ts';
import { ANY_VALUE } from './json-text.ts';
import {
  type Alternatives,
  combine,
  EMPTY_SCHEMA,
  includesType,
  Normalized,
  type Part,
  typesOf,
} from './normalized-schema.ts';
import { numberPattern } from './numbers.ts';
import { type MemberSource, objectShape } from './object-members.ts';
import { objectPattern } from './object-pattern.ts';
import { canonical, isOfType, satisfies } from './schema-check.ts';
import { type JsonType, TYPES } from './schema-keywords.ts';
import { SchemaReader } from './schema-reader.ts';
import { boundsOf, StringPatterns } from './schema-strings.ts';
import { choice, EMPTY, type PatternRule, type TextPattern, text } from './text-pattern.ts';

/** A typical schema has fewer than 100. Alternatives count once per combination. */
const MAX_SCHEMAS = 5000;
/** The depth of schemas that apply to the same value. */
const MAX_DEPTH = 64;
/** The options of oneOf are compared in pairs. */
const MAX_OPTIONS = 256;

/**
 * Returns the pattern of the values that a schema allows, and why the first part that allows none does not. Throws `GrammarError`
 * with the path inside the schema.
 */
export function convertSchema(schema: unknown, reading: SchemaReading = {}) {
  return new SchemaConverter(schema, reading).run({ schema, path: '#' });
}

class SchemaConverter implements MemberSource {
  readonly reading: SchemaReading;
  readonly #reader: SchemaReader;
  /** Compares what is written, and all values. */
  readonly #disjoint: DisjointSchemas;
  readonly #disjointInAll: DisjointSchemas;
  readonly #strings = new StringPatterns();
  /** The rule of each list of schemas that apply together. Schemas can contain themselves. */
  readonly #rules = new Map<string, PatternRule>();
  /** Rules without a body yet. A chain of schemas may be longer than the stack is deep. */
  readonly #open: (() => void)[] = [];
  readonly #built = new Set<PatternRule>();
  readonly #ids = new Map<unknown, number>();
  /** The rules whose bodies begin with the one that is being built. */
  readonly #current = new Set<PatternRule>();
  /** Why the first part of the schema that allows nothing does not. */
  #fault: ContradictionError | undefined;
  #count = 0;

  constructor(root: unknown, reading: SchemaReading) {
    this.reading = reading;
    this.#reader = new SchemaReader(root);
    this.#disjoint = new DisjointSchemas(this, reading);
    this.#disjointInAll = new DisjointSchemas(this, { isOpen: true, isUntyped: true });
  }

  run(root: Part) {
    const pattern = this.convert([root]);
    for (let next = this.#open.pop(); next; next = this.#open.pop()) next();
    return { pattern, fault: this.#fault };
  }

  convert(parts: readonly Part[]): TextPattern {
    const all = parts.filter(({ schema }) => schema !== true);
    if (all.length === 0) return ANY_VALUE;
    const rule = this.#ruleOf(all);
    if (!this.#built.has(rule)) this.#open.push(() => this.#build(rule, all));
    return { kind: 'rule', rule };
  }

  gather(parts: readonly Part[]): Normalized {
    return parts.reduce((normal, part) => this.#add(normal, part, []), EMPTY_SCHEMA);
  }

  satisfies(value: unknown, part: Part): boolean {
    return satisfies(value, part, (inner) => this.#reader.read(inner));
  }

  #ruleOf(parts: readonly Part[]): PatternRule {
    const ids = parts.map(({ schema }) => {
      const id = this.#ids.get(schema) ?? this.#ids.size;
      this.#ids.set(schema, id);
      return id;
    });
    const key = [...new Set(ids)].join();
    const rule = this.#rules.get(key) ?? { body: EMPTY };
    this.#rules.set(key, rule);
    return rule;
  }

  #build(rule: PatternRule, parts: readonly Part[]): void {
    if (this.#built.has(rule)) return;
    this.#built.add(rule);
    this.#current.add(rule);
    rule.body = this.#unless(() => this.#resolve(this.gather(parts), parts[0]!.path, []));
    this.#current.delete(rule);
  }

  /** Converts a schema of the same value now, so that a schema that begins with itself is found. */
  #convertNow(part: Part): TextPattern {
    if (part.schema === true) return ANY_VALUE;
    const rule = this.#ruleOf([part]);
    if (this.#current.has(rule)) throw cycle(part.path);
    this.#build(rule, [part]);
    return { kind: 'rule', rule };
  }

  /** Returns a pattern of nothing if there is a contradiction. */
  #unless(run: () => TextPattern): TextPattern {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof ContradictionError)) throw error;
      this.#fault ??= error;
      return choice();
    }
  }

  /** Adds a schema and those that it consists of. */
  #add(normal: Normalized, part: Part, above: readonly unknown[]): Normalized {
    if (part.schema === true) return normal;
    if (above.includes(part.schema)) throw cycle(part.path);
    if (above.length > MAX_DEPTH)
      throw new GrammarError(`there are more than ${MAX_DEPTH} schemas within schemas`, part.path);
    const read = this.#reader.read(part);
    const { parts, hasPartsFirst } = read;
    const own =
      parts.length === 0 ? read : new Normalized({ ...read, parts: [], hasPartsFirst: false });
    const inside = [...above, part.schema];
    const addOwn = (sum: Normalized) => combine(sum, own, part.path);
    const addParts = (sum: Normalized) =>
      parts.reduce((all, inner) => this.#add(all, inner, inside), sum);
    return hasPartsFirst ? addOwn(addParts(normal)) : addParts(addOwn(normal));
  }

  /** Returns the pattern of the values that satisfy the schema. `done`: alternatives that are already decided. */
  #resolve(normal: Normalized, path: string, done: readonly Alternatives[]): TextPattern {
    if (++this.#count > MAX_SCHEMAS)
      throw new GrammarError(
        `there are more than ${MAX_SCHEMAS} schemas and combinations of them`,
        path,
      );
    if (normal.values) return this.#literals(normal, normal.values.value, normal.values.path);
    const [next, ...others] = normal.alternatives;
    if (!next) return this.#ofTypes(normal, path);
    if (done.includes(next)) throw cycle(next.path);
    const base = new Normalized({ ...normal, alternatives: others });
    const options = next.isExclusive
      ? this.#exclusive(next, base)
      : next.options.map((option) => [option]);
    if (options.length === 0) throw new ContradictionError('allows no value', next.path);
    const isAlone = saysNothing(base);
    return choice(
      ...options.map((option) =>
        isAlone && option.length === 1
          ? this.#convertNow(option[0]!)
          : this.#unless(() => {
              const all = option.reduce((sum, part) => this.#add(sum, part, []), base);
              return this.#resolve(all, option[0]!.path, [...done, next]);
            }),
      ),
    );
  }

  /** Returns the options of oneOf, each with the opposites of those that its values may match. */
  #exclusive({ options, path }: Alternatives, base: Normalized): Part[][] {
    if (options.length > MAX_OPTIONS)
      throw new GrammarError(`has more than ${MAX_OPTIONS} schemas. Use anyOf`, path);
    const normal = options.map((option) => this.#disjoint.normalizedOf(base, option));
    return options.flatMap((option, i) => {
      const own = normal[i];
      if (!own) return [];
      const overlaps = (j: number, disjoint: DisjointSchemas) =>
        j !== i && normal[j] !== undefined && !disjoint.areDisjoint(own, normal[j]);
      const written = options.map((_, j) => overlaps(j, this.#disjoint));
      // An opposite can add types and members to what is written. Next to one, only proofs for all values hold.
      const hasOpposites = written.includes(true);
      const overlapping = options.filter(
        (_, j) => written[j] || (hasOpposites && overlaps(j, this.#disjointInAll)),
      );
      return [
        [option, ...overlapping.map((other) => ({ ...other, schema: this.#reader.negate(other) }))],
      ];
    });
  }

  #literals(normal: Normalized, values: readonly unknown[], path: string): TextPattern {
    const others = new Normalized({ ...normal, values: undefined });
    const whole: Part = { schema: others, path };
    const allowed = values.filter((value) => this.satisfies(value, whole));
    if (allowed.length === 0) throw new ContradictionError('no value of it is allowed', path);
    return choice(...allowed.map((value) => text(JSON.stringify(value))));
  }

  #ofTypes(normal: Normalized, path: string): TextPattern {
    const types = typesOf(normal, this.reading);
    if (!types && saysNothing(normal)) return ANY_VALUE;
    const all = types ?? TYPES.filter((type) => type !== 'integer');
    return choice(...all.map((type) => this.#unless(() => this.#ofType(type, normal, path))));
  }

  #ofType(type: JsonType, normal: Normalized, path: string): TextPattern {
    const unsupported = normal.unsupported.find(
      ({ types }) =>
        types.length === 0 ||
        includesType(types, type) ||
        (type === 'number' && types.includes('integer')),
    );
    if (unsupported) throw new GrammarError(unsupported.message, unsupported.path);
    const isContainer = type === 'object' || type === 'array';
    if (isContainer && normal.excluded.some((value) => isOfType(value, type)))
      throw new GrammarError(`excludes an ${type}, which is not supported`, path);
    switch (type) {
      case 'object':
        return located(path, () => objectPattern(objectShape(normal, path, this)));
      case 'array':
        return this.#array(normal, path);
      case 'string':
        return this.#strings.of(normal, path);
      case 'boolean':
        return this.#literals(normal, [true, false], path);
      case 'null':
        return this.#literals(normal, [null], path);
      default:
        return numberPattern(type, normal, path);
    }
  }

  #array(normal: Normalized, path: string): TextPattern {
    const bounds = boundsOf(normal, 'Items');
    const { arrays, unique, contains } = normal;
    const itemAt = (i: number) => arrays.flatMap(({ first, others }) => first[i] ?? others ?? []);
    const length = largest([0, ...arrays.map(({ first }) => first.length)]);
    const rest = arrays.flatMap(({ others }) => others ?? []);
    if (unique && bounds.max > 1) return this.#set(rest, normal, bounds);
    if (contains.length > 0) {
      if (length > 0 || contains.length > 1)
        throw new GrammarError(
          'cannot be combined with a list of items or another contains',
          contains[0]!.path,
        );
      return located(path, () =>
        containingPattern(this.convert(rest), this.convert([...rest, ...contains]), bounds),
      );
    }
    const first = Array.from({ length }, (_, i) => this.convert(itemAt(i)));
    return arrayPattern(first, this.convert(rest), bounds);
  }

  /** Matches an array of different items. */
  #set(
    items: readonly Part[],
    normal: Normalized,
    bounds: { min: number; max: number },
  ): TextPattern {
    const { path } = normal.unique!;
    const all = this.gather(items);
    const isPlain =
      normal.contains.length === 0 && normal.arrays.every(({ first }) => first.length === 0);
    if (!isPlain || !all.values)
      throw new GrammarError('is supported only if items have an enum, or for a single item', path);
    const allowed = all.values.value.filter((value) =>
      this.satisfies(value, { schema: all, path }),
    );
    const values = new Map(allowed.map((value) => [canonical(value), text(JSON.stringify(value))]));
    return located(path, () => setPattern([...values.values()], bounds));
  }
}

function cycle(path: string): GrammarError {
  return new GrammarError('refers to itself, with nothing in between', path);
}

/** Whether every value is allowed. */
function saysNothing(normal: Normalized): boolean {
  return Object.entries(normal).every(
    ([name, value]) =>
      value === undefined ||
      value === false ||
      name === 'about' ||
      (Array.isArray(value) ? value.length === 0 : Object.keys(value).length === 0),
  );
}

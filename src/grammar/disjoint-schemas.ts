// Proves that no value that is written for one schema satisfies another one: by types, constants, bounds, expressions, and the
// members that one requires.
import type { SchemaReading } from '../contracts/generation.ts';
import { ContradictionError, GrammarError } from './grammar-error.ts';
import {
  type Alternatives,
  combine,
  EMPTY_SCHEMA,
  includesType,
  Normalized,
  type Part,
  type StringRule,
  typesOf,
} from './normalized-schema.ts';
import { hasOthers } from './object-members.ts';
import { memberParts } from './schema-check.ts';
import { type JsonType, TYPES } from './schema-keywords.ts';
import { toTextRule } from './schema-strings.ts';
import { TextLanguage } from './text-language.ts';

/** Members that distinguish schemas are at most this deep inside them. */
const MAX_DEPTH = 4;

/** The questions that a comparison asks a converter. */
interface FactSource {
  readonly reading: SchemaReading;
  gather(parts: readonly Part[]): Normalized;
  satisfies(value: unknown, part: Part): boolean;
}

/** Compares schemas in pairs. */
export class DisjointSchemas {
  readonly #source: FactSource;
  readonly #members = new Map<Normalized, Map<string, Normalized | undefined>>();

  constructor(source: FactSource) {
    this.#source = source;
  }

  /** Returns a schema combined with a normalized one; undefined if no value satisfies both. */
  normalizedOf(base: Normalized, part: Part): Normalized | undefined {
    return this.#unlessContradiction(() => combine(base, this.#source.gather([part]), part.path));
  }

  /** Whether nothing that is written for the first one satisfies the second one. If false, something still may not. */
  areDisjoint(written: Normalized, other: Normalized, depth = 0): boolean {
    if (depth > MAX_DEPTH) return false;
    const fails = (normal: Normalized) => {
      const schema = new Normalized({
        ...normal,
        strings: normal.strings.filter(isExact),
      });
      return (value: unknown) => !this.#source.satisfies(value, { schema, path: '#' });
    };
    if (written.values) return written.values.value.every(fails(other));
    if (other.values) return other.values.value.every(fails(written));
    const types = sharedTypes(written, other, this.#source.reading);
    if (types.every((type) => this.#areDisjointIn(type, written, other, depth))) return true;
    return (
      written.alternatives.some((list) =>
        list.options.every((option) =>
          this.#isImpossible(written, list, option, (normal) =>
            this.areDisjoint(normal, other, depth + 1),
          ),
        ),
      ) ||
      other.alternatives.some((list) =>
        list.options.every((option) =>
          this.#isImpossible(other, list, option, (normal) =>
            this.areDisjoint(written, normal, depth + 1),
          ),
        ),
      )
    );
  }

  /** Whether no values satisfy an option of alternatives, or only values that are disjoint from others. */
  #isImpossible(
    normal: Normalized,
    list: Alternatives,
    option: Part,
    areDisjoint: (normal: Normalized) => boolean,
  ): boolean {
    const rest = normal.alternatives.filter((other) => other !== list);
    const both = this.normalizedOf(new Normalized({ ...normal, alternatives: rest }), option);
    return both === undefined || areDisjoint(both);
  }

  #areDisjointIn(type: JsonType, written: Normalized, other: Normalized, depth: number): boolean {
    switch (type) {
      case 'object':
        return (
          haveDisjointBounds(written, other, 'Properties') ||
          this.#haveDisjointMembers(written, other, depth)
        );
      case 'array':
        return (
          haveDisjointBounds(written, other, 'Items') ||
          this.#haveDisjointItems(written, other, depth)
        );
      case 'string':
        return haveDisjointBounds(written, other, 'Length') || haveDisjointTexts(written, other);
      case 'number':
      case 'integer':
        return haveDisjointNumbers(written, other);
      default:
        return false;
    }
  }

  /** Whether a member that one requires is not allowed by the other, or has another value there. */
  #haveDisjointMembers(written: Normalized, other: Normalized, depth: number): boolean {
    const names = new Set([...written.required, ...other.required].map(({ value }) => value));
    return [...names].some((name) => {
      const [left, right] = [this.#memberOf(written, name), this.#memberOf(other, name)];
      if (!left || !right || !this.#isWritten(written, name)) return true;
      return (
        left !== EMPTY_SCHEMA && right !== EMPTY_SCHEMA && this.areDisjoint(left, right, depth + 1)
      );
    });
  }

  /** Whether a member can occur in what is written. */
  #isWritten(normal: Normalized, name: string): boolean {
    return (
      normal.required.some(({ value }) => value === name) ||
      hasOthers(normal, this.#source.reading) ||
      normal.alternatives.length > 0 ||
      normal.objects.some((rule) => memberParts(rule, name).length > 0)
    );
  }

  /** Returns the schema of a member; undefined if it is not allowed. */
  #memberOf(normal: Normalized, name: string): Normalized | undefined {
    const members = this.#members.get(normal) ?? new Map<string, Normalized | undefined>();
    this.#members.set(normal, members);
    if (!members.has(name))
      members.set(name, this.#gather(normal.objects.flatMap((rule) => memberParts(rule, name))));
    return members.get(name);
  }

  #haveDisjointItems(written: Normalized, other: Normalized, depth: number): boolean {
    const hasItem = [written, other].some(({ limits }) => (limits.minItems?.value ?? 0) > 0);
    if (!hasItem) return false;
    const [left, right] = [written, other].map(({ arrays }) =>
      this.#gather(arrays.flatMap(({ first, others }) => first[0] ?? others ?? [])),
    );
    return !left || !right || this.areDisjoint(left, right, depth + 1);
  }

  #gather(parts: readonly Part[]): Normalized | undefined {
    return parts.length === 0
      ? EMPTY_SCHEMA
      : this.#unlessContradiction(() => this.#source.gather(parts));
  }

  #unlessContradiction(run: () => Normalized): Normalized | undefined {
    try {
      return run();
    } catch (error) {
      if (error instanceof ContradictionError) return undefined;
      throw error;
    }
  }
}

/** Returns the types of values that are written for one and satisfy the other. */
function sharedTypes(written: Normalized, other: Normalized, reading: SchemaReading): JsonType[] {
  const own = typesOf(written, reading) ?? TYPES;
  const all = other.types ?? TYPES;
  return TYPES.filter((type) => includesType(own, type) && includesType(all, type));
}

function haveDisjointBounds(
  one: Normalized,
  other: Normalized,
  what: 'Length' | 'Items' | 'Properties',
): boolean {
  const { limits } = combine(
    new Normalized({ limits: one.limits }),
    new Normalized({ limits: other.limits }),
    '',
  );
  const [min, max] = [limits[`min${what}`], limits[`max${what}`]];
  return min !== undefined && max !== undefined && min.value > max.value;
}

function haveDisjointNumbers(one: Normalized, other: Normalized): boolean {
  const { limits } = combine(
    new Normalized({ limits: one.limits }),
    new Normalized({ limits: other.limits }),
    '',
  );
  const lows = [limits.minimum, limits.exclusiveMinimum];
  const highs = [limits.maximum, limits.exclusiveMaximum];
  return lows.some((low, i) =>
    highs.some(
      (high, j) => low && high && (i + j > 0 ? low.value >= high.value : low.value > high.value),
    ),
  );
}

/** Formats that all programs understand in the same way. They may read the other ones more liberally. */
const EXACT_FORMATS: ReadonlySet<string> = new Set(['date', 'ipv4', 'ipv6', 'uuid']);

function isExact({ keyword, value }: StringRule): boolean {
  return keyword === 'pattern' || EXACT_FORMATS.has(value);
}

function haveDisjointTexts(one: Normalized, other: Normalized): boolean {
  const rules = [...one.strings, ...other.strings].filter(isExact);
  if (rules.length < 2) return false;
  try {
    const language = new TextLanguage(rules.map(toTextRule));
    return language.labels.size === 0;
  } catch (error) {
    if (error instanceof GrammarError) return false;
    throw error;
  }
}

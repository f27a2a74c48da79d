// Proves that no value that is written for one schema satisfies another one: by types, constants, lengths and expressions of
// strings, and the members that one requires.
import type { SchemaReading } from '../contracts/generation.ts';
import { ContradictionError, GrammarError } from './grammar-error.ts';
import {
  combine,
  EMPTY_SCHEMA,
  includesType,
  Normalized,
  type Part,
  type StringRule,
  typesOf,
} from './normalized-schema.ts';
import { hasOthers, type MemberSource } from './object-members.ts';
import { memberParts } from './schema-check.ts';
import { type JsonType, TYPES } from './schema-keywords.ts';
import { toTextRule } from './schema-strings.ts';
import { TextLanguage } from './text-language.ts';

/** Members that distinguish schemas are at most this deep inside them. */
const MAX_DEPTH = 4;

/** The part of a converter that a comparison needs. */
type SchemaSource = Pick<MemberSource, 'gather' | 'satisfies'>;

/** Compares schemas in pairs. */
export class DisjointSchemas {
  readonly #source: SchemaSource;
  readonly #reading: SchemaReading;
  readonly #members = new Map<Normalized, Map<string, Normalized | undefined>>();

  constructor(source: SchemaSource, reading: SchemaReading) {
    this.#source = source;
    this.#reading = reading;
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
    const types = sharedTypes(written, other, this.#reading);
    const isDisjointIn = (type: JsonType) =>
      type === 'object'
        ? this.#haveDisjointMembers(written, other, depth)
        : type === 'string' && haveDisjointTexts(written, other);
    if (types.every(isDisjointIn)) return true;
    const pairs = [written, other].map((normal, i) => ({
      normal,
      isDisjoint: (one: Normalized) =>
        i === 0
          ? this.areDisjoint(one, other, depth + 1)
          : this.areDisjoint(written, one, depth + 1),
    }));
    return pairs.some(({ normal, isDisjoint }) =>
      normal.alternatives.some((list) => {
        const rest = normal.alternatives.filter((one) => one !== list);
        const base = new Normalized({ ...normal, alternatives: rest });
        return list.options.every((option) => {
          const both = this.normalizedOf(base, option);
          return both === undefined || isDisjoint(both);
        });
      }),
    );
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
      hasOthers(normal, this.#reading) ||
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
  // Alternatives can add types.
  const own =
    (written.alternatives.length > 0 ? written.types : typesOf(written, reading)) ?? TYPES;
  const all = other.types ?? TYPES;
  return TYPES.filter((type) => includesType(own, type) && includesType(all, type));
}

/** Formats that all programs understand in the same way. They may read the other ones more liberally. */
const EXACT_FORMATS: ReadonlySet<string> = new Set(['date', 'ipv4', 'ipv6', 'uuid']);

function isExact({ keyword, value }: StringRule): boolean {
  return keyword === 'pattern' || EXACT_FORMATS.has(value);
}

function haveDisjointTexts(one: Normalized, other: Normalized): boolean {
  const { limits } = combine(
    new Normalized({ limits: one.limits }),
    new Normalized({ limits: other.limits }),
    '',
  );
  const { minLength, maxLength } = limits;
  if (minLength && maxLength && minLength.value > maxLength.value) return true;
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

// Proves that no value that is written for one schema satisfies another one: by types, constants, bounds, expressions, and the
// members that one requires.
import type { SchemaReading } from '../contracts/generation.ts';
import { ContradictionError, GrammarError } from './grammar-error.ts';
import { hasOthers } from './object-members.ts';
import { memberParts } from './schema-check.ts';
import {
  type Alternatives,
  combine,
  Facts,
  includesType,
  NO_FACTS,
  type Part,
  type StringRule,
  typesOf,
} from './schema-facts.ts';
import { type JsonType, TYPES } from './schema-keywords.ts';
import { toTextRule } from './schema-strings.ts';
import { TextLanguage } from './text-language.ts';

/** Members that distinguish schemas are at most this deep inside them. */
const MAX_DEPTH = 4;

/** The questions that a comparison asks a converter. */
interface FactSource {
  readonly reading: SchemaReading;
  gather(parts: readonly Part[]): Facts;
  satisfies(value: unknown, part: Part): boolean;
}

/** Compares schemas in pairs. */
export class DisjointSchemas {
  readonly #source: FactSource;
  readonly #members = new Map<Facts, Map<string, Facts | undefined>>();

  constructor(source: FactSource) {
    this.#source = source;
  }

  /** Returns the facts of a schema together with others; undefined if no value satisfies them. */
  factsOf(base: Facts, part: Part): Facts | undefined {
    return this.#unlessContradiction(() => combine(base, this.#source.gather([part]), part.path));
  }

  /** Whether nothing that is written for the first one satisfies the second one. If false, something still may not. */
  areDisjoint(written: Facts, other: Facts, depth = 0): boolean {
    if (depth > MAX_DEPTH) return false;
    const fails = (facts: Facts) => {
      const schema = new Facts({ ...facts, strings: facts.strings.filter(isExact) });
      return (value: unknown) => !this.#source.satisfies(value, { schema, path: '#' });
    };
    if (written.values) return written.values.value.every(fails(other));
    if (other.values) return other.values.value.every(fails(written));
    const types = sharedTypes(written, other, this.#source.reading);
    if (types.every((type) => this.#areDisjointIn(type, written, other, depth))) return true;
    return (
      written.alternatives.some((list) =>
        list.options.every((option) =>
          this.#isImpossible(written, list, option, (facts) =>
            this.areDisjoint(facts, other, depth + 1),
          ),
        ),
      ) ||
      other.alternatives.some((list) =>
        list.options.every((option) =>
          this.#isImpossible(other, list, option, (facts) =>
            this.areDisjoint(written, facts, depth + 1),
          ),
        ),
      )
    );
  }

  /** Whether no values satisfy an option of alternatives, or only values that are disjoint from others. */
  #isImpossible(
    facts: Facts,
    list: Alternatives,
    option: Part,
    areDisjoint: (facts: Facts) => boolean,
  ): boolean {
    const rest = facts.alternatives.filter((other) => other !== list);
    const both = this.factsOf(new Facts({ ...facts, alternatives: rest }), option);
    return both === undefined || areDisjoint(both);
  }

  #areDisjointIn(type: JsonType, written: Facts, other: Facts, depth: number): boolean {
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
  #haveDisjointMembers(written: Facts, other: Facts, depth: number): boolean {
    const names = new Set([...written.required, ...other.required].map(({ value }) => value));
    return [...names].some((name) => {
      const [left, right] = [this.#memberOf(written, name), this.#memberOf(other, name)];
      if (!left || !right || !this.#isWritten(written, name)) return true;
      return left !== NO_FACTS && right !== NO_FACTS && this.areDisjoint(left, right, depth + 1);
    });
  }

  /** Whether a member can occur in what is written. */
  #isWritten(facts: Facts, name: string): boolean {
    const isDeclared =
      facts.required.some(({ value }) => value === name) ||
      facts.dependents.some(([, others]) => others.includes(name));
    return (
      isDeclared ||
      hasOthers(facts, this.#source.reading) ||
      facts.alternatives.length > 0 ||
      facts.objects.some((rule) => memberParts(rule, name).length > 0)
    );
  }

  /** Returns the facts of a member; undefined if it is not allowed. */
  #memberOf(facts: Facts, name: string): Facts | undefined {
    const members = this.#members.get(facts) ?? new Map<string, Facts | undefined>();
    this.#members.set(facts, members);
    if (!members.has(name))
      members.set(name, this.#gather(facts.objects.flatMap((rule) => memberParts(rule, name))));
    return members.get(name);
  }

  #haveDisjointItems(written: Facts, other: Facts, depth: number): boolean {
    const hasItem = [written, other].some(({ limits }) => (limits.minItems?.value ?? 0) > 0);
    if (!hasItem) return false;
    const [left, right] = [written, other].map(({ arrays }) =>
      this.#gather(arrays.flatMap(({ first, others }) => first[0] ?? others ?? [])),
    );
    return !left || !right || this.areDisjoint(left, right, depth + 1);
  }

  #gather(parts: readonly Part[]): Facts | undefined {
    return parts.length === 0
      ? NO_FACTS
      : this.#unlessContradiction(() => this.#source.gather(parts));
  }

  #unlessContradiction(run: () => Facts): Facts | undefined {
    try {
      return run();
    } catch (error) {
      if (error instanceof ContradictionError) return undefined;
      throw error;
    }
  }
}

/** Returns the types of values that are written for one and satisfy the other. */
function sharedTypes(written: Facts, other: Facts, reading: SchemaReading): JsonType[] {
  const own = typesOf(written, reading) ?? TYPES;
  const all = other.types ?? TYPES;
  return TYPES.filter((type) => includesType(own, type) && includesType(all, type));
}

function haveDisjointBounds(
  one: Facts,
  other: Facts,
  what: 'Length' | 'Items' | 'Properties',
): boolean {
  const { limits } = combine(
    new Facts({ limits: one.limits }),
    new Facts({ limits: other.limits }),
    '',
  );
  const [min, max] = [limits[`min${what}`], limits[`max${what}`]];
  return min !== undefined && max !== undefined && min.value > max.value;
}

function haveDisjointNumbers(one: Facts, other: Facts): boolean {
  const { limits } = combine(
    new Facts({ limits: one.limits }),
    new Facts({ limits: other.limits }),
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

function haveDisjointTexts(one: Facts, other: Facts): boolean {
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

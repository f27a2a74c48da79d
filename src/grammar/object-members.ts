// Collects the members of an object from the schemas that apply to it: the declared ones, and the names and values of others.
import type { SchemaReading } from '../contracts/generation.ts';
import { ContradictionError, GrammarError, located } from './grammar-error.ts';
import { ANY_STRING, characterExcept, insideString, oneCharacter } from './json-text.ts';
import type { Normalized, Part } from './normalized-schema.ts';
import type { ObjectShape } from './object-pattern.ts';
import { memberParts } from './schema-check.ts';
import { boundsOf, isEnforced, quoted, toTextRule } from './schema-strings.ts';
import { MAX_LABELS, TextLanguage, type TextRule } from './text-language.ts';
import { choice, graph, type TextPattern, text } from './text-pattern.ts';

/** The part of a converter that the collection of members needs. */
export interface MemberSource {
  readonly reading: SchemaReading;
  /** Returns the pattern of a value that satisfies all of these. */
  convert(parts: readonly Part[]): TextPattern;
  /** Returns these combined. */
  gather(parts: readonly Part[]): Normalized;
  satisfies(value: unknown, part: Part): boolean;
}

/** Whether members may have names that no schema declares. */
export function hasOthers({ objects }: Normalized, { isOpen = false }: SchemaReading): boolean {
  const declares = objects.some(
    ({ properties, patterns, isDerived }) => !isDerived && properties.size + patterns.length > 0,
  );
  return isOpen || !declares || objects.some(({ others }) => others !== undefined);
}

/** Returns the members of the objects that satisfy the schema. Throws `ContradictionError` if there are none. */
export function objectShape(normal: Normalized, path: string, source: MemberSource): ObjectShape {
  const { min, max } = boundsOf(normal, 'Properties');
  const hasMore = hasOthers(normal, source.reading);
  const required = new Set(normal.required.map(({ value }) => value));
  const names = memberNames(normal);
  const members = names.flatMap((name) => {
    const isRequired = required.has(name);
    const parts = normal.objects.flatMap((rule) => memberParts(rule, name));
    const isAllowed =
      parts.every(({ schema }) => schema !== false) &&
      normal.names.every((part) => source.satisfies(name, part));
    if (isAllowed) return [{ name, isRequired, value: source.convert(parts) }];
    if (!isRequired) return [];
    const pointer = normal.required.find(({ value }) => value === name)!.path;
    throw new ContradictionError(`"${name}" is required, but no value of it is allowed`, pointer);
  });
  const others = otherMembers(normal, names, hasMore, path, source);
  const { isUnordered = false } = source.reading;
  return { members, others, min, max, isUnordered };
}

/** Returns the names that come first, in the order of the schemas. */
function memberNames({ objects, required }: Normalized): string[] {
  const names = new Set([
    ...objects.flatMap(({ properties }) => [...properties.keys()]),
    ...required.map(({ value }) => value),
  ]);
  if (names.size > MAX_MEMBERS) throw new GrammarError(`has more than ${MAX_MEMBERS} properties`);
  return [...names];
}

/** Returns the names and values of members that are not declared. Names that match the same patterns have the same values. */
function otherMembers(
  normal: Normalized,
  names: readonly string[],
  hasMore: boolean,
  path: string,
  source: MemberSource,
): ObjectShape['others'] {
  const patterns = normal.objects.flatMap((rule) => rule.patterns);
  const sources = [...new Set(patterns.map(({ source: expression }) => expression))];
  if (sources.length > MAX_LABELS)
    throw new GrammarError(`has more than ${MAX_LABELS} patterns`, `${path}/patternProperties`);
  /** Returns the schemas of a name that matches these patterns. Undefined: it is not allowed. */
  const partsOf = (matching: ReadonlySet<string>): Part[] | undefined => {
    const parts = normal.objects.flatMap((rule) => {
      const own = rule.patterns.filter(({ source: expression }) => matching.has(expression));
      return own.length > 0 ? own.map(({ part }) => part) : (rule.others ?? []);
    });
    const isForbidden =
      parts.some(({ schema }) => schema === false) || (matching.size === 0 && !hasMore);
    return isForbidden ? undefined : parts;
  };
  if (sources.length === 0) {
    const parts = partsOf(new Set());
    if (!parts) return [];
    return [{ key: nameKey(normal, names, path, source), value: source.convert(parts) }];
  }
  const language = nameLanguage(normal, names, sources, path, source);
  return [...language.labels].flatMap((labels) => {
    const parts = partsOf(new Set(sources.filter((_, bit) => (labels >> bit) & 1)));
    return parts
      ? [{ key: quoted(language.pattern(insideString, labels)), value: source.convert(parts) }]
      : [];
  });
}

/** Returns the pattern of names that no pattern of the schema distinguishes. */
function nameKey(
  normal: Normalized,
  names: readonly string[],
  path: string,
  source: MemberSource,
): TextPattern {
  if (names.length > 0 && normal.names.length > 0)
    return quoted(nameLanguage(normal, names, [], path, source).pattern(insideString));
  if (names.length > 0) return quoted(textExcept(names));
  if (normal.names.length === 0) return ANY_STRING;
  return source.convert([...normal.names, TEXT]);
}

/** A schema with 1,000 properties takes about 30,000 nodes. */
const MAX_MEMBERS = 5000;

/** Names are strings. */
const TEXT: Part = { schema: { type: 'string' }, path: '#' };

/** Returns the language of the names other than these, labelled with the patterns that they match. */
function nameLanguage(
  normal: Normalized,
  names: readonly string[],
  sources: readonly string[],
  path: string,
  source: MemberSource,
): TextLanguage {
  const own = source.gather([...normal.names, TEXT]);
  if (own.alternatives.length + own.unsupported.length > 0)
    throw new GrammarError(
      'cannot be combined with properties or patternProperties',
      `${path}/propertyNames`,
    );
  const oneOf = (values: readonly unknown[], use: TextRule['use']): TextRule => {
    const texts = values.filter((value) => typeof value === 'string');
    return { parts: [{ pattern: choice(...texts.map(text)) }], use };
  };
  const pointer = `${path}/patternProperties`;
  const labels = sources.map((value) => toTextRule({ keyword: 'pattern', value, path: pointer }));
  const rules = [
    ...labels.map((rule) => ({ ...rule, use: 'label' as const })),
    ...own.strings.filter(isEnforced).map(toTextRule),
    oneOf([...names, ...own.excluded], 'exclude'),
    ...(own.values ? [oneOf(own.values.value, 'match')] : []),
  ];
  return located(path, () => new TextLanguage(rules, boundsOf(own, 'Length')));
}

/** Matches a text that differs from all of these: a tree of their characters, and a node for texts that left it. */
function textExcept(texts: readonly string[]): TextPattern {
  const tree: Map<number, number>[] = [new Map()];
  const ends = new Set<number>();
  for (const one of texts) {
    let at = 0;
    for (const character of one) {
      const point = character.codePointAt(0)!;
      const next = tree[at]!.get(point) ?? tree.push(new Map()) - 1;
      tree[at]!.set(point, next);
      at = next;
    }
    ends.add(at);
  }
  const other = tree.length;
  const nodes = [...tree, new Map<number, number>()].map((children, i) => {
    const edges = Array.from(children, ([point, to]) => ({ item: oneCharacter(point), to }));
    edges.push({ item: characterExcept([...children.keys()]), to: other });
    return { isEnd: !ends.has(i), edges };
  });
  return graph(nodes);
}

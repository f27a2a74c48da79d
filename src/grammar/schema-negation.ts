// The opposite of a schema: schemas of which a value satisfies at least one, each the opposite of one keyword.
import {
  type Located,
  Normalized,
  type ObjectRule,
  type Part,
  type Unsupported,
} from './normalized-schema.ts';
import { type JsonType, LIMITS, type LimitName, TYPES } from './schema-keywords.ts';

/** Returns the schema of values whose keyword cannot be enforced. They matter only if nothing else rules out their types. */
export function notSupported(unsupported: Unsupported): Normalized {
  const { types } = unsupported;
  return new Normalized({
    types: types.length > 0 ? types : undefined,
    unsupported: [unsupported],
  });
}

/** Returns the rule of objects without a member. */
export function absentMember(name: string, path: string): ObjectRule {
  return memberRule(name, { schema: false, path });
}

function memberRule(name: string, part: Part): ObjectRule {
  return { properties: new Map([[name, part]]), patterns: [], isDerived: true, path: part.path };
}

/**
 * Returns schemas of which a value satisfies at least one if, and only if, it violates the given one.
 * @param negate returns the opposite of a part
 */
export function negations(
  normal: Normalized,
  path: string,
  negate: (part: Part) => Part,
): Normalized[] {
  const refuse = (isPresent: boolean, type: JsonType, keyword: string) =>
    isPresent
      ? [notSupported({ types: [type], path: `${path}/${keyword}`, message: NO_OPPOSITE })]
      : [];
  const { types, values, limits, multiples, strings, objects, arrays } = normal;
  const object = (content: Partial<Normalized>) =>
    new Normalized({ types: ['object'], ...content });
  const patterns = strings.filter(({ keyword }) => keyword === 'pattern');
  const rest = objects.flatMap(({ others }) => others ?? []);
  const items = arrays
    .filter(({ first }) => first.length === 0)
    .flatMap(({ others }) => others ?? []);
  // A number that is not an integer cannot be enforced.
  const hasFractions = types?.includes('integer') && !types.includes('number');
  return [
    ...(types ? otherTypes(types) : []),
    ...refuse(hasFractions === true, 'number', 'type'),
    ...(values ? [new Normalized({ excluded: values.value })] : []),
    ...Object.entries(limits).flatMap(([name, limit]) => negateLimit(name as LimitName, limit)),
    ...refuse(multiples.length > 0, 'number', 'multipleOf'),
    ...patterns.map(
      (rule) => new Normalized({ types: ['string'], strings: [{ ...rule, isExcluded: true }] }),
    ),
    ...refuse(patterns.length < strings.length, 'string', 'format'),
    ...objects.flatMap(({ properties }) =>
      [...properties]
        .filter(([, part]) => !allowsAll(part))
        .map(([value, part]) =>
          object({
            required: [{ value, path: part.path }],
            objects: [memberRule(value, negate(part))],
          }),
        ),
    ),
    ...refuse(
      objects.some((rule) => rule.patterns.some(({ part }) => !allowsAll(part))),
      'object',
      'patternProperties',
    ),
    ...refuse(!rest.every(allowsAll), 'object', 'additionalProperties'),
    ...normal.required.map(({ value, path: pointer }) =>
      object({ objects: [absentMember(value, pointer)] }),
    ),
    ...refuse(normal.names.length > 0, 'object', 'propertyNames'),
    ...refuse(
      arrays.some(({ first }) => first.length > 0),
      'array',
      'items',
    ),
    ...items
      .filter((part) => !allowsAll(part))
      .map((part) => new Normalized({ types: ['array'], contains: [negate(part)] })),
    ...refuse(normal.unique !== undefined, 'array', 'uniqueItems'),
    ...refuse(normal.contains.length > 0, 'array', 'contains'),
    ...normal.parts.map((part) => new Normalized({ parts: [negate(part)] })),
    // Values that match several options of oneOf are left out.
    ...normal.alternatives.map(({ options }) => new Normalized({ parts: options.map(negate) })),
    ...normal.unsupported.map((one) => notSupported({ ...one, message: 'is not supported' })),
  ];
}

const NO_OPPOSITE =
  'is not supported inside of not, nor in a schema of oneOf that overlaps with others';

function otherTypes(types: readonly JsonType[]): Normalized[] {
  const others = TYPES.filter(
    (type) =>
      !types.includes(type) &&
      (type !== 'integer' || !types.includes('number')) &&
      (type !== 'number' || !types.includes('integer')),
  );
  return others.length > 0 ? [new Normalized({ types: others })] : [];
}

function negateLimit(name: LimitName, { value, path }: Located<number>): Normalized[] {
  const { type, opposite, difference } = LIMITS[name];
  const limit = value + difference;
  if (type !== 'number' && limit < 0) return [];
  return [new Normalized({ types: [type], limits: { [opposite]: { value: limit, path } } })];
}

/** Whether a schema obviously allows every value. */
function allowsAll({ schema }: Part): boolean {
  return (
    schema === true ||
    (typeof schema === 'object' && schema !== null && Object.keys(schema).length === 0)
  );
}

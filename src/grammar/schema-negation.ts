// The opposite of a schema: schemas of which a value satisfies at least one, each the opposite of one keyword.
import {
  type ArrayRule,
  Normalized,
  type ObjectRule,
  type Part,
  type StringRule,
  type Unsupported,
} from './normalized-schema.ts';
import { type JsonType, TYPES } from './schema-keywords.ts';

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
  return {
    properties: new Map([[name, { schema: false, path }]]),
    patterns: [],
    isDerived: true,
    path,
  };
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
  const refuse = (types: readonly JsonType[], keyword: string) =>
    notSupported({
      types,
      path: `${path}/${keyword}`,
      message: 'is not supported inside of not, nor in a schema of oneOf that overlaps with others',
    });
  const object = { types: ['object'] as const };
  return [
    ...negateTypes(normal.types, refuse),
    ...(normal.values ? [new Normalized({ excluded: normal.values.value })] : []),
    ...normal.excluded.map((value) => new Normalized({ values: { value: [value], path } })),
    ...negateLimits(normal),
    ...(normal.multiples.length > 0 ? [refuse(['number', 'integer'], 'multipleOf')] : []),
    ...normal.strings.map((rule) => negateString(rule, refuse)),
    ...normal.objects.flatMap((rule) => negateObject(rule, negate, refuse)),
    ...normal.required.map(
      ({ value, path: pointer }) =>
        new Normalized({ ...object, objects: [absentMember(value, pointer)] }),
    ),
    ...(normal.names.length > 0 ? [refuse(['object'], 'propertyNames')] : []),
    ...normal.arrays.flatMap((rule) => negateArray(rule, negate, refuse)),
    ...(normal.unique ? [refuse(['array'], 'uniqueItems')] : []),
    ...normal.contains.map(
      (part) => new Normalized({ types: ['array'], arrays: [{ first: [], others: negate(part) }] }),
    ),
    ...normal.parts.map((part) => new Normalized({ parts: [negate(part)] })),
    // Values that match several options of oneOf are left out.
    ...normal.alternatives.map(({ options }) => new Normalized({ parts: options.map(negate) })),
    ...normal.unsupported.map(({ types, path: pointer }) =>
      notSupported({ types, path: pointer, message: 'is not supported' }),
    ),
  ];
}

type Refuse = (types: readonly JsonType[], keyword: string) => Normalized;

function negateTypes(types: Normalized['types'], refuse: Refuse): Normalized[] {
  if (!types) return [];
  const isOther = (type: JsonType) =>
    !types.includes(type) && !(type === 'integer' && types.includes('number'));
  const others = TYPES.filter(isOther);
  // A number that is not an integer cannot be enforced.
  const hasFractions = types.includes('integer') && !types.includes('number');
  const rest = others.filter((type) => !(hasFractions && type === 'number'));
  return [
    ...(rest.length > 0 ? [new Normalized({ types: rest })] : []),
    ...(hasFractions ? [refuse(['number'], 'type')] : []),
  ];
}

/** For each bound, the bound of the values that violate it, and the difference between the two. */
const OPPOSITE = {
  minimum: ['number', 'exclusiveMaximum', 0],
  exclusiveMinimum: ['number', 'maximum', 0],
  maximum: ['number', 'exclusiveMinimum', 0],
  exclusiveMaximum: ['number', 'minimum', 0],
  minLength: ['string', 'maxLength', -1],
  maxLength: ['string', 'minLength', 1],
  minItems: ['array', 'maxItems', -1],
  maxItems: ['array', 'minItems', 1],
  minProperties: ['object', 'maxProperties', -1],
  maxProperties: ['object', 'minProperties', 1],
} as const;

function negateLimits({ limits }: Normalized): Normalized[] {
  return Object.entries(limits).flatMap(([name, { value, path }]) => {
    const [type, opposite, difference] = OPPOSITE[name as keyof typeof OPPOSITE];
    const isCount = type !== 'number';
    if (isCount && value + difference < 0) return [];
    return [
      new Normalized({
        types: [type],
        limits: { [opposite]: { value: value + difference, path } },
      }),
    ];
  });
}

function negateString(rule: StringRule, refuse: Refuse): Normalized {
  if (rule.keyword === 'format') return refuse(['string'], 'format');
  return new Normalized({
    types: ['string'],
    strings: [{ ...rule, isExcluded: !rule.isExcluded }],
  });
}

function negateObject(
  { properties, patterns, others }: ObjectRule,
  negate: (part: Part) => Part,
  refuse: Refuse,
): Normalized[] {
  const wrong = [...properties]
    .filter(([, part]) => !allowsAll(part))
    .map(
      ([name, part]) =>
        new Normalized({
          types: ['object'],
          required: [{ value: name, path: part.path }],
          objects: [
            {
              properties: new Map([[name, negate(part)]]),
              patterns: [],
              isDerived: true,
              path: part.path,
            },
          ],
        }),
    );
  return [
    ...wrong,
    ...(patterns.some(({ part }) => !allowsAll(part))
      ? [refuse(['object'], 'patternProperties')]
      : []),
    ...(others && !allowsAll(others) ? [refuse(['object'], 'additionalProperties')] : []),
  ];
}

/** An item is wrong: one of the first, or any if there are no first ones. */
function negateArray(
  { first, others }: ArrayRule,
  negate: (part: Part) => Part,
  refuse: Refuse,
): Normalized[] {
  const any = (path: string): Part => ({ schema: true, path });
  const wrong = first.flatMap((part, i) => {
    if (allowsAll(part)) return [];
    const before = first.slice(0, i).map(({ path }) => any(path));
    const limits = { minItems: { value: i + 1, path: part.path } };
    const arrays = [{ first: [...before, negate(part)] }];
    return [new Normalized({ types: ['array'], limits, arrays })];
  });
  if (!others || allowsAll(others)) return wrong;
  if (others.schema === false) {
    const limits = { minItems: { value: first.length + 1, path: others.path } };
    return [...wrong, new Normalized({ types: ['array'], limits })];
  }
  if (first.length > 0) return [...wrong, refuse(['array'], 'items')];
  return [new Normalized({ types: ['array'], contains: [negate(others)] })];
}

/** Whether a schema obviously allows every value. */
function allowsAll({ schema }: Part): boolean {
  return (
    schema === true ||
    (typeof schema === 'object' && schema !== null && Object.keys(schema).length === 0)
  );
}

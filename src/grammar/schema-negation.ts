// The opposite of a schema: facts of which a value satisfies at least one, each the opposite of one keyword.
import {
  type ArrayRule,
  Facts,
  type ObjectRule,
  type Part,
  type StringRule,
  type Unsupported,
} from './schema-facts.ts';
import { type JsonType, TYPES } from './schema-keywords.ts';

/** Returns the facts of values whose keyword cannot be enforced. They matter only if nothing else rules out their types. */
export function notSupported(unsupported: Unsupported): Facts {
  const { types } = unsupported;
  return new Facts({ types: types.length > 0 ? types : undefined, unsupported: [unsupported] });
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
 * Returns facts of which a value satisfies at least one if, and only if, it violates the given ones.
 * @param negate returns the opposite of a part
 */
export function negations(facts: Facts, path: string, negate: (part: Part) => Part): Facts[] {
  const refuse = (types: readonly JsonType[], keyword: string) =>
    notSupported({
      types,
      path: `${path}/${keyword}`,
      message: 'is not supported inside of not, nor in a schema of oneOf that overlaps with others',
    });
  const object = { types: ['object'] as const };
  return [
    ...negateTypes(facts.types, refuse),
    ...(facts.values ? [new Facts({ excluded: facts.values.value })] : []),
    ...facts.excluded.map((value) => new Facts({ values: { value: [value], path } })),
    ...negateLimits(facts),
    ...(facts.multiples.length > 0 ? [refuse(['number', 'integer'], 'multipleOf')] : []),
    ...facts.strings.map((rule) => negateString(rule, refuse)),
    ...facts.objects.flatMap((rule) => negateObject(rule, negate, refuse)),
    ...facts.required.map(
      ({ value, path: place }) => new Facts({ ...object, objects: [absentMember(value, place)] }),
    ),
    ...(facts.names.length > 0 ? [refuse(['object'], 'propertyNames')] : []),
    ...facts.dependents.flatMap(([name, names]) =>
      names.map(
        (other) =>
          new Facts({
            ...object,
            required: [{ value: name, path }],
            objects: [absentMember(other, path)],
          }),
      ),
    ),
    ...facts.arrays.flatMap((rule) => negateArray(rule, negate, refuse)),
    ...(facts.unique ? [refuse(['array'], 'uniqueItems')] : []),
    ...facts.contains.map(
      (part) => new Facts({ types: ['array'], arrays: [{ first: [], others: negate(part) }] }),
    ),
    ...facts.parts.map((part) => new Facts({ parts: [negate(part)] })),
    // Values that match several options of oneOf are left out.
    ...facts.alternatives.map(({ options }) => new Facts({ parts: options.map(negate) })),
    ...facts.unsupported.map(({ types, path: place }) =>
      notSupported({ types, path: place, message: 'is not supported' }),
    ),
  ];
}

type Refuse = (types: readonly JsonType[], keyword: string) => Facts;

function negateTypes(types: Facts['types'], refuse: Refuse): Facts[] {
  if (!types) return [];
  const isOther = (type: JsonType) =>
    !types.includes(type) && !(type === 'integer' && types.includes('number'));
  const others = TYPES.filter(isOther);
  // A number that is not an integer cannot be enforced.
  const hasFractions = types.includes('integer') && !types.includes('number');
  const rest = others.filter((type) => !(hasFractions && type === 'number'));
  return [
    ...(rest.length > 0 ? [new Facts({ types: rest })] : []),
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

function negateLimits({ limits }: Facts): Facts[] {
  return Object.entries(limits).flatMap(([name, { value, path }]) => {
    const [type, opposite, difference] = OPPOSITE[name as keyof typeof OPPOSITE];
    const isCount = type !== 'number';
    if (isCount && value + difference < 0) return [];
    return [
      new Facts({ types: [type], limits: { [opposite]: { value: value + difference, path } } }),
    ];
  });
}

function negateString(rule: StringRule, refuse: Refuse): Facts {
  if (rule.keyword === 'format') return refuse(['string'], 'format');
  return new Facts({ types: ['string'], strings: [{ ...rule, isExcluded: !rule.isExcluded }] });
}

function negateObject(
  { properties, patterns, others }: ObjectRule,
  negate: (part: Part) => Part,
  refuse: Refuse,
): Facts[] {
  const wrong = [...properties]
    .filter(([, part]) => !allowsAll(part))
    .map(
      ([name, part]) =>
        new Facts({
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
): Facts[] {
  const any = (path: string): Part => ({ schema: true, path });
  const wrong = first.flatMap((part, i) => {
    if (allowsAll(part)) return [];
    const before = first.slice(0, i).map(({ path }) => any(path));
    const limits = { minItems: { value: i + 1, path: part.path } };
    const arrays = [{ first: [...before, negate(part)] }];
    return [new Facts({ types: ['array'], limits, arrays })];
  });
  if (!others || allowsAll(others)) return wrong;
  if (others.schema === false) {
    const limits = { minItems: { value: first.length + 1, path: others.path } };
    return [...wrong, new Facts({ types: ['array'], limits })];
  }
  if (first.length > 0) return [...wrong, refuse(['array'], 'items')];
  return [new Facts({ types: ['array'], contains: [negate(others)] })];
}

/** Whether a schema obviously allows every value. */
function allowsAll({ schema }: Part): boolean {
  return (
    schema === true ||
    (typeof schema === 'object' && schema !== null && Object.keys(schema).length === 0)
  );
}

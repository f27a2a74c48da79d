// Every number that a request may contain has a limit, both in the API's document and in the schemas that check requests. One
// number without a limit can make the server allocate or compute without bound.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { z } from 'zod';
import { multiSchema, singleSchema } from '../../src/graders/schema.ts';
import { structuralTagSchema } from '../../src/http/schema/structural-tag.ts';
import { pageQuery } from '../../src/http/schema/tinker.ts';
import { pluck } from '../pluck.ts';
import {
  type DocumentedSchema,
  documentedApp,
  operationsOf,
  schemasIn,
} from './documented-routes.ts';
import { assertRefused, serve } from './served.ts';

const { app, document } = await documentedApp();

/** Lists the numbers of a checking schema that have no maximum. */
function* checked(
  schema: z.core.$ZodType,
  path: string,
  seen: Set<z.core.$ZodType>,
): Generator<string> {
  if (seen.has(schema)) return;
  seen.add(schema);
  const { def } = (schema as z.core.$ZodTypes)._zod;
  const inside = (part: z.core.$ZodType, name = '') => checked(part, path + name, seen);
  switch (def.type) {
    case 'number':
    case 'bigint':
      if (!def.checks?.some((check) => check._zod.def.check === 'less_than')) yield path;
      return;
    case 'object':
      for (const [name, part] of Object.entries(def.shape)) yield* inside(part, `.${name}`);
      return;
    case 'record':
      return yield* inside(def.valueType, '[]');
    case 'array':
      return yield* inside(def.element, '[]');
    case 'tuple':
      for (const [i, part] of def.items.entries()) yield* inside(part, `[${i}]`);
      return;
    case 'union':
      for (const part of def.options) yield* inside(part);
      return;
    case 'pipe':
      yield* inside(def.in);
      return yield* inside(def.out);
    case 'lazy':
      return yield* inside(def.getter());
    case 'optional':
    case 'nullable':
    case 'default':
    case 'nonoptional':
      return yield* inside(def.innerType);
    case 'string':
    case 'boolean':
    case 'null':
    case 'unknown':
    case 'literal':
    case 'enum':
    case 'transform':
    case 'custom':
      return;
    default:
      assert.fail(`${path} is a ${def.type}, which this walk does not know`);
  }
}

/** Whether a documented schema is of a number without a maximum. */
function isUnbounded(schema: DocumentedSchema): boolean {
  const isNumber = [schema.type].flat().some((type) => type === 'number' || type === 'integer');
  const bounds = ['maximum', 'exclusiveMaximum', 'enum', 'const'];
  return isNumber && !bounds.some((word) => word in schema);
}

test('every number of a request has a maximum in the document', () => {
  const numbers = operationsOf(document).flatMap(({ name, parameters = [], requestBody }) => {
    const contents = Object.values(requestBody?.content ?? {});
    return [...parameters, ...contents].flatMap(({ schema }) =>
      schemasIn(document, schema, name).filter((found) => isUnbounded(found.schema)),
    );
  });
  assert.deepEqual(pluck(numbers, 'path'), []);
});

/** Schemas that read a part of a body whose form the document leaves open. */
const HIDDEN = { singleSchema, multiSchema, structuralTagSchema, pageQuery };

test('every number of a request has a maximum in the schema that checks it', () => {
  const routes = app.openAPIRegistry.definitions.flatMap((definition) =>
    definition.type === 'route' ? [definition.route] : [],
  );
  const schemas = routes.flatMap(({ method, path, request }) => {
    const contents = Object.values(request?.body?.content ?? {}) as { schema: z.ZodType }[];
    return [request?.query, ...contents.map(({ schema }) => schema)].flatMap((schema) =>
      schema ? [[`${method} ${path}`, schema] as const] : [],
    );
  });
  assert.ok(schemas.length > 60);
  const unbounded = [...schemas, ...Object.entries(HIDDEN)].flatMap(([at, schema]) => [
    ...checked(schema as z.core.$ZodType, at, new Set()),
  ]);
  assert.deepEqual(unbounded, []);
});

const TOO_LARGE: readonly [path: string, body: object, param: string][] = [
  ['/v1/completions', { prompt: 'a', max_tokens: 2 ** 31 }, 'max_tokens'],
  ['/v1/completions', { prompt: 'a', best_of: 129 }, 'best_of'],
  ['/v1/completions', { prompt: 'a', repetition_penalty: 1001 }, 'repetition_penalty'],
  ['/v1/responses', { input: 'a', max_output_tokens: 2 ** 31 }, 'max_output_tokens'],
  ['/v1/responses', { input: 'a', max_tool_calls: 2 ** 31 }, 'max_tool_calls'],
];

test('a number above its maximum is refused by its name', async () => {
  const { post } = serve();
  for (const [path, body, param] of TOO_LARGE) {
    const refused = await post(path, { model: 'toy', ...body });
    await assertRefused(refused, { code: 'invalid_request', param });
  }
});

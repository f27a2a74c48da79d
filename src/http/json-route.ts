// Registers a POST route whose body is JSON: documented by its schema, read by our own bounded reader.
// (The library's own body validator reads bodies without a limit and answers in its own words.)
import { createRoute, type OpenAPIHono, type z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { errorEnvelopeSchema } from '../contracts/openai.ts';
import { readJsonBody } from './body.ts';
import type { Deps } from './deps.ts';
import type { HttpEnv } from './middleware/tenant.ts';
import { validate, validateQuery } from './validation.ts';

const ERROR_STATUSES = {
  400: 'A fault in the request; `error.param` names the field',
  401: 'No valid key',
  403: 'Not for this key',
  404: 'Unknown model, or one of another tenant',
  408: 'The body came too slowly',
  413: 'The body is too large',
  415: 'The body is not plain JSON',
  422: 'The adapter cannot be served',
  429: 'A limit of this tenant; see `retry-after`',
  500: 'A fault of this server',
  503: 'Overloaded, restarting, or the engine crashed with this adapter or request; see `retry-after`',
  507: "The server's disk is full",
};

const errorContent = { 'application/json': { schema: errorEnvelopeSchema } };

/** The error answers of a route, for the document. */
export function errorResponses(...statuses: (keyof typeof ERROR_STATUSES)[]) {
  const all = statuses.length > 0 ? statuses : (Object.keys(ERROR_STATUSES) as unknown as number[]);
  return Object.fromEntries(
    all.map((status) => {
      const description = ERROR_STATUSES[status as keyof typeof ERROR_STATUSES];
      return [status, { description, content: errorContent }];
    }),
  );
}

export interface JsonRoute<Body> {
  /** A parameter is `{name}`. */
  path: string;
  params?: z.ZodObject;
  summary: string;
  body: z.ZodType<Body>;
  /** Whether no body means `{}`. */
  isBodyOptional?: true;
  /** Of status 200, by media type. */
  answers: Record<string, { schema: z.ZodType }>;
  /** Before the body is read: refuses what need not be read. */
  admit?(c: Context<HttpEnv>): void;
  handle(c: Context<HttpEnv>, body: Body): Promise<Response>;
}

export function addJsonRoute<Body>(
  app: OpenAPIHono<HttpEnv>,
  deps: Deps,
  route: JsonRoute<Body>,
): void {
  const { params, isBodyOptional } = route;
  const content = { 'application/json': { schema: route.body } };
  const described = createRoute({
    method: 'post',
    path: route.path,
    summary: route.summary,
    request: { body: { required: !isBodyOptional, content }, ...(params && { params }) },
    responses: {
      200: { description: 'The answer', content: route.answers },
      ...errorResponses(),
    },
  });
  app.openAPIRegistry.registerPath(described);
  app.post(described.getRoutingPath(), async (c) => {
    route.admit?.(c);
    validateQuery(undefined, c.req.query());
    const isAbsent = isBodyOptional && !hasBody(c.req.raw.headers);
    const body = isAbsent ? {} : await readJsonBody(c.req.raw, deps.limits);
    const checked = validate(route.body, body);
    return route.handle(c, checked);
  });
}

/** By the headers: a body that is not there looks like an empty one that has not come yet. */
function hasBody(headers: Headers): boolean {
  if (headers.has('content-type') || headers.has('transfer-encoding')) return true;
  return (headers.get('content-length') ?? '0') !== '0';
}

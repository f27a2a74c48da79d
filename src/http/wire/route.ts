// Declares routes. Each appears in the API's document, validates a request before its handler runs, and refuses it with this
// server's messages. The library's validators read bodies without a limit and use their own messages.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { deadlineError, type ErrorCode, fieldError, ServeError } from '../../common/errors.ts';
import { type Deadline, deadline } from '../../common/waiting.ts';
import { messageErrorSchema } from '../../contracts/messages.ts';
import { errorEnvelopeSchema } from '../../contracts/openai.ts';
import { readJsonBody } from './body.ts';
import { isMessagesPath } from './errors.ts';
import type { HttpLimits } from './limits.ts';
import { admitRequest, type HttpEnv } from './middleware.ts';

/** The app that routes are added to. */
export type App = OpenAPIHono<HttpEnv>;

const ERROR_STATUSES = {
  400: 'The request is invalid; `error.param` names the field',
  401: 'The key is missing or unknown',
  403: 'This key may not do that',
  404: 'Not found, or it belongs to another tenant',
  408: 'The body came too slowly',
  410: 'The session has ended, or the result was dropped',
  413: 'The body is too large',
  415: 'The body has the wrong content type or an encoding',
  422: 'The adapter cannot be served',
  429: 'A limit of this tenant is reached; see `retry-after`',
  431: 'The headers, with the query, are too large',
  500: 'The server failed',
  503: 'Overloaded, restarting, or the engine crashed with this adapter or request; see `retry-after`',
  504: 'The request was not answered within its time; see `x-request-timeout-ms`',
  507: "The server's disk is full",
};

type ErrorStatus = keyof typeof ERROR_STATUSES;

/** A response's schemas by media type. */
type ContentSchemas = Readonly<Record<string, { schema: z.ZodType }>>;

/** The method and the path of a route. Parameters are written as `{name}`. */
export type RouteName = `${'GET' | 'POST' | 'PUT' | 'DELETE'} ${string}`;

/** A route: its documentation, the input that it accepts, and its handler. `Input` is the checked query or body. */
export interface Route<Input> {
  readonly summary: string;
  /** Descriptions of parameters. */
  readonly params?: Readonly<Record<string, string>>;
  /** Query parameters. Absent if the route has none. */
  readonly query?: z.ZodType<Input>;
  readonly body?: JsonBody<Input>;
  /** The content of a body that the handler reads itself, for the document. */
  readonly content?: ContentSchemas;
  /** The response with status 200. */
  readonly response: ContentSchemas;
  /** The meaning of status 200. */
  readonly description?: string;
  /** Error statuses that do not follow from method, path and body. */
  readonly errors?: readonly ErrorStatus[];
  /** Whether requests need no key. */
  readonly isOpen?: boolean;
  /** Responses with statuses other than 200 that are not errors of the request. */
  readonly otherResponses?: Readonly<
    Record<number, { description: string; content: ContentSchemas }>
  >;
  /** Refuses a request before its query and body are read. */
  admit?(c: Context<HttpEnv>): void;
  /** Whether the handler admits the request, together with its tokens. */
  readonly admitsTokens?: true;
  /** Returns the response, or the value of a JSON response. */
  handle(c: Context<HttpEnv>, input: Input): Promise<object> | object;
  /** Called if the JSON body fails its schema or `handle` throws, before the error is sent. */
  onRefused?(c: Context<HttpEnv>, body: unknown, error: unknown): Promise<void>;
}

/** A JSON body: its schema, and the limits within which it is read. */
interface JsonBody<Input> {
  readonly schema: z.ZodType<Input>;
  readonly limits: HttpLimits;
  /** Whether a missing body means `{}`. */
  readonly isOptional?: true;
}

/** Accepts any query parameters, for routes that monitors call with their own parameters. */
export const ANY_QUERY = z.looseObject({});

/** The content of a JSON response. */
export function json(schema: z.ZodType): ContentSchemas {
  return { 'application/json': { schema } };
}

/** The content of a response that is one JSON document or a stream of events. */
export function jsonOrEvents(schema: z.ZodType, events: string): ContentSchemas {
  const stream = z.string().openapi({ description: events });
  return { ...json(schema), 'text/event-stream': { schema: stream } };
}

/** Adds a route to the app and to the API's document. */
export function addRoute<Input = unknown>(app: App, name: RouteName, route: Route<Input>): void {
  const [method, path] = name.split(' ') as [string, string];
  const { query, body } = route;
  const apiRoute = createRoute({
    method: method.toLowerCase() as 'get',
    path,
    operationId: toOperationId(name),
    summary: route.summary,
    request: toRequest(path, route),
    responses: {
      200: { description: route.description ?? 'The answer', content: route.response },
      ...toErrorResponses(name, route),
      ...route.otherResponses,
    },
  });
  app.openAPIRegistry.registerPath(apiRoute);
  app.on(method, apiRoute.getRoutingPath(), async (c) => {
    route.admit?.(c);
    using late = c.get('time') && requestDeadline(c, c.req.raw.signal);
    c.set('signal', late?.signal);
    const checkedQuery = validateQuery(query, readQuery(c));
    const content = body && (await readBody(c.req.raw, body));
    try {
      const input = body ? validateBody(body.schema, content) : checkedQuery;
      // Routes before the limits have no reservation.
      if (!route.admitsTokens && c.get('reservation')) await admitRequest(c, { tokens: 0 });
      const result = await route.handle(c, input);
      return result instanceof Response ? result : c.json(result);
    } catch (error) {
      await route.onRefused?.(c, content, error);
      throw error;
    }
  });
}

/** Returns the query. A list may be repeated or have brackets (`a[]=1&a[]=2`), and becomes `1,2`. */
function readQuery(c: Context<HttpEnv>): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, values] of Object.entries(c.req.queries())) {
    const plain = name.replace(/\[\]$/, '');
    query[plain] = [query[plain] ?? [], ...values].flat().join(',');
  }
  return query;
}

/** Returns the id, name or other parameter in the request's path. */
export function pathParam(c: Context<HttpEnv>, name: string): string {
  return c.req.param(name)!;
}

/** Returns the request's tenant and the id in its path, which together name an object. */
export function ownId(c: Context<HttpEnv>): readonly [tenant: string, id: string] {
  return [c.get('tenant').id, pathParam(c, 'id')];
}

async function readBody<Input>(
  request: Request,
  { limits, isOptional }: JsonBody<Input>,
): Promise<unknown> {
  const isAbsent = isOptional && !hasBody(request.headers);
  return isAbsent ? {} : await readJsonBody(request, limits);
}

/** Looks only at the headers: a missing body looks like an empty one that has not arrived yet. */
function hasBody(headers: Headers): boolean {
  if (headers.has('content-type') || headers.has('transfer-encoding')) return true;
  return (headers.get('content-length') ?? '0') !== '0';
}

/** Returns a name that follows from method and path, so that generated clients keep it: `getV1FilesById`. */
function toOperationId(name: RouteName): string {
  const [method, ...words] = name.replaceAll(/\{(\w+)\}/g, 'by_$1').match(/[a-zA-Z0-9]+/g)!;
  const capitalized = words.map((word) => word[0]!.toUpperCase() + word.slice(1));
  return method!.toLowerCase() + capitalized.join('');
}

function toRequest<Input>(path: string, { params, query, body, content }: Route<Input>) {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
  const paramSchemas = names.map((name) => {
    const description = params?.[name];
    return [name, z.string().openapi(description === undefined ? {} : { description })] as const;
  });
  return {
    ...(names.length > 0 && { params: z.object(Object.fromEntries(paramSchemas)) }),
    ...(query && { query: query as unknown as z.ZodObject }),
    ...(body && { body: { required: !body.isOptional, content: json(body.schema) } }),
    ...(content && { body: { required: true, content } }),
  };
}

function toErrorResponses<Input>(name: RouteName, route: Route<Input>) {
  const [, path] = name.split(' ') as [string, string];
  const content = json(isMessagesPath(path) ? messageErrorSchema : errorEnvelopeSchema);
  return Object.fromEntries(
    errorStatusesOf(name, route).map((status) => {
      return [status, { description: ERROR_STATUSES[status], content }];
    }),
  );
}

/** A body can name anything, so it can cause every error. */
function errorStatusesOf<Input>(
  name: RouteName,
  { body, content, isOpen = false, errors = [] }: Route<Input>,
): ErrorStatus[] {
  if (body || content) return Object.keys(ERROR_STATUSES).map(Number) as ErrorStatus[];
  return [
    ...([400, 431, 500, 503] as const),
    ...(isOpen ? [] : ([401, 429] as const)),
    ...(name.startsWith('GET ') ? [] : ([403] as const)),
    ...(name.includes('{') ? ([404] as const) : []),
    ...errors,
  ];
}

/** Returns the parsed body. Throws a `ServeError` whose `param` looks like `messages[2].content`. */
export function validateBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body, { reportInput: false });
  if (result.success) return result.data;
  const { issues } = result.error;
  const unknown = issues.find(({ code }) => code === 'unrecognized_keys');
  if (unknown?.code === 'unrecognized_keys') {
    throw unknownParameter([...unknown.path, unknown.keys[0]!]);
  }
  const issue = issues[0]!;
  const code =
    issue.code === 'custom' ? (issue.params?.['code'] as ErrorCode | undefined) : undefined;
  const isMissing = issue.code === 'invalid_type' && valueAt(body, issue.path) === undefined;
  const message = isMissing ? 'is required' : issue.message;
  const param = toParam(issue.path);
  if (!param) throw new ServeError(code ?? 'invalid_request', message);
  throw new ServeError(code ?? 'invalid_request', `${param}: ${message}`, { param });
}

function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown>)?.[key], body);
}

const NO_QUERY = z.strictObject({});

/** Checks query parameters. Without a schema, allows none. Ignores what Azure's and Anthropic's clients always send. */
function validateQuery<T>(
  schema: z.ZodType<T> | undefined,
  { 'api-version': _, beta: __, ...query }: Record<string, string>,
): T {
  return validateBody(schema ?? (NO_QUERY as unknown as z.ZodType<T>), query);
}

/** How many characters of a client's name an error repeats. */
const MAX_NAME_LENGTH = 64;

/** Returns the error for an unknown field or query parameter, in OpenAI's words. */
function unknownParameter(path: readonly PropertyKey[]): ServeError {
  const name = path.at(-1);
  const shown = typeof name === 'string' ? name.slice(0, MAX_NAME_LENGTH) : name;
  const param = toParam([...path.slice(0, -1), shown!]);
  return new ServeError('unknown_parameter', `Unknown parameter: '${param}'.`, { param });
}

/** Returns a field's name as errors write it. */
export function toParam(path: readonly PropertyKey[]): string {
  let param = '';
  for (const part of path) {
    if (typeof part === 'number') param += `[${part}]`;
    else param += param ? `.${String(part)}` : String(part);
  }
  return param;
}

const HEADER = 'x-request-timeout-ms';
const MAX_MS = 24 * 3_600_000;

/** Starts the request's time. Throws `ServeError` if the header is not a whole number of milliseconds of at most a day. */
export function startRequestTime(c: Context<HttpEnv>, { requestTimeoutMs }: HttpLimits): void {
  const header = c.req.header(HEADER);
  const ms = header === undefined ? requestTimeoutMs : Number(header);
  const isValid = header === undefined || /^[1-9]\d{0,8}$/.test(header);
  if (!isValid || ms > MAX_MS) {
    throw fieldError(HEADER, `must be a whole number of milliseconds from 1 to ${MAX_MS}`);
  }
  c.set('time', { ms, endsAtMs: performance.now() + ms });
}

/** Returns a signal that aborts with the given signal, or with a `ServeError` when the request's time is over. */
export function requestDeadline(c: Context<HttpEnv>, signal: AbortSignal): Deadline {
  const time = c.get('time');
  const leftMs = Math.max(0, time.endsAtMs - performance.now());
  return deadline(leftMs, deadlineError(time), { signal });
}

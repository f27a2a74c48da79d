// The app with all optional parts, its document, and the Markdown table of docs/routes.md: every route, as the app serves it.
// Whether a route needs a key is what the app answers without one, and with one that is not an admin's.
import type { LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import type { Registry } from '../../adapters/registry/registry.ts';
import { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import { createLog } from '../../src/common/log.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { createApp } from '../../src/http/app.ts';
import type { AppOptions, JobsSide, LineUsers, PublishedSide } from '../../src/http/deps.ts';
import { createAuthenticate } from '../../src/tenants/access.ts';

const PAGE = 'A [web page](pages.md)';
/** Routes that are not in the API's document. */
const OTHER_SUMMARIES: Readonly<Record<string, string>> = {
  '/': PAGE,
  '/fine-tuning': PAGE,
  '/adapters': PAGE,
  '/status': PAGE,
  '/usage': PAGE,
  '/docs': PAGE,
  '/openapi.json': 'The description of the API (OpenAPI 3.1)',
};

/** A schema of the document. */
export interface DocumentedSchema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, DocumentedSchema>>;
  readonly required?: readonly string[];
  readonly [keyword: string]: unknown;
}

interface Content {
  readonly description?: string;
  readonly content?: Readonly<
    Record<string, { readonly schema: DocumentedSchema; readonly example?: object }>
  >;
}

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly tags: readonly string[];
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly schema: DocumentedSchema;
  }[];
  readonly requestBody?: Content;
  readonly responses: Readonly<Record<string, Content>>;
}

/** The parts of the document that tests read. */
export interface ApiDocument {
  readonly openapi: string;
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, DocumentedSchema>>;
    readonly securitySchemes: Readonly<Record<string, object>>;
  };
}

const headers = { authorization: 'Bearer key' };

/** Returns the app with all optional parts and its document. */
export async function documentedApp() {
  const app = createApp(options());
  const response = await app.request('/openapi.json', { headers });
  return { app, document: (await response.json()) as ApiDocument };
}

/** Lists the operations of a document with their names, such as `GET /v1/models`. */
export function operationsOf({ paths }: ApiDocument) {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      ...operation,
    })),
  );
}

/** The keywords whose value is a schema or a list of schemas. */
const NESTING = ['items', 'additionalProperties', 'not', 'anyOf', 'oneOf', 'allOf', 'prefixItems'];

/** Lists a schema and the schemas in it, each with its path. A schema that a reference names is listed once. */
export function schemasIn(
  document: ApiDocument,
  schema: DocumentedSchema,
  path: string,
  seen = new Set<string>(),
): { path: string; schema: DocumentedSchema }[] {
  const { $ref, properties = {} } = schema;
  const inside = (part: DocumentedSchema, name = '') =>
    schemasIn(document, part, path + name, seen);
  const named = $ref?.replace('#/components/schemas/', '');
  const isNew = named !== undefined && !seen.has(named);
  if (isNew) seen.add(named);
  const nested = NESTING.flatMap((keyword) => [schema[keyword] ?? []].flat());
  return [
    { path, schema },
    ...(isNew ? inside(document.components.schemas[named]!) : []),
    ...Object.entries(properties).flatMap(([name, part]) => inside(part, `.${name}`)),
    ...nested.flatMap((part) =>
      typeof part === 'object' ? inside(part as DocumentedSchema, '[]') : [],
    ),
  ];
}

/** Returns the table. */
export async function routeTable(): Promise<string> {
  const { app, document } = await documentedApp();
  const rows: string[] = [];
  for (const { method, path } of app.routes) {
    const shown = path.replace(/:(\w+)/g, '{$1}');
    const summary =
      document.paths[shown]?.[method.toLowerCase()]?.summary ?? OTHER_SUMMARIES[shown];
    if (method === 'ALL' || shown === '/pages/{file}') continue;
    if (summary === undefined) throw new Error(`${method} ${path} has no summary`);
    const open = await app.request(path, { method });
    const keyed = await app.request(path, { method, headers });
    const key = open.status === 401 ? (keyed.status === 403 ? 'admin' : 'yes') : 'no';
    const meaning = summary.replace(' (admin)', '').replaceAll('|', '\\|');
    rows.push(`| \`${method} ${shown}\` | ${key} | ${meaning} |\n`);
  }
  return `| route | key | what it does |\n|---|---|---|\n${[...new Set(rows)].join('')}`;
}

/** Parts that no route touches before it has checked key and body. A handler that does fails, which is not looked at. */
export const OPTIONAL_PARTS = {
  loaded: {} as LoadedAdapters,
  published: {} as PublishedSide,
  jobs: { files: {}, service: {}, uploads: {} } as JobsSide,
  batches: {} as NonNullable<LineUsers['batches']>,
  usage: {} as NonNullable<AppOptions['usage']>,
  tinker: {} as NonNullable<LineUsers['tinker']>,
  keptResponses: {} as NonNullable<AppOptions['keptResponses']>,
  conversations: {} as NonNullable<AppOptions['conversations']>,
  listTenants: () => [],
};

function options(): AppOptions {
  return {
    ...OPTIONAL_PARTS,
    client: { state: 'ready', isProgressing: true } as AppOptions['client'],
    registry: {} as Registry,
    localAdapters: new LocalAdapters(),
    tokenizer: undefined,
    chatTemplate: undefined,
    model: {
      id: 'base',
      baseDigest: '',
      maxSeqLength: 1,
      vocabSize: 1,
      hiddenSize: 1,
      eosTokenIds: [],
    },
    log: createLog('silent'),
    authenticate: createAuthenticate({
      find: (key) => (key === 'key' ? { ...LOCAL_TENANT, isAdmin: false } : undefined),
    }),
  };
}

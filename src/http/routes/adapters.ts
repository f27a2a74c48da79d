// /v1/adapters: published adapters with their versions, aliases and files. A tenant sees its own adapters and the shared ones,
// and may change its own. An admin key may change shared ones. Other tenants' adapters look as if they did not exist.
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import {
  type AliasPointer,
  pointerOf,
  type VersionManifest,
} from '../../../adapters/repository/manifest.ts';
import { toListedVersion } from '../../../adapters/repository/name-index.ts';
import { ServeError } from '../../common/errors.ts';
import { type Page, unknownAfter } from '../../common/page.ts';
import {
  type Adapter,
  adapterListSchema,
  adapterSchema,
  deletedAdapterSchema,
} from '../../contracts/management-api.ts';
import { errorEnvelopeSchema } from '../../contracts/openai.ts';
import { mayUseAdapter, SHARED_OWNER, type Tenant } from '../../contracts/tenant.ts';
import type { Deps, PublishedSide } from '../deps.ts';
import {
  type AdapterListQuery,
  adapterListQuery,
  changeAboutSchema,
  moveAliasSchema,
  ownerQuery,
  rollbackSchema,
} from '../schema/published.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type App, addRoute, json, pathParam } from '../wire/route.ts';
import { type PublishedName, toAdapter, toListResponse } from './api-objects.ts';

const NAME = '/v1/adapters/{name}';
const ALIAS = `${NAME}/aliases/{alias}`;
const VERSION = `${NAME}/versions/{version}`;

/** The names of a version's two files in a path. */
const FILES: readonly (keyof VersionManifest['files'])[] = [
  'adapter_config.json',
  'adapter_model.safetensors',
];

/** The adapter that a request names, and its owner. */
interface AdapterOfOwner {
  readonly tenant: string;
  readonly name: string;
}

/** Adds the routes. */
export function addPublishedRoutes(app: App, deps: Deps, side: PublishedSide): void {
  addReading(app, deps, side);
  addChanges(app, deps, side);
  addRemoval(app, side);
  addDownload(app, side);
}

function addReading(app: App, deps: Deps, side: PublishedSide) {
  const { repository } = side;
  const describe = (entry: PublishedName) => toPublishedAdapter(entry, deps);
  addRoute(app, 'GET /v1/adapters', {
    summary: 'List your published adapters and the shared ones, with versions and aliases',
    query: adapterListQuery,
    response: json(adapterListSchema),
    handle: async (c, query) => toListResponse(await listPage(c.var.tenant, query, side), describe),
  });
  addRoute(app, `GET ${NAME}`, {
    summary: 'Get one published adapter',
    query: ownerQuery,
    response: json(adapterSchema),
    async handle(c, { owner }) {
      const entry = await readName(c.var.tenant, namedIn(c, owner), repository);
      if (!entry) throw unknownAdapter();
      return describe(entry);
    },
  });
}

function addChanges(app: App, deps: Deps, { repository, forget }: PublishedSide): void {
  const describeNow = async (c: Context<HttpEnv>, adapter: AdapterOfOwner) => {
    forget(adapter.tenant, adapter.name);
    const entry = await readName(c.var.tenant, adapter, repository);
    if (!entry) throw unknownAdapter();
    return toPublishedAdapter(entry, deps);
  };
  addRoute(app, `POST ${NAME}`, {
    summary: 'Change the description, the tags or the example prompts of an adapter',
    body: { schema: changeAboutSchema, limits: deps.limits },
    response: json(adapterSchema),
    otherResponses: {
      412: {
        description: 'Someone else has changed it since the revision in the body',
        content: json(errorEnvelopeSchema),
      },
    },
    async handle(c, { owner, ...change }) {
      const adapter = writableIn(c, owner);
      await repository.changeAbout(adapter, change);
      return describeNow(c, adapter);
    },
  });
  addRoute(app, `POST ${ALIAS}`, {
    summary: 'Point an alias at a version, or at a split between versions',
    body: { schema: moveAliasSchema, limits: deps.limits },
    response: json(adapterSchema),
    async handle(c, { owner, version, split }) {
      const adapter = writableIn(c, owner);
      const pointer: AliasPointer = split ? { split } : { version: version! };
      await repository.moveAlias(adapter, pathParam(c, 'alias'), pointer);
      return describeNow(c, adapter);
    },
  });
  addRoute(app, `POST ${ALIAS}/rollback`, {
    summary: 'Point an alias at what it pointed at before its last change',
    body: { schema: rollbackSchema, limits: deps.limits, isOptional: true },
    response: json(adapterSchema),
    async handle(c, { owner }) {
      const adapter = writableIn(c, owner);
      await repository.rollback(adapter, pathParam(c, 'alias'));
      return describeNow(c, adapter);
    },
  });
}

function addRemoval(app: App, { repository, forget }: PublishedSide): void {
  const add = (
    path: string,
    summary: string,
    remove: (adapter: AdapterOfOwner, c: Context<HttpEnv>) => Promise<string>,
  ) =>
    addRoute(app, `DELETE ${path}`, {
      summary,
      query: ownerQuery,
      response: json(deletedAdapterSchema),
      async handle(c, { owner }) {
        const adapter = writableIn(c, owner);
        const id = `${adapter.tenant}/${await remove(adapter, c)}`;
        forget(adapter.tenant, adapter.name);
        return { id, object: 'adapter' as const, deleted: true as const };
      },
    });
  add(NAME, 'Delete an adapter with all its versions and aliases', async (adapter) => {
    await repository.removeName(adapter);
    return adapter.name;
  });
  add(VERSION, 'Delete a version; refused while an alias points at it', async (adapter, c) => {
    const version = versionIn(c);
    await repository.removeVersion(adapter, version);
    return `${adapter.name}@${version}`;
  });
  add(ALIAS, 'Delete an alias; its versions stay', async (adapter, c) => {
    const alias = pathParam(c, 'alias');
    const state = await repository.readAliases(adapter.tenant, adapter.name);
    if (!state || !pointerOf(state.aliases.aliases, alias)) {
      throw new ServeError('not_found', 'The adapter has no such alias.', { param: 'alias' });
    }
    await repository.moveAlias(adapter, alias, undefined);
    return `${adapter.name}:${alias}`;
  });
}

function addDownload(app: App, { repository }: PublishedSide): void {
  addRoute(app, `GET ${VERSION}/files/{file}`, {
    summary: `Download a file of a version: ${FILES.join(' or ')}`,
    query: ownerQuery,
    response: { 'application/octet-stream': { schema: z.string() } },
    async handle(c, { owner }) {
      const { tenant, name } = namedIn(c, owner);
      const file = FILES.find((one) => one === c.req.param('file'));
      const manifest = await repository.readManifest(tenant, name, versionIn(c));
      if (!manifest || !file) throw unknownAdapter();
      const headers = {
        'content-type': 'application/octet-stream',
        'content-length': String(manifest.files[file].byteSize),
        'content-disposition': `attachment; filename="${file}"`,
      };
      // Nobody would read or close the file of a HEAD request.
      if (c.req.method === 'HEAD') return c.body(null, 200, headers);
      const { body } = await repository.openFile(manifest, file);
      return c.body(ReadableStream.from(body), 200, headers);
    },
  });
}

function toPublishedAdapter(entry: PublishedName, { model, telemetry }: Deps): Adapter {
  const { owner, name } = entry;
  return toAdapter(entry, {
    baseDigest: model.baseDigest,
    lastUsedMs: telemetry.lastUseOf(owner, name),
    trafficOf: (version) => telemetry.traffic.of({ owner, name, version }),
  });
}

/** Returns the adapter that the path names. Throws `ServeError` if the tenant may not see it. */
function namedIn(c: Context<HttpEnv>, requestedOwner: string | undefined): AdapterOfOwner {
  const { tenant } = c.var;
  const name = pathParam(c, 'name');
  const owner = requestedOwner ?? tenant.id;
  const isKnown = owner === tenant.id || owner === SHARED_OWNER;
  if (!isKnown || !mayUseAdapter(tenant, name)) throw unknownAdapter();
  return { tenant: owner, name };
}

/** Returns the adapter that the path names. Throws `ServeError` if the tenant may not change it. */
function writableIn(c: Context<HttpEnv>, requestedOwner: string | undefined): AdapterOfOwner {
  const adapter = namedIn(c, requestedOwner);
  if (isWritable(c.var.tenant, adapter.tenant)) return adapter;
  throw new ServeError('forbidden', 'Only an admin key can change shared adapters.', {
    param: 'owner',
  });
}

function isWritable({ id, isAdmin }: Tenant, owner: string): boolean {
  return owner === id || isAdmin;
}

function versionIn(c: Context): number {
  const text = pathParam(c, 'version');
  if (!/^[1-9]\d{0,8}$/.test(text)) throw unknownAdapter();
  return Number(text);
}

/** Returns a page of the tenant's own adapters and then the shared ones, both by name. */
async function listPage(
  tenant: Tenant,
  { search = '', after, limit }: AdapterListQuery,
  side: PublishedSide,
): Promise<Page<PublishedName>> {
  const owners = [...new Set([tenant.id, SHARED_OWNER])];
  const [afterOwner = owners[0]!, afterName = ''] = after?.split('/') ?? [];
  const first = owners.indexOf(afterOwner);
  if (first < 0) throw unknownAfter();
  const text = search.toLowerCase();
  const found: PublishedName[] = [];
  for (const owner of owners.slice(first)) {
    const from = owner === afterOwner ? afterName : '';
    const accept = (name: string) =>
      !(after !== undefined && name === from) &&
      mayUseAdapter(tenant, name) &&
      name.toLowerCase().includes(text);
    const { names } = await side.page(owner, { from, limit: limit + 1 - found.length, accept });
    for (const { name, entry } of names) {
      const { versions, ...aliases } = entry;
      found.push({ owner, name, isWritable: isWritable(tenant, owner), aliases, versions });
    }
    if (found.length > limit) break;
  }
  return { items: found.slice(0, limit), hasMore: found.length > limit };
}

async function readName(
  tenant: Tenant,
  adapter: AdapterOfOwner,
  repository: PublishedSide['repository'],
): Promise<PublishedName | undefined> {
  const [versions, state] = await Promise.all([
    repository.listVersions(adapter.tenant, adapter.name),
    repository.readAliases(adapter.tenant, adapter.name),
  ]);
  if (versions.length === 0) return undefined;
  const aliases = state?.aliases ?? { aliases: {}, previous: {} };
  return {
    owner: adapter.tenant,
    name: adapter.name,
    isWritable: isWritable(tenant, adapter.tenant),
    aliases,
    versions: versions.map(toListedVersion),
  };
}

/** The same error for unknown names, malformed names and other tenants' names. */
function unknownAdapter(): ServeError {
  return new ServeError(
    'not_found',
    'Unknown adapter, version or file. GET /v1/adapters lists yours.',
  );
}

// /v1/adapters: published adapters as their owner manages them: versions, aliases, files. A tenant sees its own and the
// shared ones and changes its own; shared ones are changed with an admin key. What is another's is as unknown.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import {
  type AliasPointer,
  pointerOf,
  type VersionManifest,
} from '../../../adapters/repository/manifest.ts';
import { ServeError } from '../../common/errors.ts';
import { mapBounded } from '../../common/map-bounded.ts';
import {
  adapterListSchema,
  adapterSchema,
  deletedAdapterSchema,
} from '../../contracts/management-api.ts';
import { mayUseAdapter, SHARED_OWNER, type Tenant } from '../../contracts/tenant.ts';
import type { Deps, PublishedSide } from '../deps.ts';
import { addRoute } from '../described-route.ts';
import { addJsonRoute } from '../json-route.ts';
import { toListAnswer } from '../list-answer.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { type PublishedName, toAdapter } from '../published-answers.ts';
import {
  type AdapterListQuery,
  adapterListQuery,
  type MoveAliasBody,
  moveAliasSchema,
  type OwnerQuery,
  ownerQuery,
  rollbackSchema,
} from '../schema/published.ts';

const NAME = '/v1/adapters/{name}';
const ALIAS = `${NAME}/aliases/{alias}`;
const VERSION = `${NAME}/versions/{version}`;

const adapterAnswer = { 'application/json': { schema: adapterSchema } };
const deletedAnswer = { 'application/json': { schema: deletedAdapterSchema } };

/** The version's two files, as a path names them. */
const FILES: readonly (keyof VersionManifest['files'])[] = [
  'adapter_config.json',
  'adapter_model.safetensors',
];

/** An adapter's name in a request, and whose it is. */
interface Named {
  readonly tenant: string;
  readonly name: string;
}

export function addPublishedRoutes(
  app: OpenAPIHono<HttpEnv>,
  deps: Deps,
  side: PublishedSide,
): void {
  addReading(app, deps, side);
  addAliases(app, deps, side);
  addRemoval(app, side);
  addDownload(app, side);
}

function addReading(app: OpenAPIHono<HttpEnv>, { model }: Deps, { repository }: PublishedSide) {
  const answer = (found: PublishedName) => toAdapter(found, model.baseDigest);
  addRoute<AdapterListQuery>(app, {
    method: 'get',
    path: '/v1/adapters',
    summary: 'List your published adapters and the shared ones, with versions and aliases',
    query: adapterListQuery,
    answers: { 'application/json': { schema: adapterListSchema } },
    errors: [400, 401, 503],
    async handle(c, query) {
      const { items, hasMore } = pageOf(await listAll(c.var.tenant, repository), query);
      const read = await mapBounded(items, (of) => readName(c.var.tenant, of, repository));
      const found = read.filter((one) => one !== undefined); // others were removed meanwhile
      return c.json(toListAnswer({ items: found, hasMore }, answer));
    },
  });
  addRoute<OwnerQuery>(app, {
    method: 'get',
    path: NAME,
    summary: 'Get one published adapter',
    query: ownerQuery,
    answers: adapterAnswer,
    errors: [400, 401, 404, 503],
    async handle(c, { owner }) {
      const found = await readName(c.var.tenant, namedIn(c, owner), repository);
      if (!found) throw noAdapter();
      return c.json(answer(found));
    },
  });
}

function addAliases(
  app: OpenAPIHono<HttpEnv>,
  deps: Deps,
  { repository, forget }: PublishedSide,
): void {
  const answer = async (c: Context<HttpEnv>, of: Named) => {
    forget(of.tenant, of.name);
    const found = await readName(c.var.tenant, of, repository);
    if (!found) throw noAdapter();
    return c.json(toAdapter(found, deps.model.baseDigest));
  };
  const params = z.object({ name: z.string(), alias: z.string() });
  addJsonRoute<MoveAliasBody>(app, deps, {
    path: ALIAS,
    params,
    summary: 'Lead an alias to a version, or to a split between versions',
    body: moveAliasSchema,
    answers: adapterAnswer,
    async handle(c, { owner, version, split }) {
      const of = writableIn(c, owner);
      const pointer: AliasPointer = split ? { split } : { version: version! };
      await repository.moveAlias(of, c.req.param('alias')!, pointer);
      return answer(c, of);
    },
  });
  addJsonRoute<OwnerQuery>(app, deps, {
    path: `${ALIAS}/rollback`,
    params,
    summary: 'Lead an alias back to where it led before its last change',
    body: rollbackSchema,
    isBodyOptional: true,
    answers: adapterAnswer,
    async handle(c, { owner }) {
      const of = writableIn(c, owner);
      await repository.rollback(of, c.req.param('alias')!);
      return answer(c, of);
    },
  });
}

function addRemoval(app: OpenAPIHono<HttpEnv>, { repository, forget }: PublishedSide): void {
  const add = (
    path: string,
    summary: string,
    remove: (of: Named, c: Context<HttpEnv>) => Promise<string>,
  ) =>
    addRoute<OwnerQuery>(app, {
      method: 'delete',
      path,
      summary,
      query: ownerQuery,
      answers: deletedAnswer,
      errors: [400, 401, 403, 404, 503],
      async handle(c, { owner }) {
        const of = writableIn(c, owner);
        const id = `${of.tenant}/${await remove(of, c)}`;
        forget(of.tenant, of.name);
        return c.json({ id, object: 'adapter' as const, deleted: true as const });
      },
    });
  add(NAME, 'Delete an adapter with all its versions and aliases', async (of) => {
    await repository.removeName(of);
    return of.name;
  });
  add(VERSION, 'Delete a version; refused while an alias leads to it', async (of, c) => {
    const version = versionIn(c);
    await repository.removeVersion(of, version);
    return `${of.name}@${version}`;
  });
  add(ALIAS, 'Delete an alias; its versions stay', async (of, c) => {
    const alias = c.req.param('alias')!;
    const found = await repository.readAliases(of.tenant, of.name);
    if (!found || !pointerOf(found.aliases.aliases, alias)) {
      throw new ServeError('not_found', 'The adapter has no such alias.', { param: 'alias' });
    }
    await repository.moveAlias(of, alias, undefined);
    return `${of.name}:${alias}`;
  });
}

function addDownload(app: OpenAPIHono<HttpEnv>, { repository }: PublishedSide): void {
  addRoute<OwnerQuery>(app, {
    method: 'get',
    path: `${VERSION}/files/{file}`,
    summary: `Download a file of a version: ${FILES.join(' or ')}`,
    query: ownerQuery,
    answers: { 'application/octet-stream': { schema: z.string() } },
    errors: [400, 401, 404, 503],
    async handle(c, { owner }) {
      const { tenant, name } = namedIn(c, owner);
      const file = FILES.find((one) => one === c.req.param('file'));
      const manifest = await repository.readManifest(tenant, name, versionIn(c));
      if (!manifest || !file) throw noAdapter();
      const { body } = await repository.openFile(manifest, file);
      return c.body(ReadableStream.from(body), 200, {
        'content-type': 'application/octet-stream',
        'content-length': String(manifest.files[file].byteSize),
        'content-disposition': `attachment; filename="${file}"`,
      });
    },
  });
}

/** The adapter that a path names, if the tenant may know of it. */
function namedIn(c: Context<HttpEnv>, asked: string | undefined): Named {
  const { tenant } = c.var;
  const name = c.req.param('name')!;
  const owner = asked ?? tenant.id;
  const isKnown = owner === tenant.id || owner === SHARED_OWNER;
  if (!isKnown || !mayUseAdapter(tenant, name)) throw noAdapter();
  return { tenant: owner, name };
}

/** The same, if the tenant may change it. */
function writableIn(c: Context<HttpEnv>, asked: string | undefined): Named {
  const of = namedIn(c, asked);
  if (isWritable(c.var.tenant, of.tenant)) return of;
  throw new ServeError('forbidden', 'Shared adapters are changed with an admin key.', {
    param: 'owner',
  });
}

function isWritable({ id, isAdmin }: Tenant, owner: string): boolean {
  return owner === id || isAdmin;
}

function versionIn(c: Context): number {
  const text = c.req.param('version')!;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw noAdapter();
  return Number(text);
}

/** The tenant's own names first, each owner's in order. */
async function listAll(tenant: Tenant, repository: PublishedSide['repository']): Promise<Named[]> {
  const owners = [...new Set([tenant.id, SHARED_OWNER])];
  const lists = await Promise.all(owners.map((owner) => repository.listNames(owner)));
  return owners.flatMap((owner, i) =>
    lists[i]!.filter((name) => mayUseAdapter(tenant, name)).map((name) => ({
      tenant: owner,
      name,
    })),
  );
}

function pageOf(all: readonly Named[], { after, limit, search = '' }: AdapterListQuery) {
  const wanted = search.toLowerCase();
  const found = all.filter(({ name }) => name.toLowerCase().includes(wanted));
  const at = found.findIndex(({ tenant, name }) => `${tenant}/${name}` === after);
  if (after !== undefined && at < 0) {
    throw new ServeError('invalid_request', 'after: is no adapter of this list.', {
      param: 'after',
    });
  }
  const items = found.slice(at + 1, at + 1 + limit);
  return { items, hasMore: at + 1 + limit < found.length };
}

async function readName(
  tenant: Tenant,
  of: Named,
  repository: PublishedSide['repository'],
): Promise<PublishedName | undefined> {
  const [versions, found] = await Promise.all([
    repository.listVersions(of.tenant, of.name),
    repository.readAliases(of.tenant, of.name),
  ]);
  if (versions.length === 0) return undefined;
  const aliases = found?.aliases ?? { aliases: {}, previous: {} };
  return {
    owner: of.tenant,
    name: of.name,
    isWritable: isWritable(tenant, of.tenant),
    aliases,
    versions,
  };
}

/** One answer for unknown, malformed and foreign. */
function noAdapter(): ServeError {
  return new ServeError('not_found', 'There is no such adapter, version or file.');
}

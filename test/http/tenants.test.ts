// One tenant can learn nothing about another's adapters and can't affect them (T03, T09, I10). Names take the real path from
// the key to the files on disk, over a store in memory that counts calls.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import { Registry } from '../../adapters/registry/registry.ts';
import { adapterIdentity } from '../../adapters/registry/resolved.ts';
import { StoreAdapters } from '../../adapters/registry/store-registry.ts';
import type { VersionManifest } from '../../adapters/repository/manifest.ts';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { DiskTier } from '../../adapters/tiers/disk.ts';
import { Fetcher } from '../../adapters/tiers/fetcher.ts';
import { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import { createLog } from '../../src/common/log.ts';
import type { ModelList } from '../../src/contracts/openai.ts';
import { writeAdapter } from '../adapters/repository/shelf.ts';
import { temporaryFolder } from '../fixtures.ts';
import { type Keyed, serveKeyed } from './keyed.ts';
import { readError, readOk, TOY, utf8 } from './served.ts';

const folder = temporaryFolder({ after });

/** The store, and the keys that it was asked for. */
function watched(store: ObjectStore, asked: string[]): ObjectStore {
  return new Proxy(store, {
    get(target, name) {
      const member = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        asked.push(`${String(name)} ${args[0]}`);
        return Reflect.apply(member, target, args);
      };
    },
  });
}

const asked: string[] = [];
const store = watched(createMemoryStore(), asked);
const repository = createRepository(store);
const log = createLog('silent');
const disk = new DiskTier({ root: path.join(folder, 'disk'), capacityBytes: 2 ** 30 });
const localAdapters = new LocalAdapters({ fetcher: new Fetcher({ store, log }), disks: [disk] });
after(() => localAdapters.close());
const loaded = new LoadedAdapters(folder, { baseNames: [TOY.id] });
const registry = new Registry({
  base: TOY,
  local: [loaded],
  store: new StoreAdapters(repository, { pollMs: 60_000 }),
});
const served: Keyed = serveKeyed({
  tenants: {
    acme: { defaultModel: 'secret:stable' },
    bravo: { defaultModel: 'zen' },
    narrow: { allowedAdapters: ['z*'] },
    ops: {},
  },
  admins: ['ops'],
  registry,
  localAdapters,
  loaded,
  reply: (_, key) => utf8(key ?? 'base'),
});
const { ask } = served;

const versions: Record<string, VersionManifest> = {};
let seed = 0;
async function publish(tenant: string, name: string, aliases: string[] = []): Promise<void> {
  const directory = writeAdapter(folder, ++seed);
  const options = { aliases, baseDigest: TOY.digest };
  const published = await repository.publish({ tenant, name }, { directory }, options);
  versions[`${tenant}/${name}`] = published;
}

const COMPLETIONS = '/v1/completions';
const CHAT = '/v1/chat/completions';

/** Every way to say a model's name. */
const WAYS: Record<string, (tenant: string, model: string) => Promise<Response>> = {
  completion: (tenant, model) => ask(tenant, COMPLETIONS, { model, prompt: 'a', max_tokens: 64 }),
  stream: (tenant, model) =>
    ask(tenant, COMPLETIONS, { model, prompt: 'a', max_tokens: 64, stream: true }),
  chat: (tenant, model) =>
    ask(tenant, CHAT, { model, messages: [{ role: 'user', content: 'a' }], max_tokens: 64 }),
  prefetch: (tenant, model) =>
    ask(tenant, `/v1/adapters/${encodeURIComponent(model)}/prefetch`, {}),
  description: (tenant, model) => ask(tenant, `/v1/models/${encodeURIComponent(model)}`),
  removal: (tenant, model) =>
    ask(tenant, `/v1/models/${encodeURIComponent(model)}`, undefined, { method: 'DELETE' }),
};

/** All that a client sees of an answer, but its id. */
async function seen(response: Response): Promise<unknown> {
  const headers = [...response.headers].filter(([name]) => name !== 'x-request-id');
  return { status: response.status, headers, body: await response.text() };
}

before(async () => {
  await publish('acme', 'zen');
  await publish('acme', 'secret', ['stable', 'job-1']);
  await publish('bravo', 'zen');
  await publish('narrow', 'zen');
  await publish('shared', 'greeter');
  // Warm in every cache that there is.
  for (const model of ['zen', 'secret', 'secret@1', 'secret:stable', 'ft:toy:acme:secret:job-1']) {
    for (const way of ['completion', 'description']) {
      assert.equal((await WAYS[way]!('acme', model)).status, 200, model);
    }
  }
});

describe('two tenants with an adapter of the same name', () => {
  for (const tenant of ['acme', 'bravo', 'narrow']) {
    test(`give ${tenant} its own`, async () => {
      const { digest } = versions[`${tenant}/zen`]!;
      const response = await WAYS['completion']!(tenant, 'zen');
      assert.equal(response.headers.get('x-lorikeet-adapter'), digest);
      const { choices } = await readOk<{ choices: { text: string }[] }>(response);
      const identity = adapterIdentity([{ owner: tenant, digest, weight: 1 }]);
      assert.equal(choices[0]!.text, identity);
    });
  }

  test('have each its own default', async () => {
    for (const [tenant, name] of [
      ['acme', 'secret'],
      ['bravo', 'zen'],
    ] as const) {
      const response = await WAYS['completion']!(tenant, 'default');
      const { digest } = versions[`${tenant}/${name}`]!;
      assert.equal(response.headers.get('x-lorikeet-adapter'), digest);
    }
    const base = await WAYS['completion']!('narrow', 'default');
    assert.equal(base.headers.get('x-lorikeet-adapter'), null);
  });
});

describe("another tenant's adapter", () => {
  const digest = () => versions['acme/secret']!.digest;
  const GUESSES: readonly (() => string)[] = [
    ...['secret', 'secret@1', 'secret@2', 'secret:latest', 'secret:stable', 'secret:job-1'],
    ...['ft:toy:acme:secret:job-1', 'ft:toy:acme::secret', 'ft:toy:bravo:secret:job-1'],
    ...['ft:toy:acme:secret:job-1:ckpt-step-1', 'ft:base:acme:secret:job-1', 'ft:toy:acme:zen:x'],
    ...['acme/secret', 'acme:secret', 'acme@secret', '../acme/secret', 'bravo/../acme/secret'],
    ...['..%2facme%2fsecret', 'acme\\secret', '/acme/secret', './secret', 'secret/', 'secret/1'],
    ...['SECRET', 'Secret', ' secret', 'secret ', 'secret\0', 'secret%00', 's\u0435cret', 'ѕecret'],
    ...['zen+secret', '0.5*secret', 'zen+0*secret', 'secret+secret', '', 'x'.repeat(300)],
    ...['sec', 'secre', 'secret*', '*', 'secret-2', 'constructor', '__proto__'],
    ...['zen+0.5*ft:toy:acme:secret:job-1'],
    ...['s3://bucket/acme/secret', 'file:///acme/secret', 'http://127.0.0.1/secret'],
  ].map((text) => () => text);
  const all = [...GUESSES, digest, () => digest().slice(0, 12), () => `secret@${digest()}`];

  for (const [way, say] of Object.entries(WAYS)) {
    test(`T03, T09, I10: is, in a ${way}, as unknown as one that never was`, async () => {
      const unknown = await seen(await say('bravo', 'never-was'));
      assert.equal((unknown as { status: number }).status, 404);
      for (const guess of all) {
        const model = guess();
        if (model === '' && way !== 'completion') continue; // another route
        assert.deepEqual(await seen(await say('bravo', model)), unknown, JSON.stringify(model));
      }
    });
  }

  test('is still there for its owner after all that', async () => {
    assert.equal((await WAYS['completion']!('acme', 'secret@1')).status, 200);
  });

  test('T03: is not looked up, so its answer takes as long as that of an unknown name', async () => {
    const trace = async (model: string) => {
      asked.length = 0;
      const { fetching, hits } = localAdapters.stats();
      await seen(await WAYS['completion']!('bravo', model));
      const after = localAdapters.stats();
      assert.deepEqual([after.hits, after.fetching], [hits, fetching]);
      return asked.map((call) => call.replaceAll(model, '…'));
    };
    await publish('acme', 'hidden');
    assert.equal((await WAYS['completion']!('acme', 'hidden')).status, 200);
    const [unknown, foreign] = [await trace('missing'), await trace('hidden')];
    assert.ok(unknown.length > 0);
    assert.deepEqual(foreign, unknown);
    assert.ok(foreign.every((call) => !call.includes('acme')));
    const isQuiet = await trace('ft:toy:acme:hidden:job-1');
    assert.deepEqual(isQuiet, await trace('ft:toy:nobody:hidden:job-1'));
  });

  test('is in no list', async () => {
    const ids = async (tenant: string) => {
      const { data } = await readOk<ModelList>(await ask(tenant, '/v1/models'));
      return data.map(({ id, owned_by: owner }) => `${owner}/${id}`);
    };
    assert.deepEqual(await ids('bravo'), ['lorikeet/toy', 'shared/greeter', 'bravo/zen']);
    assert.deepEqual(await ids('narrow'), ['lorikeet/toy', 'narrow/zen']);
    assert.deepEqual(await ids('ops'), ['lorikeet/toy', 'shared/greeter']);
  });
});

describe('shared adapters', () => {
  test('can be used by tenants that are allowed its name, and is unknown to others', async () => {
    assert.equal((await WAYS['completion']!('bravo', 'greeter')).status, 200);
    for (const model of ['greeter', 'greeter@1', 'zen+greeter', 'ft:toy:shared:greeter:latest']) {
      const unknown = await seen(await WAYS['completion']!('narrow', 'never-was'));
      assert.deepEqual(await seen(await WAYS['completion']!('narrow', model)), unknown);
    }
  });

  test('is removed by nobody but its operator', async () => {
    for (const model of ['greeter', 'greeter@1', 'greeter:latest']) {
      const unknown = await seen(await WAYS['removal']!('bravo', 'never-was'));
      assert.deepEqual(await seen(await WAYS['removal']!('bravo', model)), unknown);
    }
    assert.equal((await WAYS['completion']!('bravo', 'greeter')).status, 200);
  });
});

describe('an admin key', () => {
  const load = (tenant: string, name: string) => {
    const body = { lora_name: name, lora_path: writeAdapter(folder, ++seed) };
    return ask(tenant, '/v1/load_lora_adapter', body);
  };

  test('opens the admin routes, which are closed to others whatever they ask', async () => {
    const isForbidden = async (response: Response) => {
      assert.equal(response.status, 403);
      assert.equal((await readError(response)).code, 'forbidden');
    };
    assert.equal((await ask('ops', '/metrics')).status, 200);
    await isForbidden(await ask('bravo', '/metrics'));
    await isForbidden(await load('bravo', 'mine'));
    for (const path of ['/v1/load_lora_adapter', '/v1/unload_lora_adapter']) {
      for (const name of ['secret', 'never-was']) {
        await isForbidden(await ask('bravo', path, { lora_name: name }));
      }
      await isForbidden(await ask('bravo', path, undefined, { method: 'POST', body: '<' }));
    }
  });

  test('opens no adapters of others', async () => {
    for (const model of ['secret', 'ft:toy:acme:secret:job-1']) {
      assert.equal((await WAYS['completion']!('ops', model)).status, 404);
    }
  });

  test("loads a folder for everybody, but in no place of a tenant's own name", async () => {
    const before = await WAYS['completion']!('acme', 'zen');
    assert.equal((await load('ops', 'zen')).status, 200);
    const digestOf = async (tenant: string) => {
      const response = await WAYS['completion']!(tenant, 'zen');
      assert.equal(response.status, 200);
      return response.headers.get('x-lorikeet-adapter');
    };
    assert.equal(await digestOf('acme'), before.headers.get('x-lorikeet-adapter'));
    assert.notEqual(await digestOf('ops'), await digestOf('acme'));
    await ask('ops', '/v1/unload_lora_adapter', { lora_name: 'zen' });
    assert.equal((await WAYS['completion']!('ops', 'zen')).status, 404);
  });
});

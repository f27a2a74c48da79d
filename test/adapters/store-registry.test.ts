import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { FolderAdapters } from '../../adapters/registry/folder-registry.ts';
import { Registry } from '../../adapters/registry/registry.ts';
import type { StoreRegistryOptions } from '../../adapters/registry/store-registry.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { withResolvers } from '../../src/common/waiting.ts';
import { LOCAL_TENANT, type Tenant } from '../../src/contracts/tenant.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { createPublished, openRegistry, POLL_MS, storeIsDown } from './published.ts';
import { configBytes, weightsNamed } from './sample.ts';
import { readAll } from './store/conformance.ts';

/** More than any test publishes. */
const ALL = { limit: 1000 };
const BASE = { id: 'toy', names: [], digest: 'b'.repeat(64) };
const MISS = { code: 'model_not_found', status: 404, param: 'model', message: /GET \/v1\/models/ };
const DOWN = { code: 'adapter_unavailable', status: 503 };
const tenant = (id: string, rest: Partial<Tenant> = {}): Tenant => ({
  ...LOCAL_TENANT,
  id,
  ...rest,
});
const acme = tenant('acme');
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Publisher and server have a repository each over one store, as two processes would. */
function setUp({ folder, ...rest }: Partial<StoreRegistryOptions> & { folder?: string } = {}) {
  const publisher = createPublished();
  const { store, adapters, clock } = openRegistry(publisher.store, rest);
  const local = folder ? [new FolderAdapters(folder, { baseNames: ['toy'] })] : [];
  const registry = new Registry({ base: BASE, local, store: adapters });
  const resolve = async (of: Tenant, model: string, sticky = '') => {
    const found = await registry.resolve(of, model, { sticky });
    assert.ok(found.kind === 'adapter', `${model} is the base`);
    return found;
  };
  const idsOf = async (of: Tenant) => pluck((await registry.list(of, ALL)).items, 'id');
  return { ...publisher, reading: store, registry, resolve, idsOf, clock };
}

const at = (tenantId: string, name: string) => ({ tenant: tenantId, name });

describe('a published name', () => {
  test('is found in all forms, by content', async () => {
    const { publish, repository, resolve } = setUp();
    const first = await publish('acme', 'zen', {
      aliases: ['stable', 'ftjob-1', 'ftjob-1.ckpt-step-5'],
    });
    const second = await publish('acme', 'zen');
    await publish('acme', 'ftjob-2', { aliases: ['ftjob-2'] });
    const digests = {
      zen: second,
      'zen:latest': second,
      'zen@2': second,
      'zen@1': first,
      'zen:stable': first,
      'ft:toy:acme:zen:ftjob-1': first,
      'ft:toy:acme:zen:ftjob-1:ckpt-step-5': first,
    };
    for (const [model, digest] of Object.entries(digests)) {
      const found = await resolve(acme, model);
      assert.equal(found.digest, digest, model);
      assert.equal(found.id, model);
      assert.equal(found.parts[0]!.owner, 'acme');
    }
    assert.equal((await resolve(acme, 'ft:toy:acme::ftjob-2')).parts[0]!.name, 'ftjob-2');
    await repository.rollback(at('acme', 'zen'), 'latest');
  });

  test('is a miss by what it does not have', async () => {
    const { publish, registry } = setUp();
    await publish('acme', 'zen', { aliases: ['ftjob-1'] });
    for (const model of [
      ...['zen@2', 'zen:stable', 'zen:constructor', 'zen:__proto__', 'Zen', 'zen+none'],
      ...['ft:other:acme:zen:ftjob-1', 'ft:toy:other:zen:ftjob-1'],
      ...['ft:toy:shared:zen:ftjob-1', 'ft:toy:acme:zen:ftjob-2'],
    ]) {
      await assert.rejects(registry.resolve(acme, model), MISS, model);
    }
  });

  test('is part of a composition, each term with its weight', async () => {
    const { publish, resolve } = setUp();
    const a = await publish('acme', 'a');
    const b = await publish('shared', 'b');
    const found = await resolve(acme, 'a+-0.5*b');
    assert.deepEqual(
      found.parts.map(({ owner, digest, weight }) => ({ owner, digest, weight })),
      [
        { owner: 'acme', digest: a, weight: 1 },
        { owner: 'shared', digest: b, weight: -0.5 },
      ],
    );
    assert.notEqual(found.digest, (await resolve(acme, 'a+0.5*b')).digest);
    assert.equal((await resolve(acme, '1*a')).digest, a);
  });

  test('B56: of another base is refused, one that does not say is not', async () => {
    const { publish, registry, resolve, idsOf } = setUp();
    await publish('acme', 'other', { baseDigest: 'c'.repeat(64) });
    await publish('acme', 'same', { baseDigest: BASE.digest });
    await publish('acme', 'unsaid');
    const mismatch = {
      code: 'base_mismatch',
      status: 422,
      message:
        /^other@1 was trained on the base with the digest c{12}, but .* serves toy with the digest/,
    };
    await assert.rejects(registry.resolve(acme, 'other'), mismatch);
    await assert.rejects(registry.resolve(acme, 'same+other'), mismatch);
    await resolve(acme, 'same+unsaid');
    assert.deepEqual(await idsOf(acme), ['toy', 'same', 'unsaid']);
  });

  test('lists its fine-tuned models by their whole names, and no other alias', async () => {
    const { publish, registry, resolve, clock, idsOf } = setUp();
    const job = '0190c0ffee00aabbccddeeff';
    await publish('acme', 'zen', { aliases: [`${job}.ckpt-step-5`], isAside: true });
    assert.deepEqual((await registry.list(acme, ALL)).items.slice(1), [], 'a checkpoint alone');
    const digest = await publish('acme', job, { aliases: [job, 'stable'] });
    clock.nowMs += POLL_MS + 1;
    assert.deepEqual(await idsOf(acme), ['toy', job, `ft:toy:acme::${job}`]);
    assert.equal((await resolve(acme, `ft:toy:acme::${job}`)).digest, digest);
  });

  test('of a fine-tuned model is found as soon as another server has published it', async () => {
    const { publish, registry, resolve } = setUp();
    await publish('acme', 'zen');
    await resolve(acme, 'zen');
    const model = 'ft:toy:acme:zen:0190c0ffee00aabbccddeeff';
    await assert.rejects(registry.resolve(acme, model), MISS);
    const digest = await publish('acme', 'zen', { aliases: ['0190c0ffee00aabbccddeeff'] });
    assert.equal((await resolve(acme, model)).digest, digest, 'within the poll time');
  });

  test('is what `default` means to its tenant', async () => {
    const { publish, registry, resolve } = setUp();
    const digest = await publish('acme', 'zen', { aliases: ['stable'] });
    const having = tenant('acme', { defaultModel: 'zen:stable' });
    assert.equal((await resolve(having, 'default')).digest, digest);
    assert.equal((await resolve(having, 'default')).id, 'zen:stable');
    const base = { kind: 'base', id: 'toy' };
    assert.deepEqual(await registry.resolve(acme, 'default'), base);
    for (const defaultModel of ['base', 'toy', 'default']) {
      assert.deepEqual(await registry.resolve(tenant('acme', { defaultModel }), 'default'), base);
    }
    const lost = tenant('acme', { defaultModel: 'gone' });
    await assert.rejects(registry.resolve(lost, 'default'), MISS);
  });
});

describe('tenants', () => {
  test('with equal names get their own, and what is shared where they have none', async () => {
    const { publish, resolve } = setUp();
    const own = await publish('acme', 'zen');
    const shared = await publish('shared', 'zen');
    const theirs = await publish('umbrella', 'zen');
    assert.equal((await resolve(acme, 'zen')).digest, own);
    assert.equal((await resolve(tenant('umbrella'), 'zen')).digest, theirs);
    const other = await resolve(tenant('other'), 'zen');
    assert.equal(other.digest, shared);
    assert.equal(other.parts[0]!.owner, 'shared');
  });

  test('T03: cannot tell the foreign from the unknown, by body or by what is read', async () => {
    const { publish, registry, reading } = setUp();
    const digest = await publish('umbrella', 'secret', { aliases: ['stable', 'ftjob-1'] });
    await registry.resolve(tenant('umbrella'), 'secret'); // it is warm
    const tuned = 'ft:toy:umbrella:secret:ftjob-1';
    const guesses = ['secret', 'secret@1', 'secret:stable', tuned, 'secret+0.5*secret'];
    const unknown = guesses.map((guess) => guess.replaceAll('secret', 'qwerty'));
    const paths = ['umbrella/secret', '../umbrella/secret'];
    const odd = [...paths, digest, `secret@${digest}`, 'ft:toy:umbrella::secret'];
    const seen = async (model: string) => {
      reading.reads.length = 0;
      const error = await registry.resolve(acme, model).then(
        () => assert.fail(`${model} was found`),
        (fault) => JSON.stringify({ ...fault, message: fault.message }),
      );
      assert.ok(
        reading.reads.every((key) => !key.startsWith('umbrella')),
        model,
      );
      return { error, reads: reading.reads.map((key) => key.replaceAll('qwerty', 'secret')) };
    };
    for (const [i, guess] of guesses.entries()) {
      assert.deepEqual(await seen(guess), await seen(unknown[i]!), guess);
      assert.deepEqual(await seen(guess), await seen(unknown[i]!), `${guess} again`);
    }
    for (const model of odd) assert.equal((await seen(model)).error, (await seen('qwerty')).error);
  });

  test('with a list of allowed adapters get and see no others', async () => {
    const { publish, registry, idsOf } = setUp();
    for (const name of ['zen', 'tone-a', 'tone-b', 'tune']) await publish('acme', name);
    await publish('shared', 'tone-c');
    await publish('shared', 'other');
    const limited = tenant('acme', { allowedAdapters: ['zen', 'tone-*'] });
    const ids = await idsOf(limited);
    assert.deepEqual(ids, ['toy', 'tone-a', 'tone-b', 'tone-c', 'zen']);
    for (const id of ids) await registry.resolve(limited, id);
    for (const model of ['tune', 'other', 'tune@1', 'zen+tune', 'tonea']) {
      await assert.rejects(registry.resolve(limited, model), MISS, model);
    }
    assert.deepEqual(await idsOf(tenant('acme', { allowedAdapters: [] })), ['toy']);
  });

  test('find a local folder before what is shared in the store, after their own', async (t) => {
    const folder = temporaryFolder(t);
    for (const name of ['zen', 'tone', 'only']) {
      mkdirSync(path.join(folder, name));
      writeFileSync(path.join(folder, name, 'adapter_config.json'), configBytes());
      writeFileSync(path.join(folder, name, 'adapter_model.safetensors'), weightsNamed(name));
    }
    const { publish, registry, resolve } = setUp({ folder });
    const own = await publish('acme', 'zen');
    await publish('shared', 'tone', { aliases: ['stable'] });
    const kindOf = async (model: string) => (await resolve(acme, model)).parts[0]!.location.kind;
    assert.equal((await resolve(acme, 'zen')).digest, own);
    assert.deepEqual(
      await Promise.all(['zen', 'tone', 'tone:stable', 'tone@1', 'only'].map(kindOf)),
      ['version', 'folder', 'version', 'version', 'folder'],
    );
    await assert.rejects(registry.resolve(acme, 'only@1'), MISS);
    const list = (await registry.list(acme, ALL)).items.slice(1);
    assert.deepEqual(
      list.map(({ id, root, owner, parent }) => [id, root, owner, parent]),
      [
        ['only', 'only', 'shared', 'toy'],
        ['tone', 'tone', 'shared', 'toy'],
        ['zen', 'zen@1', 'acme', 'toy'],
      ],
    );
  });
});

describe('an alias', () => {
  test('that moved is seen by every server after the poll time, and read once until then', async () => {
    const { publish, resolve, clock, reading } = setUp();
    const old = await publish('acme', 'zen');
    for (let i = 0; i < 10; i++) assert.equal((await resolve(acme, 'zen')).digest, old);
    assert.deepEqual(reading.reads, ['acme/zen/alias.json', 'acme/zen/1/manifest.json']);
    const next = await publish('acme', 'zen');
    clock.nowMs = POLL_MS / 2;
    assert.equal((await resolve(acme, 'zen')).digest, old);
    clock.nowMs = POLL_MS + 1;
    assert.equal((await resolve(acme, 'zen')).digest, next);
  });

  test('that was rolled back is seen as any other change', async () => {
    const { publish, repository, resolve, clock } = setUp();
    const old = await publish('acme', 'zen');
    await publish('acme', 'zen');
    await resolve(acme, 'zen');
    await repository.rollback(at('acme', 'zen'), 'latest');
    clock.nowMs = POLL_MS + 1;
    const found = await resolve(acme, 'zen');
    assert.equal(found.digest, old);
    const { location } = found.parts[0]!;
    assert.ok(location.kind === 'version' && location.alias === 'latest');
  });

  test('F17, I17: never goes back on one server, whatever the store answers', async () => {
    const { publish, store, reading, resolve, clock } = setUp();
    await publish('acme', 'zen');
    const stale = await bytesOf(store, 'acme/zen/alias.json');
    const next = await publish('acme', 'zen');
    assert.equal((await resolve(acme, 'zen')).digest, next);
    await store.put('acme/zen/alias.json', stale);
    for (let i = 0; i < 5; i++) {
      clock.nowMs += 1_800_000; // nobody announced the change
      assert.equal((await resolve(acme, 'zen')).digest, next);
    }
    assert.equal(reading.reads.filter((key) => key.endsWith('alias.json')).length, 6);
  });

  test('goes on being served while the store is down, and unknown names wait for it', async () => {
    const { publish, registry, reading, resolve, clock } = setUp();
    const digest = await publish('acme', 'zen');
    await publish('acme', 'cold');
    await resolve(acme, 'zen');
    reading.beforeRead = storeIsDown;
    for (let minute = 0; minute < 10; minute++) {
      clock.nowMs += 60_000;
      assert.equal((await resolve(acme, 'zen')).digest, digest);
      await settle();
    }
    await assert.rejects(registry.resolve(acme, 'cold'), DOWN);
    reading.beforeRead = () => {};
    clock.nowMs += POLL_MS;
    await resolve(acme, 'cold');
  });

  test('that leads nowhere is our fault, not a miss', async () => {
    const { publish, store, registry } = setUp();
    await publish('acme', 'zen');
    await store.delete('acme/zen/1/manifest.json');
    await assert.rejects(registry.resolve(acme, 'zen'), DOWN);
  });

  test('whose file is damaged or of another tenant is our fault, and others are served', async () => {
    const { publish, store, registry, resolve } = setUp();
    await publish('acme', 'zen');
    const digest = await publish('acme', 'tone');
    await publish('umbrella', 'zen');
    const foreign = await bytesOf(store, 'umbrella/zen/alias.json');
    for (const bytes of [Buffer.from(''), Buffer.from('<html>'), foreign, Buffer.alloc(1e6, ' ')]) {
      await store.put('acme/zen/alias.json', bytes);
      const { adapters } = openRegistry(store);
      const registryAnew = new Registry({ base: BASE, store: adapters });
      await assert.rejects(registryAnew.resolve(acme, 'zen'), DOWN);
    }
    await assert.rejects(registry.resolve(acme, 'zen'), DOWN);
    assert.equal((await resolve(acme, 'tone')).digest, digest);
  });
});

describe('a list of names', () => {
  test('is given as it was read before while the store is down, also where it hangs', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { publish, registry, reading, clock } = setUp();
    for (let i = 0; i < 40; i++) await publish('acme', `zen-${i}`);
    const before = (await registry.list(acme, ALL)).items;
    assert.equal(before.length, 41);
    reading.beforeRead = storeIsDown;
    for (let minute = 0; minute < 3; minute++) {
      clock.nowMs += 60_000;
      assert.deepEqual((await registry.list(acme, ALL)).items, before);
      await settle();
    }
    reading.beforeRead = () => new Promise(() => {});
    clock.nowMs += 60_000;
    let listed: unknown;
    void registry.list(acme, ALL).then(({ items }) => {
      listed = items;
    });
    // The changes are waited for, then the index, and nothing else.
    for (let waits = 0; waits < 2; waits++) {
      for (let turn = 0; turn < 100; turn++) await settle();
      assert.equal(listed, undefined);
      t.mock.timers.runAll();
    }
    for (let turn = 0; turn < 100; turn++) await settle();
    assert.deepEqual(listed, before);
  });

  test('that was never read is no empty list while the store is down', async () => {
    const { publish, registry, reading, clock, idsOf } = setUp();
    await publish('acme', 'zen');
    reading.beforeRead = storeIsDown;
    await assert.rejects(registry.list(acme, ALL), DOWN);
    reading.beforeRead = (key) => {
      if (key.endsWith('alias.json')) storeIsDown(); // the store goes after its names were read
    };
    clock.nowMs += POLL_MS;
    await assert.rejects(registry.list(acme, ALL), DOWN);
    reading.beforeRead = () => {};
    clock.nowMs += POLL_MS;
    assert.equal((await registry.list(acme, ALL)).items.length, 2);
    await publish('acme', 'tone');
    reading.beforeRead = (key) => {
      if (key.endsWith('tone/alias.json')) storeIsDown();
    };
    clock.nowMs += POLL_MS;
    assert.deepEqual(await idsOf(acme), ['toy', 'zen'], 'what is known is listed');
  });
});

describe('a split alias', () => {
  test('gives each user one version, and shares within a binomial bound', async () => {
    const { publish, repository, resolve } = setUp();
    const stable = await publish('acme', 'zen');
    const canary = await publish('acme', 'zen');
    const split = [
      { version: 1, percent: 80 },
      { version: 2, percent: 20 },
    ];
    await repository.moveAlias(at('acme', 'zen'), 'prod', { split });
    const users = Array.from({ length: 2000 }, (_, i) => `user-${i}`);
    const ask = () =>
      Promise.all(users.map(async (user) => (await resolve(acme, 'zen:prod', user)).digest));
    const digests = await ask();
    assert.deepEqual(await ask(), digests);
    const count = digests.filter((digest) => digest === canary).length;
    assert.equal(digests.filter((digest) => digest === stable).length, users.length - count);
    assert.ok(Math.abs(count - 400) <= 5 * Math.sqrt(2000 * 0.2 * 0.8), `${count} of 2000`);
  });
});

describe('a new version', () => {
  test('is made ready before requests are sent to it, within the poll time', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const readied: string[] = [];
    const { promise, resolve: finish } = withResolvers<void>();
    const { publish, resolve, clock } = setUp({
      warm: ({ digest }) => {
        readied.push(digest);
        return promise;
      },
    });
    const old = await publish('acme', 'zen');
    await resolve(acme, 'zen');
    const next = await publish('acme', 'zen');
    clock.nowMs = POLL_MS / 2 + 1;
    assert.equal((await resolve(acme, 'zen')).digest, old);
    while (readied.length === 0) await settle();
    assert.deepEqual(readied, [next]);
    assert.equal((await resolve(acme, 'zen')).digest, old);
    finish();
    await settle();
    assert.equal((await resolve(acme, 'zen')).digest, next);
  });

  test('that is not made ready within the poll time is served all the same', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    let isAsked = false;
    const warm = () => {
      isAsked = true;
      return new Promise<void>(() => {});
    };
    const { publish, resolve, clock } = setUp({ warm });
    await publish('acme', 'zen');
    await resolve(acme, 'zen');
    const next = await publish('acme', 'zen');
    clock.nowMs = POLL_MS / 2 + 1;
    await resolve(acme, 'zen');
    while (!isAsked) await settle();
    t.mock.timers.tick(POLL_MS / 2);
    clock.nowMs = POLL_MS;
    await settle();
    assert.equal((await resolve(acme, 'zen')).digest, next);
  });

  test('of a name that nobody here has used is not fetched', async () => {
    const readied: string[] = [];
    const { publish, registry, clock } = setUp({
      warm: async ({ digest }) => void readied.push(digest),
    });
    await publish('acme', 'zen', { aliases: ['stable'] });
    await registry.resolve(acme, 'zen@1').catch(() => {});
    await registry.resolve(acme, 'zen:none').catch(() => {});
    await publish('acme', 'tone');
    await publish('acme', 'tone');
    clock.nowMs = POLL_MS / 2 + 1;
    await registry.resolve(acme, 'tone:none').catch(() => {});
    await settle();
    assert.deepEqual(readied, []);
  });
});

describe('removing', () => {
  test('a name, a version or an alias of one’s own is seen at once', async () => {
    const { publish, registry, resolve, idsOf } = setUp();
    await publish('acme', 'zen', { aliases: ['stable'] });
    const second = await publish('acme', 'zen', { aliases: ['stable'] });
    for (const model of ['zen', 'zen@1', 'zen:stable']) await resolve(acme, model);
    await registry.remove(acme, 'zen@1');
    await assert.rejects(registry.resolve(acme, 'zen@1'), MISS);
    await registry.remove(acme, 'zen:stable');
    await assert.rejects(registry.resolve(acme, 'zen:stable'), MISS);
    assert.equal((await resolve(acme, 'zen')).digest, second);
    await registry.remove(acme, 'zen');
    for (const model of ['zen', 'zen@2']) await assert.rejects(registry.resolve(acme, model), MISS);
    assert.deepEqual(await idsOf(acme), ['toy']);
  });

  test('a fine-tuned model takes its versions and every name for them along', async () => {
    const { publish, registry, resolve } = setUp();
    const first = await publish('acme', 'zen', { aliases: ['ftjob-1'] });
    const checkpoint = { aliases: ['ftjob-2.ckpt-step-4'], isAside: true };
    await publish('acme', 'zen', checkpoint);
    await publish('acme', 'zen', { aliases: ['ftjob-2'] });
    const model = 'ft:toy:acme:zen:ftjob-2';
    const names = [model, `${model}:ckpt-step-4`, 'zen:ftjob-2', 'zen@2', 'zen@3'];
    for (const name of [...names, 'zen']) await resolve(acme, name);
    await registry.remove(acme, model);
    for (const name of names) await assert.rejects(registry.resolve(acme, name), MISS, name);
    assert.equal((await resolve(acme, 'zen')).digest, first, 'latest is the version before');
    await registry.remove(acme, 'ft:toy:acme:zen:ftjob-1');
    for (const name of ['zen', 'zen@1']) await assert.rejects(registry.resolve(acme, name), MISS);
    await assert.rejects(registry.remove(acme, model), MISS);
  });

  test('a checkpoint goes alone', async () => {
    const { publish, registry, resolve } = setUp();
    await publish('acme', 'zen', { aliases: ['ftjob-1.ckpt-step-4'], isAside: true });
    const result = await publish('acme', 'zen', { aliases: ['ftjob-1'] });
    await registry.remove(acme, 'ft:toy:acme:zen:ftjob-1:ckpt-step-4');
    await assert.rejects(registry.resolve(acme, 'zen@1'), MISS);
    for (const name of ['zen', 'zen@2', 'ft:toy:acme:zen:ftjob-1']) {
      assert.equal((await resolve(acme, name)).digest, result);
    }
  });

  test('a fine-tuned model that an alias of somebody’s own leads to stays, and the alias is named', async () => {
    const { publish, registry, resolve, repository } = setUp();
    await publish('acme', 'zen', { aliases: ['ftjob-1'] });
    await repository.moveAlias({ tenant: 'acme', name: 'zen' }, 'stable', { version: 1 });
    await assert.rejects(
      registry.remove(acme, 'ft:toy:acme:zen:ftjob-1'),
      /zen@1 is in use: point stable elsewhere first/,
    );
    for (const name of ['zen', 'zen:stable', 'ft:toy:acme:zen:ftjob-1']) await resolve(acme, name);
  });

  test('what is another’s, shared, unknown, the base or a composition is the same miss', async () => {
    const { publish, registry, resolve } = setUp();
    await publish('umbrella', 'zen', { aliases: ['ftjob-1'] });
    await publish('shared', 'tone', { aliases: ['ftjob-1'] });
    await publish('acme', 'a');
    for (const model of [
      ...['zen', 'zen@1', 'zen:latest', 'ft:toy:umbrella:zen:ftjob-1'],
      ...['tone', 'tone@1', 'ft:toy:shared:tone:ftjob-1'],
      ...['none', 'a@2', 'a:none', 'base', 'toy', 'default', 'a+a', '0.5*a', '../a'],
    ]) {
      await assert.rejects(registry.remove(acme, model), MISS, model);
    }
    await resolve(tenant('umbrella'), 'zen');
    await resolve(acme, 'tone');
    await resolve(acme, 'a');
  });
});

test('one model is described in any form of its name', async () => {
  const { publish, registry } = setUp();
  await publish('acme', 'zen', { aliases: ['stable'] });
  await publish('shared', 'tone');
  const { created, ...entry } = await registry.describe(acme, 'zen:stable+0.5*tone');
  assert.ok(Number.isInteger(created));
  assert.deepEqual(entry, {
    id: 'zen:stable+0.5*tone',
    parent: 'toy',
    root: 'zen@1+0.5*tone@1',
    owner: 'acme',
  });
  assert.equal((await registry.describe(acme, 'base')).id, 'toy');
  await assert.rejects(registry.describe(acme, 'none'), MISS);
});

async function bytesOf(store: ObjectStore, key: string): Promise<Buffer> {
  return readAll((await store.get(key))!);
}

// A publisher that fails or ends at any moment, and a store that answers with the past, with servers that read all the
// time (threats F15 to F17): no version is doubled or lost, what was served is served, and no server goes back.
import assert from 'node:assert/strict';
import { testUnless } from '../shared.ts';
import { until } from '../until.ts';
import { type Fault, firstOnes, type SeenRequest, startFaultProxy } from './fault-proxy.ts';
import { type Stage, startStage } from './fault-stage.ts';
import { prepareS3Server, S3_KINDS, type S3Kind } from './s3-server.ts';

const SETTINGS = { LORIKEET_ALIAS_POLL_MS: '100' };
const HOUR_MS = 3_600_000;
const at = (name: string) => ({ tenant: 'local', name });
const putOf = (file: string) => (request: SeenRequest) =>
  request.method === 'PUT' && request.path.endsWith(file);

/** Faults of a conditional put: S3's conflicts, a lost response after success, and a network failure before it. */
const PUT_FAULTS: Readonly<Record<string, Fault>> = {
  409: { kind: 'status', status: 409 },
  412: { kind: 'status', status: 412 },
  'success, then no answer': { kind: 'lost' },
  500: { kind: 'status', status: 500 },
  'a reset': { kind: 'reset' },
};

async function untilServed({ ask }: Stage, model: string, version: string): Promise<void> {
  await until(`${model} to be ${version}`, async () => (await ask(model)).version === version);
}

for (const kind of S3_KINDS) moves(kind, testUnless(await prepareS3Server(kind)));

function moves(kind: S3Kind, test: ReturnType<typeof testUnless>): void {
  test(`F15: conditional puts to ${kind} that fail in any way end with one version, which servers see`, async (t) => {
    const stage = await startStage(t, SETTINGS, kind);
    const proxy = await startFaultProxy(t, stage.s3.endpoint);
    const publisher = stage.openRepository(proxy.endpoint);
    let published = 0;
    for (const file of ['publishing.json', 'manifest.json', 'alias.json']) {
      for (const [what, fault] of Object.entries(PUT_FAULTS)) {
        await t.test(`${file}: ${what}`, async () => {
          published++;
          proxy.script = firstOnes(1, fault, putOf(file));
          const directory = stage.write();
          const { version } = await publisher.publish(at('zen'), { directory });
          assert.equal(version, published);
          const versions = await stage.repository.listVersions('local', 'zen');
          assert.equal(versions.length, published);
          await untilServed(stage, 'zen', `zen@${version}`);
        });
      }
    }
    await stage.stopStreams();
  });

  test(`F16: a publisher to ${kind} that ends between files, manifest and pointer: the old version is served, what is left is collected`, async (t) => {
    const stage = await startStage(t, SETTINGS, kind);
    const { repository, store, write, publish, ask } = stage;
    const proxy = await startFaultProxy(t, stage.s3.endpoint);
    const CUTS = {
      'before-its-files': 'adapter_config.json',
      'between-its-files': 'adapter_model.safetensors',
      'before-its-manifest': 'manifest.json',
      'before-its-pointer': 'alias.json',
    };
    const texts = new Map<string, string>();
    for (const [name, file] of Object.entries(CUTS)) {
      await publish(name);
      texts.set(name, (await ask(name)).text);
      let isGone = false;
      proxy.script = (request) => {
        isGone ||= putOf(file)(request);
        return isGone ? { kind: 'reset' } : undefined;
      };
      const dying = stage.openRepository(proxy.endpoint).publish(at(name), { directory: write() });
      await assert.rejects(dying, { code: 'adapter_unavailable' }, name);
    }
    const keysOf = async (prefix: string) => {
      const keys: string[] = [];
      for await (const { key } of store.list(prefix)) keys.push(key.slice(prefix.length));
      return keys;
    };
    const collect = (hours: number) =>
      repository.collectGarbage({ now: Date.now() + hours * HOUR_MS, graceMs: 24 * HOUR_MS });
    const isServed = async (
      saying: (model: string) => Promise<{ version: string | null; text: string }>,
    ) => {
      for (const [name, text] of texts) {
        const answer = await saying(name);
        assert.deepEqual([answer.version, answer.text], [`${name}@1`, text]);
      }
      // Its manifest was written: it is a version, to which no alias leads.
      assert.equal((await saying('before-its-pointer@2')).version, 'before-its-pointer@2');
    };

    await isServed(ask);
    assert.deepEqual(await collect(23), { unfinished: 0, removed: 0, bytes: 0, damaged: 0 });
    assert.equal(
      (await keysOf('local/before-its-manifest/2/')).length,
      3,
      'they may still be finished',
    );
    const { unfinished, removed } = await collect(25);
    assert.deepEqual([unfinished, removed], [3, 0]);
    for (const name of texts.keys()) {
      const files = (await keysOf(`local/${name}/`)).filter((key) => key.includes('/adapter_'));
      assert.equal(files.length, name === 'before-its-pointer' ? 4 : 2, `${name}: ${files}`);
    }
    await isServed(ask);
    const another = await stage.startAnother();
    await isServed((model) => stage.askAt(another, model));
    await stage.stopStreams();
  });

  test(`F17: a store (${kind}) that answers with an older pointer takes no server back`, async (t) => {
    const stage = await startStage(t, SETTINGS, kind);
    const { store, proxy, publish, ask } = stage;
    const key = 'local/zen/alias.json';
    await publish('zen');
    const chunks: Uint8Array[] = [];
    for await (const chunk of (await store.get(key))!.body) chunks.push(chunk);
    await publish('zen');
    await untilServed(stage, 'zen', 'zen@2');
    await store.put(key, Buffer.concat(chunks));
    // While a change is announced and not done, servers read the name at each poll.
    await store.put('.changes/0123456789abcdef.begun.local..zen', new Uint8Array());
    const reads = () =>
      proxy.requests.filter((request) => request.path.endsWith('/zen/alias.json'));
    const before = reads().length;
    await until('reads of the pointer', async () => {
      assert.equal((await ask('zen')).version, 'zen@2');
      return reads().length >= before + 5;
    });
    await stage.stopStreams();
  });
}

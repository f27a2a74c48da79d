import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { FetchError, FileError, UsageError } from '../../src/common/errors.ts';
import type { Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { fetchSnapshot, type HubOptions } from '../../src/import/hub.ts';
import { type ImportModelOptions, importModel } from '../../src/import/import-model.ts';
import { temporaryFolder } from '../fixtures.ts';
import { COMMIT, FakeHub, OLDER_COMMIT } from './fake-hub.ts';
import { tinyFiles, tinyTensors } from './tiny-model.ts';

const work = temporaryFolder();

const ID = 'some-org/Tiny-Llama';
let count = 0;

interface Bench {
  hub: FakeHub;
  options: HubOptions;
  run: (
    changes?: Partial<HubOptions>,
    id?: string,
    onProgress?: ImportModelOptions['onProgress'],
  ) => ReturnType<typeof importModel>;
}

/** Runs a test with a hub that has the files, an empty cache, and a function that imports into a new folder. */
async function withHub(files: Map<string, Uint8Array>, body: (bench: Bench) => Promise<void>) {
  const hub = new FakeHub(ID, files);
  const endpoint = await hub.listen();
  const options: HubOptions = { cacheDir: path.join(work, `cache-${count++}`), endpoint };
  const run: Bench['run'] = (changes = {}, id = ID, onProgress = undefined) =>
    importModel(id, path.join(work, `out-${count++}`), {
      quantization: 'nf4',
      doubleQuantization: true,
      hub: { ...options, ...changes },
      onProgress,
    });
  try {
    await body({ hub, options, run });
  } finally {
    await hub.close();
  }
}

test('a model is downloaded once and then read from the cache', async () => {
  await withHub(tinyFiles(), async ({ hub, options, run }) => {
    const first = await run();
    assert.equal(first.name, 'Tiny-Llama');
    assert.equal(first.source, ID);
    const { sentBytes } = hub;
    assert.equal((await run()).digest, first.digest);
    assert.equal(hub.sentBytes, sentBytes);
    const repo = path.join(options.cacheDir, 'models--some-org--Tiny-Llama');
    assert.equal(readFileSync(path.join(repo, 'refs', 'main'), 'utf8'), COMMIT);
    await hub.close();
    assert.equal((await run()).digest, first.digest, 'out of reach');
    assert.equal((await run({ isOffline: true })).digest, first.digest, 'offline');
  });
});

test('a commit of the catalogue is downloaded although the hub has a newer one', async () => {
  await withHub(tinyFiles(), async ({ hub, options }) => {
    const fetch = (changes: Partial<HubOptions> = {}) =>
      fetchSnapshot(ID, { hub: { ...options, ...changes }, commit: OLDER_COMMIT });
    const folder = await fetch();
    assert.equal(path.basename(folder), OLDER_COMMIT);
    assert.equal(await fetch({ isOffline: true }), folder);
    assert.equal(await fetch({ endpoint: 'http://127.0.0.1:1' }), folder, 'out of reach');
    await assert.rejects(fetchSnapshot(ID, { hub: { ...options, isOffline: true } }), FetchError);
    assert.equal(path.basename(await fetchSnapshot(ID, { hub: options })), COMMIT);
    rmSync(path.join(folder, 'model.safetensors'));
    await assert.rejects(fetch({ isOffline: true }), /not in the cache/, 'in part');
    hub.commits.delete(OLDER_COMMIT);
    await assert.rejects(fetch(), /commit b{40} is gone \(`lorikeet import some-org\/Tiny-Llama`/);
  });
});

test('the shards of an index are downloaded', async () => {
  const all = [...tinyTensors()];
  const shards: Record<string, [string, Tensor][]> = {
    'model-00001-of-00002.safetensors': all.slice(0, 5),
    'model-00002-of-00002.safetensors': all.slice(5),
  };
  const map = Object.entries(shards).flatMap(([file, part]) => part.map(([name]) => [name, file]));
  const index = { metadata: {}, weight_map: Object.fromEntries(map) };
  const files = tinyFiles();
  files.delete('model.safetensors');
  files.set('model.safetensors.index.json', new TextEncoder().encode(JSON.stringify(index)));
  for (const [file, part] of Object.entries(shards)) {
    files.set(file, serializeSafetensors(new Map(part)));
  }
  let digest = '';
  await withHub(tinyFiles(), async ({ run }) => {
    digest = (await run()).digest;
  });
  await withHub(files, async ({ run }) => assert.equal((await run()).digest, digest));
});

test('an interrupted download fails with an explanation and is resumed by the next import', async () => {
  await withHub(tinyFiles(), async ({ hub, run }) => {
    const whole = hub.files.get('model.safetensors')!.length;
    const sent = 50_000;
    // A client drops what it has not read when its connection breaks, so the hub waits until everything is read.
    let read = () => {};
    hub.break = { afterBytes: sent, when: new Promise((resolve) => (read = resolve)) };
    const onProgress: ImportModelOptions['onProgress'] = ({ done, total }) => {
      if (done === total - whole + sent) read();
    };
    await assert.rejects(run({}, ID, onProgress), (error) => {
      assert.ok(error instanceof FetchError, String(error));
      assert.match(error.message, /broke off/);
      return true;
    });
    const before = hub.sentBytes;
    await run();
    const asked = 1; // the first byte, which tells the file's size
    assert.equal(hub.sentBytes - before, whole - sent + asked);
  });
});

test('a file that does not match the announced digest is deleted', async () => {
  await withHub(tinyFiles(), async ({ hub, run }) => {
    hub.isLying = true;
    await assert.rejects(run(), /do not match the digest/);
    hub.isLying = false;
    await run();
  });
});

test('the token is sent to the hub', async () => {
  await withHub(tinyFiles(), async ({ hub, run }) => {
    await run({ token: 'hf_secret' });
    assert.deepEqual([...hub.tokens], ['Bearer hf_secret']);
  });
});

test('unavailable models and invalid ones give different errors', async () => {
  await withHub(tinyFiles(), async ({ run }) => {
    await assert.rejects(run({}, 'some-org/other'), (error) => {
      assert.ok(error instanceof FetchError);
      assert.match(error.message, /HTTP 404/);
      return true;
    });
    await assert.rejects(run({ isOffline: true }), FetchError);
    await assert.rejects(run({ endpoint: 'http://127.0.0.1:1' }), FetchError);
    await assert.rejects(run({}, 'neither-folder-nor-name'), UsageError);
  });
  const pickled = new Map([...tinyFiles()].filter(([name]) => name === 'config.json'));
  pickled.set('pytorch_model.bin', new Uint8Array(8));
  await withHub(pickled, async ({ run }) => assert.rejects(run(), FileError));
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createAdapterLoader } from '../../adapters/cache/load.ts';
import { adapterDigest, digestAdapterFiles, readAdapterFiles } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { readFolderGenerationConfig } from '../../adapters/registry/folders.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { temporaryFolder } from '../fixtures.ts';
import { configBytes, MODEL, sampleTensors } from './sample.ts';
import { plainSource } from './sources.ts';

const WEIGHTS = serializeSafetensors(sampleTensors());
const CONFIG_FILE = 'adapter_config.json';
const WEIGHTS_FILE = 'adapter_model.safetensors';

function folderWith(t: TestContext, files: Record<string, Uint8Array | string>): string {
  const top = temporaryFolder(t);
  const folder = path.join(top, 'adapter');
  mkdirSync(folder);
  for (const [name, content] of Object.entries(files))
    writeFileSync(path.join(folder, name), content);
  return folder;
}

test('the digest is that of both files behind their lengths', () => {
  const plain = createHash('sha256');
  const parts = [new Uint8Array([1, 2, 3]), new Uint8Array(300).fill(7)];
  for (const part of parts) {
    const length = Buffer.alloc(8);
    length.writeUInt32LE(part.length);
    plain.update(Buffer.concat([length, part]));
  }
  assert.equal(adapterDigest(parts[0]!, parts[1]!), plain.digest('hex'));
});

test('a byte that moves from one file to the other changes the digest', () => {
  const bytes = new Uint8Array([1, 2, 3, 4]);
  const digests = [0, 1, 2, 3, 4].map((n) =>
    adapterDigest(bytes.subarray(0, n), bytes.subarray(n)),
  );
  assert.equal(new Set(digests).size, 5);
});

test('files are read whole, in chunks, with the digest of what was read', async (t) => {
  const weights = Uint8Array.from({ length: 2_500_000 }, (_, i) => i * 31);
  const folder = folderWith(t, { [CONFIG_FILE]: configBytes(), [WEIGHTS_FILE]: weights });
  const files = await readAdapterFiles(folder);
  assert.ok(Buffer.from(files.weightsBytes).equals(weights));
  assert.deepEqual(Buffer.from(files.configBytes), Buffer.from(configBytes()));
  assert.equal(files.digest, adapterDigest(configBytes(), weights));
  assert.equal((await digestAdapterFiles(folder)).digest, files.digest);
});

test('an empty file is an empty part', async (t) => {
  const folder = folderWith(t, { [CONFIG_FILE]: '', [WEIGHTS_FILE]: '' });
  const { digest } = await readAdapterFiles(folder);
  assert.equal(digest, adapterDigest(new Uint8Array(0), new Uint8Array(0)));
});

test('T06: missing files, pickles, oversized configurations and odd files are refused by name', async (t) => {
  const config = configBytes();
  const cases: readonly (readonly [Record<string, Uint8Array | string>, string])[] = [
    [{}, CONFIG_FILE],
    [{ [WEIGHTS_FILE]: WEIGHTS }, CONFIG_FILE],
    [{ [CONFIG_FILE]: config }, WEIGHTS_FILE],
    [{ [CONFIG_FILE]: config, 'adapter_model.bin': 'pickle' }, 'adapter_model.bin'],
    [{ [CONFIG_FILE]: ' '.repeat(1024 * 1024 + 1), [WEIGHTS_FILE]: WEIGHTS }, CONFIG_FILE],
  ];
  for (const [files, param] of cases) {
    await assert.rejects(readAdapterFiles(folderWith(t, files)), { status: 422, param });
  }
  const withFolder = folderWith(t, { [CONFIG_FILE]: config });
  mkdirSync(path.join(withFolder, WEIGHTS_FILE));
  await assert.rejects(readAdapterFiles(withFolder), { status: 422, param: WEIGHTS_FILE });
});

test('a pipe in place of a file is refused and blocks nobody', {
  skip: process.platform === 'win32' && 'no named pipes',
}, async (t) => {
  const folder = folderWith(t, { [CONFIG_FILE]: configBytes() });
  execFileSync('mkfifo', [path.join(folder, WEIGHTS_FILE)]);
  await assert.rejects(readAdapterFiles(folder), { status: 422, param: WEIGHTS_FILE });
  execFileSync('mkfifo', [path.join(folder, 'generation_config.json')]);
  await assert.rejects(readFolderGenerationConfig(folder), {
    status: 422,
    param: 'generation_config.json',
  });
});

test('T09: a link inside the folder is followed, one out of it is refused', async (t) => {
  const folder = folderWith(t, { [CONFIG_FILE]: configBytes(), data: WEIGHTS });
  symlinkSync('data', path.join(folder, WEIGHTS_FILE));
  assert.equal((await readAdapterFiles(folder)).weightsBytes.length, WEIGHTS.length);
  renameSync(path.join(folder, 'data'), path.join(folder, '..', 'data'));
  rmSync(path.join(folder, WEIGHTS_FILE));
  for (const target of ['../data', '/etc/passwd', '../adapter/../data']) {
    symlinkSync(target, path.join(folder, WEIGHTS_FILE));
    await assert.rejects(readAdapterFiles(folder), { status: 422, param: WEIGHTS_FILE });
    rmSync(path.join(folder, WEIGHTS_FILE));
  }
});

test("the links of Hugging Face's cache are followed to the blobs of the same model only", async (t) => {
  const top = temporaryFolder(t);
  const snapshot = path.join(top, 'models--acme--zen', 'snapshots', '0a1b');
  mkdirSync(snapshot, { recursive: true });
  for (const model of ['models--acme--zen', 'models--evil--x']) {
    mkdirSync(path.join(top, model, 'blobs'), { recursive: true });
    writeFileSync(path.join(top, model, 'blobs', 'c0ffee'), WEIGHTS);
  }
  writeFileSync(path.join(snapshot, CONFIG_FILE), configBytes());
  const link = path.join(snapshot, WEIGHTS_FILE);
  symlinkSync('../../blobs/c0ffee', link);
  assert.equal((await readAdapterFiles(snapshot)).weightsBytes.length, WEIGHTS.length);
  for (const target of ['../../../models--evil--x/blobs/c0ffee', '../../refs', '/etc/passwd']) {
    rmSync(link);
    symlinkSync(target, link);
    await assert.rejects(readAdapterFiles(snapshot), { status: 422, param: WEIGHTS_FILE }, target);
  }
});

test('a loader gives weights only for the content that was asked for', async (t) => {
  const folder = folderWith(t, { [CONFIG_FILE]: configBytes(), [WEIGHTS_FILE]: WEIGHTS });
  const open = createAdapterLoader(MODEL, { maxRank: 512, canHold: () => true });
  const load = async (source: AdapterSource) => (await open(source)).load();
  const digest = adapterDigest(configBytes(), WEIGHTS);
  assert.equal((await load(plainSource(digest, folder))).digest, digest);
  writeFileSync(path.join(folder, CONFIG_FILE), 'something else');
  const mismatch = { code: 'adapter_checksum_mismatch', status: 503 };
  await assert.rejects(load(plainSource(digest, folder)), mismatch);
  rmSync(path.join(folder, WEIGHTS_FILE)); // as where another process evicted it
  await assert.rejects(load(plainSource(digest, folder)), mismatch);
});

test('loads that reuse the memory of files give every adapter its own weights', async (t) => {
  const open = createAdapterLoader(MODEL, { maxRank: 512, canHold: () => true });
  const adapters = [16, 4, 8, 4, 16, 8].map((rank, i) => {
    const config = configBytes({ r: rank, lora_alpha: i + 1 });
    const tensors = sampleTensors({ rankOf: () => rank, value: (at) => at / 64 + i });
    const weights = serializeSafetensors(tensors);
    const folder = folderWith(t, { [CONFIG_FILE]: config, [WEIGHTS_FILE]: weights });
    const digest = adapterDigest(config, weights);
    return { source: plainSource(digest, folder), config, weights, digest };
  });
  const load = async (source: AdapterSource) => (await open(source)).load();
  // Twice, at once and one after the other.
  const together = await Promise.all(adapters.map(({ source }) => load(source)));
  for (const [i, { source, config, weights, digest }] of adapters.entries()) {
    const expected = await parseAdapter(
      { configBytes: config, weightsBytes: weights, digest },
      MODEL,
    );
    assert.deepEqual(together[i], expected);
    assert.deepEqual(await load(source), expected);
  }
});

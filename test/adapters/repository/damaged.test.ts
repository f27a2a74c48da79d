// Pointers and manifests that are not what was written: refused with a line in the log, never half believed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VersionManifest } from '../../../adapters/repository/manifest.ts';
import { fetchVersion } from '../../../adapters/repository/versions.ts';
import { createLog } from '../../../src/common/log.ts';
import { ORIGIN, shelf, writeOrigin, ZEN } from './shelf.ts';

function logged(t: Parameters<typeof shelf>[0]) {
  const lines: Record<string, unknown>[] = [];
  const log = createLog('debug', { write: (line) => void lines.push(JSON.parse(line)) });
  return { lines, ...shelf(t, { log }) };
}

const text = (value: string) => new TextEncoder().encode(value);
const ALIASES = {
  schema: 1,
  tenant: 'acme',
  name: 'zen',
  revision: 5,
  aliases: { latest: { version: 1 } },
};

const aliasFile = (changes: object) => text(JSON.stringify({ ...ALIASES, ...changes }));
const shares = [50, 40].map((percent, i) => ({ version: i + 1, percent }));
const BAD_ALIASES: Record<string, Uint8Array> = {
  empty: text(''),
  'an HTML page': text('<!doctype html><html>503</html>'),
  '10 MiB': new Uint8Array(10 * 2 ** 20).fill(0x20),
  'no UTF-8': Uint8Array.of(0x7b, 0xff, 0x7d),
  'of another schema': aliasFile({ schema: 2 }),
  'an array': text(JSON.stringify([ALIASES])),
  'without a revision': aliasFile({ revision: undefined }),
  "another tenant's": aliasFile({ tenant: 'evil' }),
  'of another name': aliasFile({ name: 'other' }),
  'with a version of text': aliasFile({ aliases: { latest: { version: '1' } } }),
  'with an alias that is no name': aliasFile({ aliases: { '../x': { version: 1 } } }),
  'with shares of 90': aliasFile({ aliases: { latest: { split: shares } } }),
};
const REFUSED = { code: 'adapter_unavailable' };

for (const [what, bytes] of Object.entries(BAD_ALIASES)) {
  test(`B68: an alias file that is ${what} is refused, and said in the log`, async (t) => {
    const { repository, store, adapter, lines } = logged(t);
    await repository.publish(ZEN, { directory: adapter(1) });
    await store.put('acme/zen/alias.json', bytes);
    for (let i = 0; i < 2; i++) {
      await assert.rejects(repository.readAliases('acme', 'zen'), {
        code: 'adapter_unavailable',
        message: /damaged, so .* Publish it again/,
      });
    }
    const alerts = lines.filter(({ alert }) => alert === 'store_damaged');
    assert.equal(alerts.length, 2);
    assert.equal(alerts[0]!['key'], 'acme/zen/alias.json');
    await assert.rejects(repository.moveAlias(ZEN, 'a', { version: 1 }), REFUSED);
  });
}

test("B68: a manifest that is another's, damaged or cut is refused, and the other versions are listed", async (t) => {
  const { repository, store, adapter, lines } = logged(t);
  const first = await repository.publish(ZEN, { directory: adapter(1) });
  const second = await repository.publish(ZEN, { directory: adapter(2) });
  const whole = JSON.stringify(second);
  const nested = '['.repeat(9000) + ']'.repeat(9000);
  for (const bad of [
    '',
    '<html>',
    whole.slice(0, 100),
    JSON.stringify({ ...second, schema: 9 }),
    JSON.stringify({ ...second, tenant: 'other' }),
    JSON.stringify({ ...second, version: 1 }),
    JSON.stringify({ ...second, digest: 'd' }),
    JSON.stringify({ ...second, files: { ...second.files, 'adapter_config.json': {} } }),
    JSON.stringify({ schema: 1, removed_at: 'yesterday' }),
    whole.replace('"schema":1', `"schema":1,"metrics":{"a":${nested}}`),
    JSON.stringify({ ...second, files: withWeightsSize(second, 2 ** 40) }),
  ]) {
    lines.length = 0;
    await store.put('acme/zen/2/manifest.json', text(bad));
    await assert.rejects(repository.readManifest('acme', 'zen', 2), REFUSED);
    assert.equal(lines.length, 1, bad);
    assert.deepEqual(await repository.listVersions('acme', 'zen'), [first]);
  }
});

test('T41: a manifest whose origin is not one is refused, and the log names the field', async (t) => {
  const { repository, store, adapter, lines } = logged(t);
  const manifest = await repository.publish(ZEN, { directory: writeOrigin(adapter(1)) });
  for (const [field, training] of Object.entries({
    training: 'lorikeet',
    'training.program': { ...ORIGIN, program: 'x'.repeat(129) },
    'training.data': { program: ORIGIN.program },
    'training.validation.sha256': { ...ORIGIN, validation: { sha256: 'e', byteSize: 1 } },
    'training.init_adapter': { ...ORIGIN, init_adapter: 7 },
  })) {
    lines.length = 0;
    const key = 'acme/zen/1/manifest.json';
    await store.put(key, text(JSON.stringify({ ...manifest, training })));
    await assert.rejects(repository.readManifest('acme', 'zen', 1), REFUSED);
    assert.ok(String(lines[0]!['reason']).startsWith(`${field}: `), String(lines[0]!['reason']));
  }
});

test('a reader never goes back to an older state, another one starts where the store is', async (t) => {
  const { repository, open, store, adapter, lines } = logged(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  const older = { ...(await repository.readAliases('acme', 'zen'))!.aliases };
  await repository.publish(ZEN, { directory: adapter(2) });
  const newer = await repository.readAliases('acme', 'zen');
  await store.put('acme/zen/alias.json', text(JSON.stringify(older)));
  assert.deepEqual(await repository.readAliases('acme', 'zen'), newer);
  assert.equal(lines.at(-1)!['found'], 1);
  assert.equal(lines.at(-1)!['seen'], 2);
  assert.deepEqual((await open().readAliases('acme', 'zen'))!.aliases, older);
});

test('a file that a manifest names and the store has not is an alert', async (t) => {
  const { repository, store, adapter, lines } = logged(t);
  const manifest = await repository.publish(ZEN, { directory: adapter(1) });
  await store.delete('acme/zen/1/adapter_model.safetensors');
  await assert.rejects(repository.openFile(manifest, 'adapter_model.safetensors'), REFUSED);
  assert.equal(lines[0]!['alert'], 'dangling_pointer');
});

test('a damaged claim of another publication stops nobody', async (t) => {
  const { repository, store, adapter } = logged(t);
  await store.put('acme/zen/1/publishing.json', text('<html>'));
  const options = { publicationId: 'job' };
  const published = await repository.publish(ZEN, { directory: adapter(1) }, options);
  assert.equal(published.version, 2);
});

test('B69: a forged size sets no allocation: it is compared with what the store holds', async (t) => {
  const { repository, store, adapter } = logged(t);
  const manifest = await repository.publish(ZEN, { directory: adapter(1) });
  const forgedBytes = 2 ** 31;
  const forged = { ...manifest, files: withWeightsSize(manifest, forgedBytes) };
  await store.put('acme/zen/1/manifest.json', text(JSON.stringify(forged)));
  const read = await repository.readManifest('acme', 'zen', 1);
  const refused = { code: 'adapter_checksum_mismatch', param: 'adapter_model.safetensors' };
  const before = process.memoryUsage().arrayBuffers;
  let peak = 0;
  const openFile: typeof repository.openFile = async (...args) => {
    const object = await repository.openFile(...args);
    return {
      ...object,
      body: (async function* () {
        peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
        yield* object.body;
      })(),
    };
  };
  await assert.rejects(fetchVersion({ openFile }, read!), {
    ...refused,
    message: /bytes, not 2147483648/,
  });
  assert.ok(peak < forgedBytes / 16, `${peak} bytes`);
});

function withWeightsSize({ files }: VersionManifest, byteSize: number) {
  const { sha256 } = files['adapter_model.safetensors'];
  return { ...files, 'adapter_model.safetensors': { sha256, byteSize } };
}

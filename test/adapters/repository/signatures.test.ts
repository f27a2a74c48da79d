// Signed manifests: what is published with a signing key is read with its public key, and nothing else is.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { keys, parsePublicKey, parseSigningKey } from '../../../adapters/repository/manifest.ts';
import { createRepository } from '../../../adapters/repository/repository.ts';
import { readBody } from '../../../adapters/store/documents.ts';
import type { ObjectStore } from '../../../adapters/store/store.ts';
import { readSignatureKeys } from '../../../src/compose/repository.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { ORIGIN, shelf, writeOrigin, ZEN } from './shelf.ts';

/** A pair in PEM, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write it. */
function createPair(type: 'ed25519' | 'ed448' = 'ed25519') {
  const { publicKey, privateKey } = generateKeyPairSync(type as 'ed25519', {
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return { publicKey, signingKey: privateKey };
}

const PAIR = createPair();
const signatureKeys = parseSigningKey(PAIR.signingKey);

/** Reads the manifest as a server that only has the public key. */
function readBy(store: ObjectStore, { publicKey } = PAIR, version = 1) {
  const repository = createRepository(store, {
    signatureKeys: { publicKey: parsePublicKey(publicKey) },
  });
  return repository.readManifest(ZEN.tenant, ZEN.name, version);
}

const REFUSED = {
  ...{ name: 'ServeError', code: 'adapter_signature_invalid' },
  ...{ status: 422, param: 'model' },
};

/** Changes the stored manifest. */
async function edit(
  store: ObjectStore,
  change: (manifest: Record<string, unknown>) => Record<string, unknown>,
) {
  const key = keys.versionFile({ ...ZEN, version: 1 }, 'manifest.json');
  const object = await store.get(key);
  const bytes = await readBody(object!.body, 2 ** 20);
  const manifest = change(JSON.parse(Buffer.from(bytes!).toString()));
  await store.put(key, Buffer.from(JSON.stringify(manifest)));
}

async function publishSigned(t: TestContext) {
  const { store, repository, adapter } = shelf(t, { signatureKeys });
  const metrics = { b: 1, a: { d: 2, c: 3 } };
  await repository.publish(ZEN, { directory: writeOrigin(adapter(1)) }, { metrics });
  return store;
}

test('T23: a signed version is read with the public key, in whatever order its fields are stored', async (t) => {
  const store = await publishSigned(t);
  assert.equal((await readBy(store))!.version, 1);
  await edit(store, (manifest) => Object.fromEntries(Object.entries(manifest).reverse()));
  assert.equal((await readBy(store))!.version, 1);
});

test('T23: an unsigned version is refused with a key, and served without one', async (t) => {
  const { store, repository, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  await assert.rejects(readBy(store), REFUSED);
  assert.equal((await repository.readManifest(ZEN.tenant, ZEN.name, 1))!.version, 1);
});

test('T23: another key, another content and another version are refused', async (t) => {
  await assert.rejects(readBy(await publishSigned(t), createPair()), REFUSED);
  const otherData = { ...ORIGIN, data: ORIGIN.validation };
  const changes: Record<string, (manifest: Record<string, unknown>) => Record<string, unknown>> = {
    digest: (manifest) => ({ ...manifest, digest: 'a'.repeat(64) }),
    defaults: (manifest) => ({ ...manifest, generation_config: { temperature: 0 } }),
    metrics: (manifest) => ({ ...manifest, metrics: {} }),
    'training file': (manifest) => ({ ...manifest, training: otherData }),
    'no origin': ({ training: _, ...manifest }) => manifest,
    'no signature': ({ signature: _, ...manifest }) => manifest,
    'no base64': (manifest) => ({ ...manifest, signature: '!' }),
  };
  for (const [what, change] of Object.entries(changes)) {
    const store = await publishSigned(t);
    await edit(store, change);
    await assert.rejects(readBy(store), REFUSED, what);
  }
});

test('T23: a signature that is replayed for another tenant is refused', async (t) => {
  const { store, repository, adapter } = shelf(t, { signatureKeys });
  const manifest = await repository.publish(ZEN, { directory: adapter(1) });
  const other = { ...ZEN, tenant: 'other' };
  const forged = Buffer.from(JSON.stringify({ ...manifest, ...other }));
  await store.put(keys.versionFile({ ...other, version: 1 }, 'manifest.json'), forged);
  await assert.rejects(repository.readManifest(other.tenant, other.name, 1), REFUSED);
});

test('key files that are missing, of another kind or no pair are refused by the name of the setting', (t) => {
  const folder = temporaryFolder(t);
  const write = (name: string, text: string) => {
    const file = path.join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  const adapterPublicKey = write('public.pem', PAIR.publicKey);
  const adapterSigningKey = write('private.pem', PAIR.signingKey);
  const none = { adapterPublicKey: undefined, adapterSigningKey: undefined };
  assert.equal(readSignatureKeys(none), undefined);
  assert.ok(readSignatureKeys({ adapterPublicKey, adapterSigningKey }));
  const [absent, text] = [path.join(folder, 'none'), write('a', 'text')];
  const ofOtherKind = write('b', createPair('ed448').publicKey);
  const ofOtherPair = write('c', createPair().publicKey);
  for (const [files, message] of [
    [{ ...none, adapterPublicKey: absent }, /^--adapter-public-key: ENOENT/],
    [{ ...none, adapterPublicKey: text }, /^--adapter-public-key: /],
    [{ ...none, adapterPublicKey: ofOtherKind }, /public-key: is not an Ed25519 key/],
    [{ ...none, adapterSigningKey: adapterPublicKey }, /^--adapter-signing-key: /],
    [{ adapterSigningKey, adapterPublicKey: absent }, /^--adapter-public-key: ENO/],
    [{ adapterSigningKey, adapterPublicKey: ofOtherPair }, /does not belong to the private key/],
  ] as const) {
    assert.throws(() => readSignatureKeys(files), { name: 'ConfigError', message });
  }
});

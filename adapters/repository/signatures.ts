// Signatures of manifests (Ed25519): who may write to the store cannot publish without the private key. A manifest names its
// tenant, name, version and the digests of its files, so a signature is worth nothing elsewhere.
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { ServeError } from '../../src/common/errors.ts';
import type { VersionManifest } from './manifest.ts';

const KEY_TYPE = 'ed25519';
/** No other signed text begins like this. */
const PURPOSE = 'lorikeet adapter manifest\n';

/** The keys of a repository. With a signing key, what is published is signed, and what is read must be. */
export interface SignatureKeys {
  readonly publicKey: KeyObject;
  readonly signingKey?: KeyObject;
}

/** Parses a public key in PEM. Throws `TypeError` or an error of the runtime if it is no Ed25519 key. */
export function parsePublicKey(pem: string): KeyObject {
  return ofType(createPublicKey(pem));
}

/** Parses a private key in PEM, which contains the public one. Throws as `parsePublicKey`. */
export function parseSigningKey(pem: string): Required<SignatureKeys> {
  const signingKey = ofType(createPrivateKey(pem));
  return { signingKey, publicKey: createPublicKey(signingKey) };
}

function ofType(key: KeyObject): KeyObject {
  if (key.asymmetricKeyType !== KEY_TYPE) throw new TypeError('is not an Ed25519 key');
  return key;
}

/** Returns the manifest with a signature, or as it is if there is no signing key. */
export function signManifest(
  manifest: VersionManifest,
  keys: SignatureKeys | undefined,
): VersionManifest {
  if (!keys?.signingKey) return manifest;
  const signature = sign(null, signedBytes(manifest), keys.signingKey).toString('base64');
  return { ...manifest, signature };
}

/** Throws `ServeError` (`adapter_signature_invalid`) if there is a key and the manifest is not signed with it. */
export function verifyManifest(manifest: VersionManifest, keys: SignatureKeys | undefined): void {
  if (!keys) return;
  const { signature } = manifest;
  const isValid =
    signature !== undefined &&
    verify(null, signedBytes(manifest), keys.publicKey, Buffer.from(signature, 'base64'));
  if (isValid) return;
  const what = signature === undefined ? 'is not signed' : 'has a signature that is not valid';
  const message = `${manifest.name}@${manifest.version} ${what}. Its operator must publish it again.`;
  throw new ServeError('adapter_signature_invalid', message, { param: 'model' });
}

function signedBytes({ signature: _, ...manifest }: VersionManifest): Uint8Array {
  return Buffer.from(PURPOSE + JSON.stringify(manifest, inOrder));
}

/** Orders the keys of objects, because a reader may not keep the writer's order. */
function inOrder(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

// The documents of published adapters: a version's manifest, claim and tombstone, and the aliases of a name. Contains their
// schemas, names, keys and signatures. Pure: no I/O.

import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { ServeError } from '../../src/common/errors.ts';
import { adapterAboutSchema } from '../../src/contracts/adapter-about.ts';
import { addedTokensSchema } from '../../src/contracts/added-tokens.ts';
import { generationConfigSchema } from '../../src/contracts/generation-config.ts';
import { requestDefaultsSchema } from '../../src/contracts/request-defaults.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import { trainingOriginSchema } from '../../src/contracts/training-origin.ts';
import { CONFIG_FILE, MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES, WEIGHTS_FILE } from '../peft/files.ts';

/** An adapter's owner and name. */
export interface AdapterName {
  readonly tenant: string;
  readonly name: string;
}

/** An alias of an adapter, such as `latest`. */
export interface AliasName extends AdapterName {
  readonly alias: string;
}

/** A version of an adapter, by number. */
export interface VersionName extends AdapterName {
  readonly version: number;
}

/**
 * A name or an alias. It excludes `@`, `:`, `+`, `*` and `/`, which separate the parts of a model name, and `__proto__`, which
 * is special as a key of a JSON object.
 */
export const NAME_PATTERN = /^(?!.*\.\.)(?!__proto__$)[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$/;

/** The last part of a fine-tuned model's name: an alias of the adapter's name. */
export const FINE_TUNED_ALIAS = /^[0-9a-f]{24}$/;
/** Ends the alias of a job's checkpoint. */
export const CHECKPOINT_ALIAS = /\.ckpt-step-\d+$/;
/** Names that mean something else as a model. Nothing is published under them. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set(['base', 'default', 'ft']);

/** A manifest with 4,096 targets and generous metrics takes 100 KB. lorikeet refuses to write a longer one. */
export const MAX_MANIFEST_BYTES = 1024 * 1024;
/** The largest document that the schema allows, with two pointers of 200 bytes per alias, and text of 6 bytes a character. */
export const MAX_ALIASES_BYTES = 576 * 1024;
/** Each training job of a name keeps one alias, and its checkpoints three. Every poll reads all of them. */
const MAX_ALIASES = 1000;

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const name = z.string().regex(NAME_PATTERN);
const owner = z.string().regex(TENANT_PATTERN);
/** Readers allocate memory and disk space by these sizes, so the sizes are bounded. */
const fileOf = (maxBytes: number) =>
  z.object({ sha256: digest, byteSize: z.int().positive().max(maxBytes) });

/** `manifest.json`, written last: without it the version does not exist. snake_case, like PEFT's files. */
export const manifestSchema = z.object({
  schema: z.literal(1),
  tenant: owner,
  name,
  /** Counts from 1 within the name. */
  version: z.int().positive(),
  /** The adapter's identity by content (`adapters/peft/files.ts`). */
  digest,
  files: z.object({
    [CONFIG_FILE]: fileOf(MAX_CONFIG_BYTES),
    [WEIGHTS_FILE]: fileOf(MAX_WEIGHTS_BYTES),
  }),
  /** Digest of the base it was trained on. Another base of the same shape is refused. Absent: unknown. */
  base_digest: digest.optional(),
  /** Unix seconds. */
  created_at: z.int(),
  rank: z.int().positive(),
  targets: z.array(z.string()),
  /** The job that trained it. */
  job: z.string().optional(),
  /** The data and the program that produced it. Absent: lorikeet did not train it, or an older version did. */
  training: trainingOriginSchema.optional(),
  /** The evaluation card, training figures and the like. */
  metrics: z.record(z.string(), z.unknown()).optional(),
  /** Its own sampling defaults, from the generation_config.json in its folder. */
  generation_config: generationConfigSchema.optional(),
  /** Fields for requests that leave them out, from the request_defaults.json in its folder. */
  request_defaults: requestDefaultsSchema.optional(),
  /** The number of tokens in its vocabulary tables. Absent: it has none. */
  vocab_size: z.int().positive().optional(),
  /** The tokens that it adds to the base, from the tokenizer in its folder. */
  added_tokens: addedTokensSchema.optional(),
  /** The names of a classifier's classes, as far as it has any. Absent: it generates text, or an older version published it. */
  labels: z.array(z.string()).optional(),
  /** Ed25519 signature over all other fields, in base64. Absent: it was published without a signing key. */
  signature: z.string().max(128).optional(),
});

/** A version's manifest. */
export type VersionManifest = z.infer<typeof manifestSchema>;

/** Replaces a manifest if the version was removed or never finished. The number is not used again. */
export const tombstoneSchema = z.strictObject({
  schema: z.literal(1),
  /** Unix seconds. */
  removed_at: z.int(),
});

/** Every manifest is longer and every tombstone shorter, so a list can tell them apart. */
export const MAX_TOMBSTONE_BYTES = 128;

/** `publishing.json`: names the publication that owns a version's number. */
export const claimSchema = z.object({
  schema: z.literal(1),
  publication_id: z.string().min(1).max(256),
  /** The adapter's digest. */
  digest,
  /** Unix seconds. */
  started_at: z.int(),
});

/** A publication's claim to a version's number. */
export type VersionClaim = z.infer<typeof claimSchema>;

/** The target of an alias: a version, or shares of several versions that add up to 100 percent. */
export const pointerSchema = z.union([
  z.object({ version: z.int().positive() }),
  z.object({
    split: z
      .array(z.object({ version: z.int().positive(), percent: z.number().positive().max(100) }))
      .min(2)
      .max(4)
      .refine((shares) => sumOf(shares) === 100, 'the shares do not add up to 100')
      .refine(
        (shares) => new Set(shares.map(({ version }) => version)).size === shares.length,
        'a version has two shares',
      ),
  }),
]);

/** The target of an alias. */
export type AliasPointer = z.infer<typeof pointerSchema>;

/** Adds thousandths, so that 33.3 + 33.3 + 33.4 is 100. */
function sumOf(shares: readonly { readonly percent: number }[]): number {
  return shares.reduce((sum, { percent }) => sum + Math.round(percent * 1000), 0) / 1000;
}

/** Lists the versions that a pointer leads to. */
export function versionsOf(pointer: AliasPointer): number[] {
  return 'version' in pointer ? [pointer.version] : pointer.split.map(({ version }) => version);
}

const pointers = z
  .record(name, pointerSchema)
  .refine((all) => Object.keys(all).length <= MAX_ALIASES, `more than ${MAX_ALIASES} aliases`);

/** `alias.json`: all aliases of a name. It changes by compare-and-swap. */
export const aliasesSchema = z.object({
  schema: z.literal(1),
  tenant: owner,
  name,
  /** Grows by one with every change, so readers can recognize an older state. */
  revision: z.int().positive(),
  aliases: pointers,
  /** The target of a rollback of each alias: the one before its last change, or before the split that it is in. */
  previous: pointers.default({}),
  /** Aliases whose last change was a rollback. Version 0.3.0 drops the list. */
  rolled_back: z.array(name).optional(),
  /** Versions that are being removed. No alias may be pointed to them. */
  removing: z.array(z.int().positive()).default([]),
  /** The owner's text about the adapter. Absent: there is none. */
  about: adapterAboutSchema.optional(),
});

/** The aliases of a name. */
export type Aliases = z.infer<typeof aliasesSchema>;

/** Returns the target of an alias. Only own keys count: `constructor` and the like are not found by accident. */
export function pointerOf(aliases: Aliases['aliases'], alias: string): AliasPointer | undefined {
  return Object.hasOwn(aliases, alias) ? aliases[alias] : undefined;
}

/** The alias that a name without version or alias means. */
export const LATEST = 'latest';
const ALIAS_FILE = 'alias.json';
export const MANIFEST_FILE = 'manifest.json';
/** Written first, and only if absent: its writer owns the version's number. */
export const CLAIM_FILE = 'publishing.json';

/** The keys of the documents. */
export const keys = {
  tenant: (tenant: string) => `${tenant}/`,
  name: (tenant: string, name: string) => `${tenant}/${name}/`,
  alias: (tenant: string, name: string) => `${tenant}/${name}/${ALIAS_FILE}`,
  versionFile: (of: VersionName, file: string) => `${of.tenant}/${of.name}/${of.version}/${file}`,
};

/** Throws `ServeError` (400) if the name is not valid. */
export function checkName({ tenant, name }: AdapterName): AdapterName {
  if (!TENANT_PATTERN.test(tenant)) throw badName('tenant', 'lower-case letters');
  if (!NAME_PATTERN.test(name)) throw badName('name', 'letters');
  return { tenant, name };
}

/** Throws `ServeError` (400) if nothing can be published under the name. */
export function checkNewName(to: AdapterName): AdapterName {
  if (!RESERVED_NAMES.has(to.name)) return checkName(to);
  const message = `The name '${to.name}' is reserved, because it means something else as a model. Choose another one.`;
  throw new ServeError('invalid_request', message, { param: 'name' });
}

/** Throws `ServeError` (400) if the name or the alias is not valid. */
export function checkAlias(name: AdapterName, alias: string): AliasName {
  if (!NAME_PATTERN.test(alias)) throw badName('alias', 'letters');
  return { ...checkName(name), alias };
}

function badName(param: string, letters: string): ServeError {
  const rule = `up to 63 ${letters}, digits, '.', '_' and '-', without '..', a ${letters.replace(/s$/, '')} or digit first`;
  return new ServeError('invalid_request', `The ${param} must be ${rule}.`, { param });
}

// Signatures of manifests (Ed25519): write access to the store is not enough to publish without the private key. A manifest
// contains its tenant, name, version and file digests, so its signature is useless elsewhere.

const KEY_TYPE = 'ed25519';
/** No other signed text starts like this. */
const PURPOSE = 'lorikeet adapter manifest\n';

/** The keys of a repository. With a signing key, new versions are signed, and every version that is read must be signed. */
export interface SignatureKeys {
  readonly publicKey: KeyObject;
  readonly signingKey?: KeyObject;
}

/** Parses a public key in PEM. Throws `TypeError` or an error of the runtime if it is not an Ed25519 key. */
export function parsePublicKey(pem: string): KeyObject {
  return ofType(createPublicKey(pem));
}

/** Parses a private key in PEM, which includes the public one. Throws as `parsePublicKey`. */
export function parseSigningKey(pem: string): Required<SignatureKeys> {
  const signingKey = ofType(createPrivateKey(pem));
  return { signingKey, publicKey: createPublicKey(signingKey) };
}

function ofType(key: KeyObject): KeyObject {
  if (key.asymmetricKeyType !== KEY_TYPE) throw new TypeError('is not an Ed25519 key');
  return key;
}

/** Returns the manifest with a signature, or unchanged without a signing key. */
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

/** Orders the keys of objects, because readers may not keep the writer's order. */
function inOrder(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

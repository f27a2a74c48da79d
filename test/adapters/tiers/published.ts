// Published adapters in a store whose answers a test can spoil.

import { createHash } from 'node:crypto';
import { adapterDigest } from '../../../adapters/peft/files.ts';
import type { AdapterPart, ResolvedAdapter } from '../../../adapters/registry/resolved.ts';
import { keys, type VersionManifest } from '../../../adapters/repository/manifest.ts';
import type { ObjectStore, StoreCall, StoredObject } from '../../../adapters/store/store.ts';
import { configBytes } from '../sample.ts';

export interface Published {
  readonly manifest: VersionManifest;
  readonly bytes: Record<keyof VersionManifest['files'], Uint8Array>;
}

/** A version whose weights are `weightBytes` bytes of its name's own. */
export function publishedVersion(
  name: string,
  { tenant = 'acme', weightBytes = 1000 }: { tenant?: string; weightBytes?: number } = {},
): Published {
  const config = configBytes();
  const weights = new Uint8Array(weightBytes).map((_, i) => name.charCodeAt(i % name.length));
  const fileOf = (bytes: Uint8Array) => ({
    sha256: createHash('sha256').update(bytes).digest('hex'),
    byteSize: bytes.length,
  });
  return {
    bytes: { 'adapter_config.json': config, 'adapter_model.safetensors': weights },
    manifest: {
      schema: 1,
      tenant,
      name,
      version: 1,
      digest: adapterDigest(config, weights),
      files: {
        'adapter_config.json': fileOf(config),
        'adapter_model.safetensors': fileOf(weights),
      },
      created_at: 1_700_000_000,
      rank: 2,
      targets: ['q_proj', 'v_proj'],
    },
  };
}

export function toResolved(...versions: Published[]): ResolvedAdapter {
  const parts = versions.map(
    ({ manifest }): AdapterPart => ({
      owner: manifest.tenant,
      name: manifest.name,
      digest: manifest.digest,
      weight: 1,
      location: { kind: 'version', manifest },
    }),
  );
  return { kind: 'adapter', id: parts[0]!.name, digest: parts[0]!.digest, parts };
}

/** What becomes of one answer: throw, wait, or change the object. */
export type Spoil = (
  object: StoredObject | undefined,
  call: StoreCall,
) => StoredObject | undefined | Promise<StoredObject | undefined>;

/** Reads of another store, each spoilt as the test says; what was asked is kept. */
export class SpoiltStore implements Pick<ObjectStore, 'get' | 'label'> {
  readonly label = 'spoilt';
  readonly asked: string[] = [];
  spoil: Spoil = (object) => object;
  readonly #objects = new Map<string, Uint8Array>();

  add({ manifest, bytes }: Published): Published {
    for (const [name, content] of Object.entries(bytes)) {
      this.#objects.set(keys.versionFile(manifest, name), content);
    }
    return { manifest, bytes };
  }

  async get(key: string, call: StoreCall = {}): Promise<StoredObject | undefined> {
    this.asked.push(key);
    const bytes = this.#objects.get(key);
    const info = { key, byteSize: bytes?.length ?? 0, etag: 'e', modifiedMs: 0 };
    return this.spoil(bytes && { ...info, body: pieces(bytes) }, call);
  }
}

/** In pieces of 100 bytes. */
export async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100) yield bytes.subarray(at, at + 100);
}

/** The first `length` bytes of a body, then what `after` does. */
export async function* cut(
  body: AsyncIterable<Uint8Array>,
  length: number,
  after: () => Promise<never> | undefined = () => undefined,
): AsyncGenerator<Uint8Array> {
  let left = length;
  for await (const piece of body) {
    yield piece.subarray(0, left);
    left -= piece.length;
    if (left <= 0) break;
  }
  await after();
}

export const never = (): Promise<never> => new Promise(() => {});

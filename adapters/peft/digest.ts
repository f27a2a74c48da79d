// An adapter's identity: SHA-256 over its configuration and its weights, each behind its length, so that no byte
// can move from one file to the other unnoticed. It opens no files.
import { createHash } from 'node:crypto';

export interface AdapterHasher {
  /** The next bytes of the part that was announced; parts may come in pieces. */
  update(bytes: Uint8Array): void;
  /** Announces the next part: the configuration first, then the weights. */
  startPart(byteLength: number): void;
  /** Hex. */
  digest(): string;
}

export function createAdapterHasher(): AdapterHasher {
  const hash = createHash('sha256');
  return {
    startPart(byteLength) {
      const prefix = Buffer.alloc(8);
      prefix.writeBigUInt64LE(BigInt(byteLength));
      hash.update(prefix);
    },
    update: (bytes) => void hash.update(bytes),
    digest: () => hash.digest('hex'),
  };
}

/** The digest of an adapter whose files are in memory, hex. */
export function adapterDigest(configBytes: Uint8Array, weightsBytes: Uint8Array): string {
  const hasher = createAdapterHasher();
  for (const bytes of [configBytes, weightsBytes]) {
    hasher.startPart(bytes.length);
    hasher.update(bytes);
  }
  return hasher.digest();
}

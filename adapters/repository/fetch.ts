// Fetches a version's two files into memory, and checks every byte against the manifest.
import { createHash } from 'node:crypto';
import { ServeError } from '../../src/common/errors.ts';
import { type AdapterFiles, adapterDigest, CONFIG_FILE, WEIGHTS_FILE } from '../peft/files.ts';
import type { StoreCall } from '../store/store.ts';
import type { VersionManifest } from './manifest.ts';
import type { AdapterRepository } from './repository.ts';

/** The options of a fetch. */
export interface FetchVersionOptions extends StoreCall {
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** Fetches both files. Rejects with `ServeError`: `adapter_checksum_mismatch` naming the file, or `adapter_unavailable`. */
export async function fetchVersion(
  repository: Pick<AdapterRepository, 'openFile'>,
  manifest: VersionManifest,
  { onProgress, ...call }: FetchVersionOptions = {},
): Promise<AdapterFiles> {
  const totalBytes = manifest.files[CONFIG_FILE].byteSize + manifest.files[WEIGHTS_FILE].byteSize;
  let doneBytes = 0;
  const read = async (file: keyof VersionManifest['files']) => {
    const { byteSize, sha256 } = manifest.files[file];
    const { body, byteSize: storedBytes } = await repository.openFile(manifest, file, call);
    if (storedBytes !== byteSize) {
      for await (const _ of body) break; // frees the connection
      throw mismatch(file, `has ${storedBytes} bytes, not ${byteSize}`);
    }
    const bytes = new Uint8Array(byteSize);
    let filled = 0;
    for await (const chunk of body) {
      if (filled + chunk.length > byteSize)
        throw mismatch(file, `is longer than ${byteSize} bytes`);
      bytes.set(chunk, filled);
      filled += chunk.length;
      doneBytes += chunk.length;
      onProgress?.(doneBytes, totalBytes);
    }
    if (filled < byteSize) throw mismatch(file, `ends after ${filled} of ${byteSize} bytes`);
    const found = createHash('sha256').update(bytes).digest('hex');
    if (found !== sha256) throw mismatch(file, `has the SHA-256 ${found}, not ${sha256}`);
    return bytes;
  };
  const configBytes = await read(CONFIG_FILE);
  const weightsBytes = await read(WEIGHTS_FILE);
  const digest = adapterDigest(configBytes, weightsBytes);
  if (digest !== manifest.digest)
    throw mismatch('manifest.json', 'has the digest of another adapter');
  return { configBytes, weightsBytes, digest };
}

function mismatch(file: string, fault: string): ServeError {
  const message = `The stored adapter differs from the published one: ${file} ${fault}.`;
  return new ServeError('adapter_checksum_mismatch', message, { param: file });
}

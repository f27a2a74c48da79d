// The digest that identifies an artifact: computed while one is written, and again to verify one that is there.
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { FileError } from '../common/errors.ts';
import type { Tensor } from '../common/tensor.ts';
import { GENERATION_CONFIG_FILE } from '../contracts/generation-config.ts';
import { readArtifactInfo } from './artifact.ts';
import { CONFIG_FILE, openFolder, WEIGHTS_FILE } from './folder.ts';

/** Digests an artifact part by part. The order in which parts are added does not matter. */
export class ArtifactDigest {
  readonly #parts = new Map<string, string>();

  /** Adds a tensor with its dtype and shape. */
  addTensor(name: string, { dtype, shape, data }: Tensor): void {
    this.#parts.set(`tensor ${name} ${dtype} ${shape.join('x')}`, sha256(data));
  }

  /** Adds a file beside the weights. */
  addFile(name: string, bytes: Uint8Array): void {
    this.#parts.set(`file ${name}`, sha256(bytes));
  }

  /** Returns the SHA-256 over all parts, hex. */
  hex(): string {
    const lines = [...this.#parts].map(([part, digest]) => `${part} ${digest}\n`).sort();
    return sha256(new TextEncoder().encode(lines.join('')));
  }
}

/**
 * Reads a whole artifact and compares it with the digest in its lorikeet.json. The event loop turns between tensors.
 * Throws `FileError` if they differ or the folder is not a readable artifact, and an `AbortError` once aborted.
 */
export async function verifyArtifact(dir: string, signal?: AbortSignal): Promise<void> {
  const { digest, source } = readArtifactInfo(dir);
  const { tensors, files, configText } = openFolder(dir);
  const found = new ArtifactDigest();
  try {
    for (const name of tensors.infos.keys()) {
      found.addTensor(name, tensors.read(name));
      await setImmediate(undefined, { signal });
    }
  } finally {
    tensors.close();
  }
  found.addFile(CONFIG_FILE, new TextEncoder().encode(configText));
  for (const [name, bytes] of files)
    if (name !== GENERATION_CONFIG_FILE) found.addFile(name, bytes);
  if (found.hex() === digest) return;
  // Sampling defaults count if they came with the model; an operator may have added them later.
  const defaults = files.get(GENERATION_CONFIG_FILE);
  if (defaults) found.addFile(GENERATION_CONFIG_FILE, defaults);
  if (found.hex() === digest) return;
  throw new FileError(
    `${dir}/${WEIGHTS_FILE}`,
    'the weights, config.json or the tokenizer changed after the import: they do not have the digest in ' +
      `lorikeet.json. Import the model again: lorikeet import ${source} --out ${dir}`,
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

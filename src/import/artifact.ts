// Reads and verifies an artifact: the folder that `lorikeet import` writes, and that serving and training start from. It is a
// checkpoint in bitsandbytes' layout, which transformers can also open, and lorikeet.json with its digest.

import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { parseFileValue } from '../common/schema-errors.ts';
import {
  byteLength,
  type Matrix,
  type Tensor,
  type TensorSource,
  toFloat32,
} from '../common/tensor.ts';
import { GENERATION_CONFIG_FILE } from '../contracts/generation-config.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import { dequantizeNf4 } from '../quant/nf4.ts';
import { isNf4, type Nf4Linear, readNf4 } from './bitsandbytes.ts';
import { checkTensors } from './checkpoint.ts';
import { CONFIG_FILE, openFolder, readJson, WEIGHTS_FILE } from './folder.ts';

export const INFO_FILE = 'lorikeet.json';
export const FORMAT_VERSION = 1;

const common = {
  format: z.literal(FORMAT_VERSION),
  /** The model's name in requests: the last part of the source. */
  name: z.string().min(1),
  /** The source as given to `import`. A local path is reduced to its last part. */
  source: z.string(),
  /** SHA-256 over tensors, configuration, tokenizer and template, hex. The identity of the base. */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
};

const infoSchema = z.discriminatedUnion('quantization', [
  z.object({
    ...common,
    quantization: z.literal('nf4'),
    doubleQuantization: z.boolean(),
    blockSize: z.number().int().positive(),
    codebook: z.array(z.number()).length(16),
  }),
  z.object({ ...common, quantization: z.literal('none') }),
]);

/** The contents of lorikeet.json. */
export type ArtifactInfo = z.infer<typeof infoSchema>;

/** An artifact without its tensors. */
export interface ArtifactDescription {
  readonly dir: string;
  readonly info: ArtifactInfo;
  readonly configJson: Readonly<Record<string, unknown>>;
  readonly config: DecoderConfig;
}

/** An open artifact. */
export interface Artifact extends ArtifactDescription, Disposable {
  /** The caller closes them, or disposes of the artifact. */
  readonly tensors: TensorSource;
}

/** The stored weights of a linear layer. */
export type LinearWeights =
  | ({ readonly kind: 'nf4' } & Nf4Linear)
  /** [rows, cols] = [out, in]. */
  | ({ readonly kind: 'dense' } & Matrix);

/** Reads lorikeet.json of a folder. Throws `FileError` if the folder is not an artifact. */
export function readArtifactInfo(dir: string): ArtifactInfo {
  return parseFileValue(infoSchema, readJson(dir, INFO_FILE), INFO_FILE);
}

/** Reads an artifact's description without opening its tensors. Throws `FileError`. */
export function describeArtifact(dir: string): ArtifactDescription {
  const info = readArtifactInfo(dir);
  const configJson = readJson(dir, CONFIG_FILE);
  return { dir, info, configJson, config: parseDecoderConfig(configJson) };
}

/** Opens an artifact and checks that it contains all tensors of its model. Throws `FileError`. */
export function readArtifact(dir: string): Artifact {
  const info = readArtifactInfo(dir);
  const { configJson, tensors } = openFolder(dir);
  try {
    const config = parseDecoderConfig(configJson);
    checkTensors(tensors, config);
    return { dir, info, configJson, config, tensors, [Symbol.dispose]: tensors.close };
  } catch (error) {
    tensors.close();
    throw error;
  }
}

/** Reads the weights of one linear layer, by module name (`model.layers.0.self_attn.q_proj`). Throws `FileError`. */
export function readLinear(
  { tensors }: Pick<Artifact, 'tensors'>,
  moduleName: string,
): LinearWeights {
  const weight = `${moduleName}.weight`;
  if (isNf4(tensors, weight)) return { kind: 'nf4', ...readNf4(tensors, weight) };
  const tensor = tensors.read(weight);
  const [rows, cols] = tensor.shape;
  if (tensor.shape.length !== 2 || rows === undefined || cols === undefined) {
    throw new FileError(weight, `shape [${tensor.shape}] is not a matrix`);
  }
  return { kind: 'dense', values: toFloat32(tensor), rows, cols };
}

/** Returns the float values of a linear [rows, cols]. They may be the tensor's own memory. */
export function denseValues(linear: LinearWeights): Float32Array {
  if (linear.kind === 'dense') return linear.values;
  return dequantizeNf4(linear.packed, linear.absmax, linear.rows * linear.cols);
}

/** Computes an artifact's digest from its parts, which may be added in any order. */
export class ArtifactDigest {
  readonly #parts = new Map<string, string>();

  /** Adds a tensor with its dtype and shape. */
  addTensor(name: string, { dtype, shape, data }: Tensor): void {
    this.#parts.set(`tensor ${name} ${dtype} ${shape.join('x')}`, hash('sha256', data));
  }

  /** Adds a file other than the weights. */
  addFile(name: string, bytes: Uint8Array): void {
    this.#parts.set(`file ${name}`, hash('sha256', bytes));
  }

  /** Returns the SHA-256 over all parts, hex. */
  hex(): string {
    const lines = [...this.#parts].map(([part, digest]) => `${part} ${digest}\n`).sort();
    return hash('sha256', lines.join(''));
  }
}

/**
 * Reads a whole artifact and compares it with the digest in its lorikeet.json. Yields to the event loop between tensors. Throws
 * `FileError` if the digests differ or the folder is not a readable artifact, and an `AbortError` once aborted.
 * @param onRead is called with the bytes that were read, and their total
 */
export async function verifyArtifact(
  dir: string,
  signal?: AbortSignal,
  onRead?: (done: number, total: number) => void,
): Promise<void> {
  const { digest, source } = readArtifactInfo(dir);
  const { tensors, files, configText } = openFolder(dir);
  const actual = new ArtifactDigest();
  using _open = tensors;
  const sizes = Array.from(tensors.infos.values(), byteLength);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let done = 0;
  onRead?.(done, total);
  for (const [i, name] of [...tensors.infos.keys()].entries()) {
    actual.addTensor(name, tensors.read(name));
    await setImmediate(undefined, { signal });
    done += sizes[i]!;
    onRead?.(done, total);
  }
  actual.addFile(CONFIG_FILE, new TextEncoder().encode(configText));
  for (const [name, bytes] of files)
    if (name !== GENERATION_CONFIG_FILE) actual.addFile(name, bytes);
  if (actual.hex() === digest) return;
  // The digest includes sampling defaults that came with the model, but not those that an operator added later.
  const defaults = files.get(GENERATION_CONFIG_FILE);
  if (defaults) actual.addFile(GENERATION_CONFIG_FILE, defaults);
  if (actual.hex() === digest) return;
  throw new FileError(
    `${dir}/${WEIGHTS_FILE}`,
    'the weights, config.json or the tokenizer changed after the import, so they no longer have the digest in ' +
      `lorikeet.json. Import the model again: lorikeet import ${source} --out ${dir}`,
  );
}

// Reads an artifact: the folder that `lorikeet import` writes and everything else starts from. It is a checkpoint in
// bitsandbytes' layout that transformers opens too, and lorikeet.json, which gives it an identity.
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { type TensorSource, toFloat32 } from '../common/tensor.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import { isNf4, readNf4 } from './bitsandbytes.ts';
import { checkTensors } from './checkpoint.ts';
import { CONFIG_FILE, openFolder, readJson } from './folder.ts';

export const INFO_FILE = 'lorikeet.json';
export const FORMAT_VERSION = 1;

const common = {
  format: z.literal(FORMAT_VERSION),
  /** What the model is called in requests: the last part of the source. */
  name: z.string().min(1),
  /** As given to `import`; of a local path only its last part. */
  source: z.string(),
  /** SHA-256 over tensors, configuration, tokenizer and template, hex: the base's identity. */
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

export type ArtifactInfo = z.infer<typeof infoSchema>;

/** What an artifact says of itself. */
export interface ArtifactDescription {
  readonly dir: string;
  readonly info: ArtifactInfo;
  readonly configJson: Readonly<Record<string, unknown>>;
  readonly config: DecoderConfig;
}

export interface Artifact extends ArtifactDescription {
  /** The caller closes it. */
  readonly tensors: TensorSource;
}

export type LinearWeights =
  | {
      readonly kind: 'nf4';
      /** Codes of the flattened [rows, cols] matrix, two a byte. */
      readonly packed: Uint8Array;
      /** [ceil(rows * cols / 64)], restored to fp32. */
      readonly absmax: Float32Array;
      readonly rows: number;
      readonly cols: number;
    }
  | {
      readonly kind: 'dense';
      /** [rows, cols] = [out, in]. */
      readonly values: Float32Array;
      readonly rows: number;
      readonly cols: number;
    };

/** lorikeet.json of a folder; throws `FileError` where the folder is no artifact. */
export function readArtifactInfo(dir: string): ArtifactInfo {
  const result = infoSchema.safeParse(readJson(dir, INFO_FILE));
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new FileError(INFO_FILE, `${issue.path.join('.')}: ${issue.message}`);
}

/** Reads no tensor: enough where the serving files are built. Throws `FileError`. */
export function describeArtifact(dir: string): ArtifactDescription {
  const info = readArtifactInfo(dir);
  const configJson = readJson(dir, CONFIG_FILE);
  return { dir, info, configJson, config: parseDecoderConfig(configJson) };
}

/** Opens an artifact and checks that it holds every tensor of its model; throws `FileError`. */
export function readArtifact(dir: string): Artifact {
  const info = readArtifactInfo(dir);
  const { configJson, tensors } = openFolder(dir);
  try {
    const config = parseDecoderConfig(configJson);
    checkTensors(tensors, config);
    return { dir, info, configJson, config, tensors };
  } catch (error) {
    tensors.close();
    throw error;
  }
}

/** The weights of one linear, by module name (`model.layers.0.self_attn.q_proj`), as they are stored. */
export function readLinear(
  { tensors }: Pick<Artifact, 'tensors'>,
  moduleName: string,
): LinearWeights {
  const weight = `${moduleName}.weight`;
  if (isNf4(tensors, weight)) {
    const { packed, absmax, rows, cols } = readNf4(tensors, weight);
    return { kind: 'nf4', packed, absmax, rows, cols };
  }
  const tensor = tensors.read(weight);
  const [rows, cols] = tensor.shape;
  if (tensor.shape.length !== 2 || rows === undefined || cols === undefined) {
    throw new FileError(weight, `shape [${tensor.shape}] is no matrix`);
  }
  return { kind: 'dense', values: toFloat32(tensor), rows, cols };
}

// A base model from any source: configuration, tensors under transformers' names, and companion files. Checks the tensors
// against the configuration. Quantization comes later.
import { FileError } from '../common/errors.ts';
import { isFloat, type TensorSource } from '../common/tensor.ts';
import { checkHeads, type DecoderConfig } from '../model/config.ts';
import { embeddingName, expectedTensors, headName } from '../model/names.ts';
import { TARGET_MODULES, TARGET_NAMES } from '../model/target-modules.ts';
import { companionNames, isNf4, nf4Shape } from './bitsandbytes.ts';

/** An open base model. */
export interface Checkpoint {
  readonly configJson: Readonly<Record<string, unknown>>;
  /** The text of `configJson`. Unlike the parsed value it distinguishes 1.0 from 1, which some readers require. */
  readonly configText: string;
  readonly tensors: TensorSource;
  /** Tokenizer, template and generation settings: file name → contents. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** Files to copy along with the weights if the source has them. */
export const COMPANION_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
  'generation_config.json',
  'special_tokens_map.json',
] as const;

const linearPattern = new RegExp(
  `^model\\.layers\\.\\d+\\.(?:${TARGET_NAMES.map((name) => TARGET_MODULES[name].path.replace('.', '\\.')).join('|')})\\.weight$`,
);

/** Whether a tensor is the weight of a linear layer in a decoder block. NF4 packs only these. */
export function isLinearWeight(name: string): boolean {
  return linearPattern.test(name);
}

/**
 * Returns the names and shapes of the model's tensors, without obsolete ones from older checkpoints. Throws `FileError` naming
 * a tensor that is missing, unknown or has the wrong shape, or the size of attention heads that cannot be served.
 */
export function checkTensors(
  source: TensorSource,
  config: DecoderConfig,
): ReadonlyMap<string, readonly number[]> {
  checkHeads(config);
  const expected = expectedTensors(config);
  const leftOver = new Set(source.infos.keys());
  for (const [name, shape] of expected) {
    const info = source.infos.get(name);
    if (!info) throw new FileError(name, 'is missing from the checkpoint');
    leftOver.delete(name);
    if (isLinearWeight(name) && isNf4(source, name)) {
      checkShape(name, nf4Shape(source, name), shape);
      for (const companion of companionNames(source, name)) leftOver.delete(companion);
    } else {
      if (!isFloat(info.dtype)) {
        throw new FileError(name, `has dtype ${info.dtype} instead of F32, F16 or BF16`);
      }
      checkShape(name, info.shape, shape);
    }
  }
  for (const name of leftOver) {
    if (!isIgnored(name, source, config)) {
      throw new FileError(name, `is not a tensor of a ${config.family} model`);
    }
  }
  return expected;
}

/** Throws `FileError` if the shapes differ. */
export function checkShape(
  name: string,
  shape: readonly number[],
  expected: readonly number[],
): void {
  if (shape.length !== expected.length || shape.some((dim, i) => dim !== expected[i])) {
    throw new FileError(name, `has shape [${shape}] instead of [${expected}]`);
  }
}

/** Whether the tensor is a table that follows from the configuration, or a tied output head that was saved as a copy. */
function isIgnored(name: string, source: TensorSource, config: DecoderConfig): boolean {
  if (name.endsWith('.rotary_emb.inv_freq')) return true;
  if (name !== headName || !config.tiedEmbeddings) return false;
  const [head, embedding] = [source.read(name), source.read(embeddingName)];
  return head.dtype === embedding.dtype && Buffer.compare(head.data, embedding.data) === 0;
}

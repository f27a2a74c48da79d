// A base model as it comes, whatever it came as: a configuration, tensors under transformers' names, and the files
// that go along. Checks names and shapes against what the configuration promises; quantizes nothing.
import { FileError } from '../common/errors.ts';
import { isFloat, type TensorSource } from '../common/tensor.ts';
import type { DecoderConfig } from '../model/config.ts';
import { embeddingName, expectedTensors, headName } from '../model/names.ts';
import { TARGET_MODULES, TARGET_NAMES } from '../model/target-modules.ts';
import { companionNames, isNf4, nf4Shape } from './bitsandbytes.ts';

export interface Checkpoint {
  readonly configJson: Readonly<Record<string, unknown>>;
  /** The text of `configJson`: it tells 1.0 from 1, which some readers ask for. */
  readonly configText: string;
  readonly tensors: TensorSource;
  /** Tokenizer, template and generation settings: file name → contents. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** What is copied beside the weights, where a source has it. */
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

/** Whether a tensor is the weight of a decoder block's linear, which is what NF4 packs. */
export function isLinearWeight(name: string): boolean {
  return linearPattern.test(name);
}

/**
 * The tensors of the model, by name, without those that older checkpoints carry to no purpose. Throws `FileError` naming
 * what is missing, has another shape, or belongs to no part of the model: such a file would be half understood.
 */
export function checkTensors(
  source: TensorSource,
  config: DecoderConfig,
): ReadonlyMap<string, readonly number[]> {
  const expected = expectedTensors(config);
  const leftOver = new Set(source.infos.keys());
  for (const [name, shape] of expected) {
    const info = source.infos.get(name);
    if (!info) throw new FileError(name, 'the checkpoint has no such tensor');
    leftOver.delete(name);
    if (isLinearWeight(name) && isNf4(source, name)) {
      checkShape(name, nf4Shape(source, name), shape);
      for (const companion of companionNames(source, name)) leftOver.delete(companion);
    } else {
      if (!isFloat(info.dtype)) {
        throw new FileError(name, `dtype ${info.dtype} is not F32, F16 or BF16`);
      }
      checkShape(name, info.shape, shape);
    }
  }
  for (const name of leftOver) {
    if (!isIgnored(name, source, config)) {
      throw new FileError(name, `is no tensor of a ${config.family} model`);
    }
  }
  return expected;
}

function checkShape(name: string, shape: readonly number[], expected: readonly number[]): void {
  if (shape.length !== expected.length || shape.some((dim, i) => dim !== expected[i])) {
    throw new FileError(name, `shape [${shape}] instead of [${expected}]`);
  }
}

/** A table of frequencies that follow from the configuration, or a tied head that was saved as a copy. */
function isIgnored(name: string, source: TensorSource, config: DecoderConfig): boolean {
  if (name.endsWith('.rotary_emb.inv_freq')) return true;
  if (name !== headName || !config.tiedEmbeddings) return false;
  const [head, embedding] = [source.read(name), source.read(embeddingName)];
  return head.dtype === embedding.dtype && Buffer.compare(head.data, embedding.data) === 0;
}

// Converts a GGUF file's metadata to the contents of tokenizer.json and tokenizer_config.json. The keys are documented at
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, "Tokenizer".
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { parseFileValue } from '../common/schema-errors.ts';

/** Values of `tokenizer.ggml.token_type`. */
const CONTROL = 3;
const USER_DEFINED = 4;

const idSchema = z.coerce.number().int().nonnegative().optional();
const metadataSchema = z.looseObject({
  'general.architecture': z.string(),
  'tokenizer.ggml.model': z.string(),
  'tokenizer.ggml.pre': z.string().default('default'),
  'tokenizer.ggml.tokens': z.array(z.string()),
  'tokenizer.ggml.token_type': z.array(z.number()).optional(),
  'tokenizer.ggml.merges': z.array(z.string()),
  'tokenizer.ggml.bos_token_id': idSchema,
  'tokenizer.ggml.eos_token_id': idSchema,
  'tokenizer.ggml.padding_token_id': idSchema,
  'tokenizer.ggml.unknown_token_id': idSchema,
  'tokenizer.ggml.add_bos_token': z.boolean().optional(),
  'tokenizer.chat_template': z.string().optional(),
});
type TokenizerMetadata = z.infer<typeof metadataSchema>;

interface PreTokenizer {
  preTokenizer: object;
  normalizer?: object;
  /** Whether a pre-token that is already a token stays unmerged. */
  ignoreMerges?: boolean;
  /** Whether a text starts with the BOS token if `add_bos_token` is absent. */
  addBos?: boolean;
}

const byteLevel = (use_regex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});
const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });
const digitsThenGpt2 = sequence({ type: 'Digits', individual_digits: true }, byteLevel(true));
/** The pattern of tiktoken's cl100k. Later model families change the number of digits. */
const cl100k = (digits: string) =>
  sequence(
    {
      type: 'Split',
      pattern: {
        Regex:
          "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
          `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
      },
      behavior: 'Isolated',
      invert: false,
    },
    byteLevel(false),
  );

/** `tokenizer.ggml.pre` → pre-tokenizer. */
const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  'gpt-2': { preTokenizer: byteLevel(true) },
  smollm: { preTokenizer: digitsThenGpt2 },
  starcoder: { preTokenizer: digitsThenGpt2 },
  refact: { preTokenizer: digitsThenGpt2 },
  'llama-bpe': { preTokenizer: cl100k('\\p{N}{1,3}'), ignoreMerges: true, addBos: true },
  dbrx: { preTokenizer: cl100k('\\p{N}{1,3}') },
  qwen2: { preTokenizer: cl100k('\\p{N}'), normalizer: { type: 'NFC' } },
};

/** Converts the metadata. Throws `FileError` naming a key that is absent, invalid or not supported. */
export function tokenizerFromGguf(metadata: Record<string, unknown>): {
  tokenizerJson: object;
  tokenizerConfig: object;
} {
  const parsed = parseFileValue(metadataSchema, metadata);
  requireSupported('tokenizer.ggml.model', parsed['tokenizer.ggml.model'], ['gpt2']);
  const pre = parsed['tokenizer.ggml.pre'];
  requireSupported('tokenizer.ggml.pre', pre, Object.keys(PRE_TOKENIZERS));
  return {
    tokenizerJson: toTokenizerJson(parsed, PRE_TOKENIZERS[pre]!),
    tokenizerConfig: toTokenizerConfig(parsed),
  };
}

function requireSupported(key: string, value: string, supported: readonly string[]): void {
  if (supported.includes(value)) return;
  throw new FileError(key, `"${value}" is not supported (supported: ${supported.join(', ')})`);
}

function toTokenizerJson(metadata: TokenizerMetadata, pre: PreTokenizer): object {
  const tokens = metadata['tokenizer.ggml.tokens'];
  const types = metadata['tokenizer.ggml.token_type'] ?? [];
  const addsBos = metadata['tokenizer.ggml.add_bos_token'] ?? pre.addBos ?? false;
  const bosId = metadata['tokenizer.ggml.bos_token_id'];
  const addedTokens = tokens.flatMap((content, id) => {
    const special = types[id] === CONTROL;
    return special || types[id] === USER_DEFINED ? toAddedToken(content, id, special) : [];
  });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens,
    normalizer: pre.normalizer ?? null,
    pre_tokenizer: pre.preTokenizer,
    post_processor:
      addsBos && bosId !== undefined ? putBefore(tokenAt(tokens, bosId), bosId) : null,
    decoder: byteLevel(true),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges ?? false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: metadata['tokenizer.ggml.merges'],
    },
  };
}

function toAddedToken(content: string, id: number, special: boolean): object {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return { id, content, ...flags, special };
}

function putBefore(token: string, id: number): object {
  const text = (name: string) => ({ Sequence: { id: name, type_id: name === 'A' ? 0 : 1 } });
  const first = { SpecialToken: { id: token, type_id: 0 } };
  return {
    type: 'TemplateProcessing',
    single: [first, text('A')],
    pair: [first, text('A'), text('B')],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

function toTokenizerConfig(metadata: TokenizerMetadata): object {
  const tokens = metadata['tokenizer.ggml.tokens'];
  const named = (name: string, id: number | undefined) =>
    id === undefined ? {} : { [name]: tokenAt(tokens, id) };
  const template = metadata['tokenizer.chat_template'];
  const contextLength = metadata[`${metadata['general.architecture']}.context_length`];
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...named('bos_token', metadata['tokenizer.ggml.bos_token_id']),
    ...named('eos_token', metadata['tokenizer.ggml.eos_token_id']),
    ...named('pad_token', metadata['tokenizer.ggml.padding_token_id']),
    ...named('unk_token', metadata['tokenizer.ggml.unknown_token_id']),
    ...(template !== undefined && { chat_template: template }),
    ...(contextLength !== undefined && { model_max_length: Number(contextLength) }),
    clean_up_tokenization_spaces: false,
  };
}

function tokenAt(tokens: readonly string[], id: number): string {
  const token = tokens[id];
  if (token === undefined) throw new FileError('tokenizer.ggml.tokens', `has no token ${id}`);
  return token;
}

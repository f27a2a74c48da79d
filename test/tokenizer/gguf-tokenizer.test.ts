import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { FileError } from '../../src/common/errors.ts';
import { tokenizerFromGguf } from '../../src/tokenizer/gguf-tokenizer.ts';
import { createTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { sharedPath, skipUnless } from '../shared.ts';

/** The metadata of a small file. Its tokens are characters and three merges. */
function metadata(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const tokens = ['<s>', '</s>', '<think>', ..."abcT'123Ġ", 'ab', 'Ġa', '12', "'T"];
  return {
    'general.architecture': 'llama',
    'llama.context_length': 128n,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': tokens.map((_, id) => [3, 3, 4][id] ?? 1),
    'tokenizer.ggml.merges': ['a b', 'Ġ a', '1 2', "' T"],
    'tokenizer.ggml.bos_token_id': 0,
    'tokenizer.ggml.eos_token_id': 1,
    ...changes,
  };
}

function read(changes: Record<string, unknown> = {}) {
  const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf(metadata(changes));
  return createTokenizer(tokenizerJson, tokenizerConfig);
}

function tokensOf(changes: Record<string, unknown>, text: string): (string | undefined)[] {
  const tokenizer = read(changes);
  return tokenizer.encode(text, { specials: false, affixes: true }).map(tokenizer.idToToken);
}

const golden = sharedPath('golden', 'tokenizer');

test('the golden files are rebuilt from their metadata', {
  skip: skipUnless(golden),
}, () => {
  const readGolden = (file: string) => JSON.parse(readFileSync(path.join(golden!, file), 'utf8'));
  const json = readGolden('tokenizer.json');
  const config = readGolden('tokenizer_config.json');
  const specials = new Set<string>(
    json.added_tokens.map(({ content }: { content: string }) => content),
  );
  const tokens = Object.keys(json.model.vocab).sort(
    (a, b) => json.model.vocab[a] - json.model.vocab[b],
  );
  const made = tokenizerFromGguf({
    'general.architecture': 'llama',
    'llama.context_length': config.model_max_length,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.add_bos_token': false,
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': tokens.map((token) => (specials.has(token) ? 3 : 1)),
    'tokenizer.ggml.merges': json.model.merges,
    'tokenizer.ggml.bos_token_id': tokens.indexOf(config.bos_token),
    'tokenizer.ggml.eos_token_id': tokens.indexOf(config.eos_token),
    'tokenizer.ggml.padding_token_id': tokens.indexOf(config.pad_token),
    'tokenizer.ggml.unknown_token_id': tokens.indexOf(config.unk_token),
    'tokenizer.chat_template': config.chat_template,
  });
  const { decoder, ...rest } = made.tokenizerJson as typeof json;
  const { decoder: goldenDecoder, ...goldenRest } = json;
  assert.deepEqual(rest, goldenRest);
  assert.equal(decoder.type, goldenDecoder.type);
  assert.deepEqual(made.tokenizerConfig, config);
});

test('each kind of pre-tokenizer splits in its own way', () => {
  const text = "a12 ab'T";
  const split = (pre: string) => tokensOf({ 'tokenizer.ggml.pre': pre }, text).join('|');
  assert.equal(split('gpt-2'), "a|12|Ġ|ab|'|T");
  assert.equal(split('smollm'), "a|1|2|Ġ|ab|'|T");
  assert.equal(split('qwen2'), "a|1|2|Ġ|ab|'T");
  assert.equal(split('llama-bpe'), "<s>|a|12|Ġ|ab|'T");
});

test('control tokens are special, user-defined ones are not', () => {
  const tokenizer = read();
  assert.deepEqual([...tokenizer.specialIds], [0, 1]);
  assert.deepEqual(tokenizer.encode('<think>', { specials: false }), [2]);
  assert.deepEqual(tokenizer.eosTokenIds, [1]);
});

test('add_bos_token adds the BOS token before a text', () => {
  assert.deepEqual(tokensOf({ 'tokenizer.ggml.add_bos_token': true }, 'a'), ['<s>', 'a']);
  assert.deepEqual(tokensOf({}, 'a'), ['a']);
});

test('a key that is not supported or absent is rejected by name', () => {
  const cases: [Record<string, unknown>, string, RegExp][] = [
    [{ 'tokenizer.ggml.model': 'llama' }, 'tokenizer.ggml.model', /"llama" is not supported/],
    [{ 'tokenizer.ggml.pre': 'viking' }, 'tokenizer.ggml.pre', /"viking" is not supported/],
    [{ 'tokenizer.ggml.merges': undefined }, 'tokenizer.ggml.merges', /expected array/],
    [{ 'tokenizer.ggml.bos_token_id': 99 }, 'tokenizer.ggml.tokens', /has no token 99/],
  ];
  for (const [changes, field, message] of cases) {
    assert.throws(
      () => tokenizerFromGguf(metadata(changes)),
      (error) => error instanceof FileError && error.field === field && message.test(error.message),
    );
  }
});

// A small tokenizer like SentencePiece's: characters, a marker for spaces, and bytes for everything else.
import { createTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';

const SPECIALS = ['<pad>', '<unk>', '<bos>', '<eos>'];

export function toyTokenizer(chatTemplate?: string): Tokenizer {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  );
  const tokens = [...SPECIALS, ...bytes, ...'▁abcdefghi:.<>', '▁a', '▁b', 'bc', '▁▁'];
  const json = {
    added_tokens: SPECIALS.map((content, id) => ({ id, content, special: true })),
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '<bos>', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
      ],
      pair: [],
      special_tokens: { '<bos>': { id: '<bos>', ids: [2], tokens: ['<bos>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [['▁', 'a'], '▁ b', ['b', 'c'], ['▁', '▁']],
    },
  };
  const config = {
    bos_token: '<bos>',
    eos_token: { content: '<eos>' },
    ...(chatTemplate && { chat_template: chatTemplate }),
  };
  return createTokenizer(json, config);
}

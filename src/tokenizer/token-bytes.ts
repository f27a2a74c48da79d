// Converts tokens to the bytes that they stand for, following the `decoder` of a tokenizer.json. Decoding a text then means
// concatenating bytes.
import { z } from 'zod';
import { FileError } from '../common/errors.ts';

/** The conversion of tokens to bytes. */
export interface TokenByteRules {
  toBytes(token: string): Uint8Array;
  /** Whether a space at the start of the text is dropped. */
  trimStart: boolean;
}

const replaceSchema = z.object({
  type: z.literal('Replace'),
  pattern: z.object({ String: z.string() }),
  content: z.string(),
});
const stripSchema = z.object({
  type: z.literal('Strip'),
  content: z.literal(' '),
  start: z.literal(1),
  stop: z.literal(0),
});
const metaspaceSchema = z.object({
  type: z.literal('Metaspace'),
  replacement: z.string().default('\u2581'),
  prepend_scheme: z.enum(['always', 'never', 'first']).optional(),
  add_prefix_space: z.boolean().default(true),
});
const sequenceSchema = z.object({ type: z.literal('Sequence'), decoders: z.array(z.unknown()) });

/** Reads the decoder of a tokenizer.json. Throws `FileError` if its type is not supported. */
export function readTokenByteRules(decoder: unknown): TokenByteRules {
  const rules: DecoderStep[] = [];
  for (const step of flatten(decoder)) rules.push(readStep(step));
  const isByteLevel = rules.some(({ byteLevel }) => byteLevel);
  const hasByteFallback = rules.some(({ byteFallback }) => byteFallback);
  const replacements = rules.flatMap(({ replace }) => (replace ? [replace] : []));
  const encoder = new TextEncoder();
  return {
    trimStart: rules.some(({ trimStart }) => trimStart),
    toBytes(token) {
      if (isByteLevel) return byteLevelBytes(token) ?? encoder.encode(token);
      const byte = hasByteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1] : undefined;
      if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
      let text = token;
      for (const [from, to] of replacements) text = text.replaceAll(from, to);
      return encoder.encode(text);
    },
  };
}

/** The effect of one step of the decoder. */
interface DecoderStep {
  byteLevel?: true;
  byteFallback?: true;
  trimStart?: boolean;
  replace?: [from: string, to: string];
}

function flatten(decoder: unknown): unknown[] {
  const sequence = sequenceSchema.safeParse(decoder);
  return sequence.success ? sequence.data.decoders.flatMap(flatten) : [decoder];
}

function readStep(step: unknown): DecoderStep {
  const { type } = z.object({ type: z.string() }).catch({ type: 'none' }).parse(step);
  if (type === 'ByteLevel') return { byteLevel: true };
  if (type === 'ByteFallback') return { byteFallback: true };
  if (type === 'Fuse') return {}; // joins the tokens, which concatenation already does
  const replace = replaceSchema.safeParse(step);
  if (replace.success) return { replace: [replace.data.pattern.String, replace.data.content] };
  if (stripSchema.safeParse(step).success) return { trimStart: true };
  const metaspace = metaspaceSchema.safeParse(step);
  if (metaspace.success) {
    const { replacement, prepend_scheme, add_prefix_space } = metaspace.data;
    const prepends = prepend_scheme ? prepend_scheme !== 'never' : add_prefix_space;
    return { replace: [replacement, ' '], trimStart: prepends };
  }
  throw new FileError('tokenizer.json: decoder', `type "${type}" is not supported`);
}

/** Returns undefined if the token is not in the byte alphabet. Such an added token stands for its own text. */
function byteLevelBytes(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF_CHARACTER.get(token[i]!);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

/** GPT-2's alphabet: printable Latin-1 stands for itself, and U+0100, U+0101, … for the other bytes in order. */
const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = (() => {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
  let next = 0x100;
  return new Map(
    Array.from({ length: 256 }, (_, byte) => [
      String.fromCharCode(isPrintable(byte) ? byte : next++),
      byte,
    ]),
  );
})();

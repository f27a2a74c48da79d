// Where `@huggingface/tokenizers` splits text otherwise than the reference implementation, a tokenizer.json is
// rewritten to what the reference does. Both differences are JavaScript's: `\d` is 0 to 9 only, and `\s`
// has U+FEFF and lacks U+0085.
import { z } from 'zod';

const stepSchema = z.looseObject({
  type: z.string(),
  individual_digits: z.boolean().optional(),
  use_regex: z.boolean().optional(),
  add_prefix_space: z.boolean().optional(),
  pattern: z.unknown().optional(),
  pretokenizers: z.array(z.unknown()).optional(),
});

/** GPT-2's split, with the reference's white space. */
const GPT2_SPLIT =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
  '|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+';

/** The `pre_tokenizer` of a tokenizer.json, rewritten; what needs no change is returned as it is. */
export function toReferenceSplits(preTokenizer: unknown): unknown {
  const step = stepSchema.safeParse(preTokenizer).data;
  switch (step?.type) {
    case 'Sequence':
      return { ...step, pretokenizers: step.pretokenizers?.map(toReferenceSplits) };
    case 'Digits':
      return splitBy(step.individual_digits ? '\\p{N}' : '\\p{N}+');
    case 'ByteLevel': {
      // The space in front is put before the split; rewriting that case would put it after.
      if (step.use_regex === false || step.add_prefix_space) return step;
      return {
        type: 'Sequence',
        pretokenizers: [splitBy(GPT2_SPLIT), { ...step, use_regex: false }],
      };
    }
    case 'Split': {
      const regex = z.object({ Regex: z.string() }).safeParse(step.pattern).data?.Regex;
      return regex === undefined ? step : { ...step, pattern: { Regex: withWhiteSpace(regex) } };
    }
    default:
      return preTokenizer;
  }
}

function splitBy(Regex: string) {
  return { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false };
}

function withWhiteSpace(regex: string): string {
  return regex.replace(/\\(.)/gsu, (escaped, letter) => {
    if (letter === 's') return '\\p{White_Space}';
    return letter === 'S' ? '\\P{White_Space}' : escaped;
  });
}

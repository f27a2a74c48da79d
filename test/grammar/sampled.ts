// Answers that the sampler draws under a constraint, from random logits in place of a model's.
import { type Constraint, GREEDY } from '../../src/contracts/generation.ts';
import { createSampler } from '../../src/engine/sampling/sampler.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { compiled } from './compiled.ts';
import { seeded, vocabularyOf, WORDS } from './written.ts';

const tokenizer = vocabularyOf(WORDS);
const STOP = tokenizer.vocabSize;
const vocabSize = STOP + 1;
const grammars = new Grammars(tokenizer, vocabSize);
/** Without these, most texts would never end. */
const USUAL = new Set([...Buffer.from('"}],abc109.'), STOP]);

/** Draws an answer. Undefined: it was not at its end after `maxTokens`. */
export function sampleAnswer(
  constraint: Constraint,
  { seed, maxTokens = 600 }: { seed: number; maxTokens?: number },
): string | undefined {
  const random = seeded(seed);
  const params = { ...GREEDY, temperature: 1.5, seed };
  const context = { promptIds: [], stopTokenIds: [STOP] };
  const sampler = createSampler(params, context);
  sampler.follow(grammars.createMatcher(compiled(constraint)));
  const bytes: number[] = [];
  for (let i = 0; i < maxTokens; i++) {
    const logits = Float32Array.from({ length: vocabSize }, (_, id) => {
      return 4 * random() + (USUAL.has(id) ? 3 : 0);
    });
    const token = sampler.sample({ logits });
    if (!token) throw new Error(`nothing may follow ${Buffer.from(bytes)}`);
    if (token.id !== STOP) bytes.push(...tokenizer.tokenBytes(token.id));
    if (token.id === STOP || sampler.isComplete) return Buffer.from(bytes).toString();
  }
  return undefined;
}

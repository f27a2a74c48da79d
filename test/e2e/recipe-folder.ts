// The folder in which recipes of Tinker's cookbook run: they look for their data sets and tokenizer by relative path before they
// ask a hub.
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** A base's name that the cookbook knows. */
export const RECIPE_BASE = 'meta-llama/Llama-3.2-1B';

const ROWS = 120;
const WORDS = 'error mirror terrier carrier barrier borrower horror referral'.split(' ');
const FORM = 'Provide a numerical answer without units, written inside \\boxed{}.';
const TOKENIZER_FILES = ['config.json', 'tokenizer.json', 'tokenizer_config.json'];
/** `rl_loop` asks for the configuration "main" of its data set. */
const MATH_CARD = `---
configs:
- config_name: main
  data_files:
  - split: train
    path: train.jsonl
---
`;

/**
 * Writes the data of three recipes. `sl_loop` learns to answer with 2 or 3 in a box, `rl_loop` then gets rewards for 3, and the DPO
 * recipe prefers sums to refusals.
 * @returns the folder
 */
export function writeRecipeFolder(folder: string, baseDir: string): string {
  const write = (name: string, text: string) => {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  };
  const writeRows = (name: string, count: number, row: (i: number) => object) =>
    write(name, Array.from({ length: count }, (_, i) => `${JSON.stringify(row(i))}\n`).join(''));
  for (const name of TOKENIZER_FILES) {
    copyFileSync(path.join(baseDir, name), write(`${RECIPE_BASE}/${name}`, ''));
  }
  const question = (i: number) => `How many r's are in ${WORDS[i % WORDS.length]}?`;
  writeRows('HuggingFaceH4/no_robots/train.jsonl', ROWS, (i) => ({
    messages: [
      { role: 'user', content: `${question(i)} ${FORM}` },
      { role: 'assistant', content: `\\boxed{${2 + (Math.floor(i / WORDS.length) % 2)}}` },
    ],
  }));
  write('openai/gsm8k/README.md', MATH_CARD);
  writeRows('openai/gsm8k/train.jsonl', ROWS, (i) => ({ question: question(i), answer: '#### 3' }));
  const preferSum = (i: number) => {
    const asked = `\n\nHuman: What is ${i} plus 7?\n\nAssistant:`;
    return { chosen: `${asked} It is ${i + 7}.`, rejected: `${asked} I do not like numbers.` };
  };
  writeRows('Anthropic/hh-rlhf/train.jsonl', ROWS, preferSum);
  writeRows('Anthropic/hh-rlhf/test.jsonl', 4, preferSum);
  return folder;
}

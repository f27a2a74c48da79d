// Rows to train on without a tokenizer, what a server makes of them, and the lines of a run's files.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ask } from '../api.ts';
import { seededRandom } from '../fixtures.ts';

/** Ids that follow each other in a fixed order, below 90: something to learn, for every base. */
export function letterRows(): number[][] {
  const random = seededRandom(11);
  return Array.from({ length: 24 }, () => {
    const start = Math.floor(40 * (random() + 1));
    return Array.from({ length: 8 + (start % 5) }, (_, t) => 10 + ((start + 7 * t) % 80));
  });
}

/** The same as a file; its path. */
export function writeRows(dir: string): string {
  const lines = letterRows().map((ids) => JSON.stringify({ input_ids: ids, labels: ids }));
  const file = path.join(dir, 'rows.jsonl');
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

/** Returns the complete lines of a JSONL file. Empty if the file does not exist. */
export function readLines(file: string): Record<string, unknown>[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}

interface Scored {
  readonly choices: [{ logprobs: { token_logprobs: number[] } }];
}

/** The mean loss of the rows' tokens from the second on, by the server's own log-probabilities. */
export async function servedLoss(url: string, model: string): Promise<number> {
  const logprobs: number[] = [];
  for (const prompt of letterRows()) {
    const body = { model, prompt, max_tokens: 0, echo: true, logprobs: 0 };
    const { choices } = await ask<Scored>(`${url}/v1/completions`, body);
    logprobs.push(...choices[0].logprobs.token_logprobs.slice(1));
  }
  return -logprobs.reduce((sum, value) => sum + value, 0) / logprobs.length;
}

/** Lines of a chat file that the toy base can be trained on. */
export function numberRows(count: number): string[] {
  return Array.from({ length: count }, (_, i) =>
    JSON.stringify({
      messages: [
        { role: 'user', content: `Number ${i}?` },
        { role: 'assistant', content: i % 2 ? 'odd' : 'even' },
      ],
    }),
  );
}

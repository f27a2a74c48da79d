// What is measured on one running server, besides decoding under load: prefill, time to first token, NLL.
import type { ChatCompletion } from '../../src/contracts/openai.ts';
import { ask } from '../api.ts';

/** Ids of ordinary words in most vocabularies: above the control tokens, below the rare ones. */
const FIRST_ID = 300;
const ID_RANGE = 4000;

/** Returns a prompt of `length` token ids. Seeds differ in the first one, so that no cache has seen it. */
export function promptIds(length: number, seed: number): number[] {
  return Array.from(
    { length },
    (_, i) => FIRST_ID + ((i * 7919 + (seed + 1) * 104_729 + length) % ID_RANGE),
  );
}

/** Prompt tokens per second of one prompt of `length` tokens. */
export async function measurePrefill(url: string, length: number, seed: number): Promise<number> {
  const prompt = promptIds(length, seed);
  const startMs = performance.now();
  await complete(url, { prompt, max_tokens: 1, cache_prompt: false });
  return (length * 1000) / (performance.now() - startMs);
}

/** From now to one generated token. */
export async function measureFirstToken(url: string): Promise<number> {
  const startMs = performance.now();
  await complete(url, { prompt: 'Once upon a time', max_tokens: 1 });
  return performance.now() - startMs;
}

const NLL_WINDOWS = 10;
const WINDOW_TOKENS = 512;

/** Mean negative log-likelihood of a token, in nats, over windows of the tokens. */
export async function measureNll(url: string, tokens: readonly number[]): Promise<number> {
  let sum = 0;
  let count = 0;
  for (let i = 0; i < NLL_WINDOWS; i++) {
    const prompt = tokens.slice(i * WINDOW_TOKENS, (i + 1) * WINDOW_TOKENS);
    const body = { prompt, echo: true, logprobs: 0, max_tokens: 0 };
    const { choices } = await complete(url, body);
    const scored = choices[0]!.logprobs!.token_logprobs.filter((one) => one !== null);
    sum -= scored.reduce((total, one) => total + one, 0);
    count += scored.length;
  }
  return sum / count;
}

interface Completion {
  readonly choices: readonly { readonly logprobs?: { token_logprobs: (number | null)[] } }[];
}

function complete(url: string, body: Record<string, unknown>): Promise<Completion> {
  return ask<Completion>(`${url}/v1/completions`, { model: 'base', temperature: 0, ...body });
}

/** Answers a chat, and returns the number of generated tokens. */
export async function chatTokens(url: string, body: object): Promise<number> {
  const whole = { temperature: 0, ...body };
  const { usage } = await ask<ChatCompletion>(`${url}/v1/chat/completions`, whole);
  return usage.completion_tokens;
}

// What is measured on one running server: decode under load, prefill, time to first token.
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

export interface LoadOptions {
  url: string;
  streams: number;
  /** Model names, dealt round robin over the streams. */
  adapters?: readonly string[];
  /** llama-server's adapter ids instead. */
  llamaIds?: readonly number[];
  tokens: number;
}

export interface LoadResult {
  tokensPerS: number;
  ttftP50Ms: number;
  ttftP95Ms: number;
}

/** One burst of the shared load generator. */
export async function measureLoad(loadScript: string, options: LoadOptions): Promise<LoadResult> {
  const { url, streams, adapters = [], llamaIds = [], tokens } = options;
  const args = ['--url', url, '--streams', streams, '--tokens', tokens, '--rounds', 1];
  if (adapters.length > 0) args.push('--adapters', adapters.join(','));
  if (llamaIds.length > 0) args.push('--llama', llamaIds.join(','));
  const child = spawn(process.execPath, [loadScript, ...args.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = JSON.parse(await text(child.stdout));
  return {
    tokensPerS: line.tok_per_s,
    ttftP50Ms: line.ttft_p50_ms,
    ttftP95Ms: line.ttft_p95_ms,
  };
}

const PREFILL_TOKENS = 1024;
/** Ids of ordinary words in most vocabularies: above the control tokens, below the rare ones. */
const FIRST_ID = 300;
const ID_RANGE = 4000;

/** Prompt tokens per second of one long prompt that no cache has seen. */
export async function measurePrefill(url: string, seed: number): Promise<number> {
  const prompt = Array.from(
    { length: PREFILL_TOKENS },
    (_, i) => FIRST_ID + ((i * 7919 + seed * 104_729) % ID_RANGE),
  );
  const startedMs = performance.now();
  await complete(url, { prompt, max_tokens: 1, cache_prompt: false });
  return (PREFILL_TOKENS * 1000) / (performance.now() - startedMs);
}

/** From now to one generated token. */
export async function measureFirstToken(url: string): Promise<number> {
  const startedMs = performance.now();
  await complete(url, { prompt: 'Once upon a time', max_tokens: 1 });
  return performance.now() - startedMs;
}

async function complete(url: string, body: Record<string, unknown>): Promise<void> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'base', temperature: 0, ...body }),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  await response.json();
}

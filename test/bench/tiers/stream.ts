// One streamed request as its client sees it: where its adapter was, when the first token came, and the gaps after it.

import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';

const agent = new Agent({ keepAlive: true });

export interface StreamRequest {
  readonly model: string;
  readonly maxTokens: number;
  /** Another prompt for another number. */
  readonly seed?: number;
  readonly key?: string;
}

export interface Streamed {
  readonly tier: string | undefined;
  readonly firstTokenMs: number;
  /** Between two pieces of text. */
  readonly gapsMs: readonly number[];
}

const WORDS =
  'river stone light morning garden bridge window market winter paper silver music'.split(' ');
const PROMPT_WORDS = 24;

/** Throws where the answer is no stream that ends as it should. */
export async function stream(url: string, asked: StreamRequest): Promise<Streamed> {
  const { model, maxTokens, seed = 0, key } = asked;
  const prompt = Array.from(
    { length: PROMPT_WORDS },
    (_, i) => WORDS[(seed * 7 + i * 5 + ((seed * i) >> 2)) % WORDS.length],
  ).join(' ');
  const body = JSON.stringify({
    ...{ model, prompt, max_tokens: maxTokens },
    ...{ temperature: 0, ignore_eos: true, stream: true },
  });
  const startedMs = performance.now();
  const outgoing = request(`${url}/v1/completions`, {
    method: 'POST',
    agent,
    headers: {
      'content-type': 'application/json',
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
    },
  });
  outgoing.end(body);
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const arrivalsMs: number[] = [];
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    const pieces = (chunk as string).match(/^data: \{/gm)?.length ?? 0;
    const nowMs = performance.now();
    for (let i = 0; i < pieces; i++) arrivalsMs.push(nowMs);
    text = (text + chunk).slice(-500);
  }
  if (!text.endsWith('data: [DONE]\n\n')) {
    throw new Error(`${model}: ${response.statusCode}: ${text}`);
  }
  const tier = response.headers['x-lorikeet-tier'] as string | undefined;
  return {
    tier,
    firstTokenMs: arrivalsMs[0]! - startedMs,
    gapsMs: arrivalsMs.slice(1).map((ms, i) => ms - arrivalsMs[i]!),
  };
}

/** Keeps `count` requests under way until `next` gives none. */
export async function keepAsking(
  url: string,
  count: number,
  { next, onAnswer }: { next(): StreamRequest | undefined; onAnswer(answer: Streamed): void },
): Promise<void> {
  const work = async () => {
    for (let asked = next(); asked; asked = next()) onAnswer(await stream(url, asked));
  };
  await Promise.all(Array.from({ length: count }, work));
}

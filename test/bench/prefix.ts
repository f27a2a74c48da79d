// `npm run bench:prefix`: what the prefix cache saves on this machine, against the same requests without it, in turns.
// Arguments: --model NAME|DIR  --rounds N  --tokens N (common to the prompts of a round)

import { loadConfig } from '../../src/settings/config.ts';
import { postJson } from '../api.ts';
import { readOptions } from '../options.ts';
import { atMost, type Figure, toFigure, toMarkdown } from './report.ts';
import { startLorikeet } from './servers.ts';

const options = readOptions({
  model: 'smollm2-135m-instruct-q4',
  rounds: 5,
  tokens: 1000,
});
const { rounds, tokens: commonTokens } = options;
const AT_ONCE = 32;
const OWN_TOKENS = 16;
/** Ids of ordinary words in most vocabularies: above the control tokens, below the rare ones. */
const FIRST_ID = 300;
const ID_RANGE = 4000;

/** Tokens that depend on the seed. */
const tokensOf = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => FIRST_ID + ((i * 7919 + seed * 104_729) % ID_RANGE));

/** Milliseconds until the first token of a stream. */
async function firstToken(
  url: string,
  prompt: readonly number[],
  isCached = true,
): Promise<number> {
  const startedMs = performance.now();
  const response = await postJson(`${url}/v1/completions`, {
    ...{ model: 'base', prompt, max_tokens: 2, temperature: 0, stream: true },
    cache_prompt: isCached,
  });
  if (!response.ok || !response.body) throw new Error(await response.text());
  let firstMs: number | undefined;
  for await (const _ of response.body) firstMs ??= performance.now() - startedMs;
  if (firstMs === undefined) throw new Error('an empty stream');
  return firstMs;
}

/** The median and the last first token of many requests at once with a common beginning. */
async function atOnce(url: string, seed: number, isCached: boolean) {
  const common = tokensOf(commonTokens, seed);
  const asked = Array.from({ length: AT_ONCE }, (_, i) =>
    firstToken(url, [...common, ...tokensOf(OWN_TOKENS, seed * 100 + i)], isCached),
  );
  const times = (await Promise.all(asked)).sort((a, b) => a - b);
  return { median: times[AT_ONCE / 2]!, last: times.at(-1)! };
}

async function measure(url: string): Promise<Figure[]> {
  const alone = { computed: [] as number[], cached: [] as number[] };
  const together = { computed: [] as number[], cached: [] as number[] };
  const last = { computed: [] as number[], cached: [] as number[] };
  for (let round = 1; round <= rounds; round++) {
    const common = tokensOf(commonTokens, round);
    alone.computed.push(await firstToken(url, [...common, ...tokensOf(OWN_TOKENS, 1)]));
    alone.cached.push(await firstToken(url, [...common, ...tokensOf(OWN_TOKENS, 2)]));
    for (const isCached of [false, true]) {
      const times = await atOnce(url, 1000 * round + Number(isCached), isCached);
      const kind = isCached ? 'cached' : 'computed';
      together[kind].push(times.median);
      last[kind].push(times.last);
    }
  }
  const target = atMost(0.15, 'ratio');
  const many = `${AT_ONCE} requests at once`;
  return [
    toFigure(`first token, ${commonTokens} common tokens`, 'ms', alone.cached, {
      other: alone.computed,
      target,
    }),
    toFigure(`the same, ${many}, median`, 'ms', together.cached, { other: together.computed }),
    toFigure(`the same, ${many}, last`, 'ms', last.cached, { other: last.computed }),
  ];
}

const { model } = options;
const args = Object.entries({ model, slots: AT_ONCE, 'max-seq': 2048 });
const server = await startLorikeet(args.map(([name, value]) => `--${name}=${value}`));
try {
  await firstToken(server.url, tokensOf(OWN_TOKENS, 0), false);
  const figures = await measure(server.url);
  process.stdout.write(`Base: ${model}, data in ${loadConfig().home}\n\n${toMarkdown(figures)}\n`);
  process.stdout.write(`\nMemory: ${Math.round(server.rssMb())} MB resident\n`);
  if (figures.some(({ isMet }) => isMet === false)) process.exitCode = 1;
} finally {
  await server.stop();
}

// `npm run bench:sizing`: what bases of four sizes give on this machine, for docs/benchmarks.md. One server after the other, medians
// over the rounds. The larger bases are random weights of real shapes: what they say is noise, what they cost is not.
// Arguments: --model NAME|DIR (the small base)  --only TEXT (bases whose titles contain it)  --rounds N  --tokens N
//   --weights int8|int4  --write FILE (between its marks "speeds")

import { availableParallelism } from 'node:os';
import { readOptions } from '../options.ts';
import { scratchFolder } from '../scratch.ts';
import { ALL_R16, writeAdapters } from './adapters.ts';
import { findModel, readDecoder } from './base.ts';
import { processorLine } from './processor.ts';
import { publish } from './publish.ts';
import { median } from './quantile.ts';
import { randomArtifact } from './random-base.ts';
import { startLorikeet } from './servers.ts';
import { askHttp, type Work } from './work.ts';

const options = readOptions({
  model: 'smollm2-135m-instruct-q4',
  only: '',
  rounds: 3,
  tokens: 64,
  weights: 'int8',
  write: undefined,
});
const { rounds, tokens, weights } = options;

const STREAMS = 32;
const ADAPTERS = 4;
const small = findModel(options.model);
const BASES: readonly (readonly [title: string, open: () => Promise<string>])[] = [
  ['SmolLM2-135M', async () => small],
  ['shape of Qwen2.5-0.5B', () => randomArtifact('qwen-0.5b', small)],
  ['shape of Llama-3.2-1B', () => randomArtifact('llama-1b', small)],
  ['shape of Llama-3.1-8B', () => randomArtifact('llama-8b', small)],
];

const lines: string[] = [];
for (const [title, open] of BASES) {
  if (title.includes(options.only)) lines.push(await measure(title, await open()));
}
const report = `${processorLine()}, ${weights}, over HTTP; tokens per second, medians of ${rounds} rounds of ${tokens} tokens per stream.

| | 1 / 8 / ${STREAMS} streams | ${STREAMS} streams over ${ADAPTERS} adapters | per core | a prompt of 1,024 tokens | memory of a ready server |
|---|---|---|---|---|---|
${lines.join('\n')}`;
publish('speeds', report, options.write);

/** Returns a base's line of the table. */
async function measure(title: string, model: string): Promise<string> {
  const scratch = scratchFolder();
  const shape = { shape: ALL_R16, count: ADAPTERS };
  const adapters = writeAdapters(scratch, readDecoder(model), shape);
  const sizes = [`--weights=${weights}`, `--slots=${STREAMS}`, '--max-seq=2048'];
  const flags = [`--model=${model}`, ...sizes, `--adapters=${scratch}`];
  const server = await startLorikeet(flags);
  try {
    const readyMb = server.rssMb();
    process.stderr.write(`${title}: ready after ${(server.readyMs / 1000).toFixed(1)} s\n`);
    const rateOf = async (work: Work) => {
      const rates: number[] = [];
      for (let round = 0; round < rounds; round++) {
        const turn = { round, salt: `round ${round}`, tokens, model };
        rates.push((await askHttp(server.url, work, turn))['tokensPerS']!);
      }
      return median(rates)!;
    };
    const one = await rateOf({ streams: 1 });
    const eight = await rateOf({ streams: 8 });
    const all = await rateOf({ streams: STREAMS });
    const mixed = await rateOf({ streams: STREAMS, adapters });
    const prompt = await rateOf({ length: 1024 });
    const cells = [
      [one, eight, all].map(Math.round).join(' / '),
      Math.round(mixed),
      Math.round(mixed / availableParallelism()),
      Math.round(prompt),
      `${readyMb} MB`,
    ];
    return `| ${[title, ...cells].join(' | ')} |`;
  } finally {
    await server.stop();
  }
}

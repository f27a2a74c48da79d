// `npm run bench:constrained`: streams with a JSON schema of their own each, against the same streams without one, in turns.
// Arguments: --model NAME|DIR  --rounds N

import { fetchJson } from '../api.ts';
import { readOptions } from '../options.ts';
import { chatTokens } from './measure.ts';
import { processorLine } from './processor.ts';
import { median } from './quantile.ts';
import { startLorikeet } from './servers.ts';

const options = readOptions({
  model: 'smollm2-135m-instruct-q4',
  rounds: 3,
});
const STREAMS = 32;
const STREAM_TOKENS = 64;

const formatOf = (schema: object) => ({
  response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } },
});

/** Tokens and steps per second of streams that all run at once. */
async function measureStreams(url: string, isConstrained: boolean): Promise<[number, number]> {
  const steps = async () =>
    (await fetchJson<{ engine: { steps: number } }>(`${url}/health`)).engine.steps;
  const first = await steps();
  const startedMs = performance.now();
  const counts = await Promise.all(
    Array.from({ length: STREAMS }, (_, i) => {
      const text = { type: 'string', minLength: 300 };
      const schema = { type: 'object', properties: { [`field_${i}`]: text } };
      const required = { ...schema, required: [`field_${i}`], additionalProperties: false };
      const messages = [{ role: 'user', content: `Tell me about the number ${i}.` }];
      const limits = { max_tokens: STREAM_TOKENS, min_tokens: STREAM_TOKENS };
      const format = isConstrained ? formatOf(required) : {};
      const body = { model: 'base', cache_prompt: false, messages, ...limits, ...format };
      return chatTokens(url, body);
    }),
  );
  const seconds = (performance.now() - startedMs) / 1000;
  const tokens = counts.reduce((sum, count) => sum + count, 0);
  return [tokens / seconds, ((await steps()) - first) / seconds];
}

const server = await startLorikeet([`--model=${options.model}`, `--slots=${STREAMS}`]);
try {
  const measured = { free: [] as [number, number][], constrained: [] as [number, number][] };
  await measureStreams(server.url, true); // compiles the schemas
  for (let round = 0; round < options.rounds; round++) {
    measured.free.push(await measureStreams(server.url, false));
    measured.constrained.push(await measureStreams(server.url, true));
  }
  const ratio = (index: 0 | 1) => {
    const [free, constrained] = [measured.free, measured.constrained].map((list) =>
      median(list.map((pair) => pair[index])),
    ) as [number, number];
    return `${constrained.toFixed(1)} with, ${free.toFixed(1)} without: ${(constrained / free).toFixed(2)} x`;
  };
  const streams = `${STREAMS} streams with a schema of their own each`;
  const lines = [
    ...[processorLine(), ''],
    `${streams}, output tokens per second: ${ratio(0)}`,
    `${streams}, steps per second: ${ratio(1)}`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
} finally {
  await server.stop();
}

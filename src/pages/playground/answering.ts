// Answers a prompt: streams the answer of a model, or asks a classifier.
import type { ChatCompletionChunk, ClassificationList, Model } from '../../contracts/openai.ts';
import { ApiError, errorText, isAbort, readEventStream, readModel, request } from '../api.ts';
import { likelyClasses } from '../classes.ts';
import { counted, duration } from '../format.ts';
import { watchRequest } from '../request-state.ts';
import { type Answer, type ChatBody, CUT_OFF } from './chat.ts';
import { addCallDeltas, checkAnswer, isJsonFormat } from './structured.ts';

const TIERS: Readonly<Record<string, string>> = {
  slot: 'an adapter slot',
  ram: 'memory',
  disk: 'disk',
  store: 'the store',
};
const FINISH_REASONS: Readonly<Record<string, string>> = {
  stop: 'finished',
  length: CUT_OFF,
  tool_calls: 'waits for results',
};

interface Running {
  readonly body: ChatBody;
  readonly signal: AbortSignal;
  /** Gets the answer as it grows. */
  readonly onGrown: (answer: Answer) => void;
}

/** Generates an answer that has not ended. Returns it when it has ended, failed or was stopped. */
export async function generate(start: Answer, running: Running): Promise<Answer> {
  let answer = start;
  const grow = (change: Partial<Answer>) => {
    answer = { ...answer, ...change };
    running.onGrown(answer);
  };
  try {
    const model: Partial<Model> = await readModel(answer.model, running.signal);
    const { labels, request_defaults: defaults } = model;
    const format = running.body['response_format'] ?? defaults?.response_format;
    answer = { ...answer, isJson: !labels && isJsonFormat(format) };
    const facts = labels
      ? await classify(answer, { ...running, labels, grow })
      : await stream(answer, { ...running, grow });
    return { ...answer, state: 'done', facts, validity: checkAnswer(answer) };
  } catch (error) {
    if (isAbort(error)) return { ...answer, state: 'stopped', facts: ['stopped'] };
    const param = (error instanceof ApiError && error.param) || '';
    return { ...answer, state: 'failed', facts: [], problem: errorText(error), param };
  }
}

type Growing = Running & { readonly grow: (change: Partial<Answer>) => void };

/** Sorts the prompt into a class, and returns facts. A classifier sees no earlier turns. */
async function classify(
  { model }: Answer,
  { body, signal, labels, grow }: Growing & { readonly labels: readonly string[] },
): Promise<string[]> {
  const json = { model, input: body.messages.at(-1)?.content };
  const startMs = performance.now();
  const response = await request('classify', { json, signal });
  const { data }: ClassificationList = await response.json();
  const [result] = data;
  const classes = result ? likelyClasses(result, labels) : [];
  grow({ classes, text: classes[0]?.label ?? '' });
  return [
    counted(result?.num_classes ?? 0, 'class', 'classes'),
    `after ${duration((performance.now() - startMs) / 1000)}`,
    ...originOf(response.headers),
  ];
}

/** Streams the answer, and returns facts. */
async function stream(
  { model, ...start }: Answer,
  { body, signal, grow }: Growing,
): Promise<string[]> {
  const json = { ...body, model, stream: true, stream_options: { include_usage: true } };
  const startMs = performance.now();
  const watch = watchRequest((fact: string) => grow({ facts: [fact] }));
  try {
    const response = await request('v1/chat/completions', { json, headers: watch.headers, signal });
    let { text, calls } = start;
    const logprobs = [...start.logprobs];
    let [firstMs, reason, tokens] = [0, '', 0];
    const events: AsyncIterable<ChatCompletionChunk> = readEventStream(response.body!);
    for await (const { choices, usage } of events) {
      const [choice] = choices;
      const { content: piece, tool_calls: deltas } = choice?.delta ?? {};
      if (piece || deltas) {
        watch.stop();
        firstMs ||= performance.now();
        text += piece ?? '';
        calls = addCallDeltas(calls, deltas ?? []);
        grow({ text, calls, logprobs, facts: [] });
      }
      for (const token of choice?.logprobs?.content ?? []) logprobs.push(token);
      reason = choice?.finish_reason ?? reason;
      tokens = usage?.completion_tokens ?? tokens;
    }
    const seconds = (performance.now() - firstMs) / 1000;
    return [
      counted(tokens, 'token'),
      ...(firstMs === 0 ? [] : [`first token after ${duration((firstMs - startMs) / 1000)}`]),
      ...(tokens > 1 && firstMs > 0 && seconds >= LEAST_S
        ? [`${Math.round((tokens - 1) / seconds)} tokens/s`]
        : []),
      FINISH_REASONS[reason] ?? reason,
      ...originOf(response.headers),
    ];
  } finally {
    watch.stop();
  }
}

/** A response that arrives at once says nothing about the rate of its tokens. */
const LEAST_S = 0.02;

/** The version that answered, and the tier that its adapter came from. */
function originOf(headers: Headers): string[] {
  const version = headers.get('x-lorikeet-version');
  const tier = headers.get('x-lorikeet-tier');
  return [...(version ? [version] : []), ...(tier ? [`adapter from ${TIERS[tier] ?? tier}`] : [])];
}

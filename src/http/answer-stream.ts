// Sends a generation's choices as server-sent events, a chunk per token. Where the reader is slow, text is gathered
// per choice and sent as one chunk when the reader has caught up.
import { type AnswerContext, ClientGone, disconnect, setReceipt } from './answer-context.ts';
import { type ChunkWriter, createChunkWriter, toUsage, type WireLogprobs } from './endpoint.ts';
import { Generation, type GenerationListener } from './generation.ts';
import type { LogprobWriter } from './logprobs.ts';
import { toEnvelope, toServeError } from './middleware/errors.ts';
import { EVENT_STREAM, EventStream } from './sse.ts';
import type { StreamPlan } from './stream-plan.ts';
import { createTokenNames } from './token-names.ts';

/** What of one choice is not sent yet. */
interface Pending {
  text: string;
  /** Set also by a token without text, where the model has none. */
  isDue: boolean;
  logprobs: LogprobWriter<WireLogprobs> | undefined;
  hasLogprobs: boolean;
  /** Generated so far, sent or not. */
  tokens: number;
}

/** Resolves with the response once the engine begins; rejects where it refused or the client left before. */
export function streamAnswer(context: AnswerContext, { usage }: StreamPlan): Promise<Response> {
  const { c, deps, plan, generation } = context;
  const { signal } = c.req.raw;
  const chunks = createChunkWriter(plan.endpoint, context.head, {
    usage,
    promptTokens: (index) => plan.choices[index]!.request.promptIds.length,
  });
  return new Promise((resolve, reject) => {
    const stream = new EventStream({
      ...deps.limits,
      onDrain: () => sender.flushAll(),
      onGone: () => run.abort(),
      disconnect: () => disconnect(c),
    });
    const onAbort = () => {
      run.abort();
      stream.close();
      reject(new ClientGone());
    };
    const sender = new ChunkSender(stream, chunks, context);
    const listener: GenerationListener = {
      ...sender.listener,
      started(receipt) {
        setReceipt(c, plan.model, receipt);
      },
      // Not before: whoever still waits when the server ends gets a status that balancers and clients repeat.
      admitted() {
        signal.removeEventListener('abort', onAbort); // from here on the stream's own end tells
        resolve(eventStreamResponse(context, stream.body));
      },
      completed(completionTokens) {
        const total = toUsage(plan.promptTokens, completionTokens);
        if (usage !== 'none') stream.send(chunks.usage(total));
        stream.send('[DONE]');
        stream.close();
      },
      failed(error) {
        reject(error); // does nothing once the response is on its way
        sender.flushAll();
        stream.send(JSON.stringify(toEnvelope(toServeError(error, deps.log))));
        stream.close();
      },
    };
    const run = new Generation(deps.client, plan, { ...generation, listener });
    if (signal.aborted) onAbort();
    else {
      signal.addEventListener('abort', onAbort, { once: true });
      run.start();
    }
  });
}

function eventStreamResponse({ c }: AnswerContext, body: ReadableStream<Uint8Array>): Response {
  return c.body(body, 200, {
    'content-type': EVENT_STREAM,
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no', // nginx would hold chunks back
  });
}

class ChunkSender {
  readonly #stream: EventStream;
  readonly #chunks: ChunkWriter;
  readonly #pending: Pending[];
  readonly #isTextless: boolean;

  constructor(stream: EventStream, chunks: ChunkWriter, { deps, plan }: AnswerContext) {
    this.#stream = stream;
    this.#chunks = chunks;
    this.#isTextless = deps.tokenizer === undefined;
    const names = createTokenNames(deps.tokenizer, plan.logprobs);
    this.#pending = plan.choices.map(() => ({
      text: '',
      isDue: false,
      logprobs: plan.logprobs.isShown ? plan.endpoint.createLogprobs(names) : undefined,
      hasLogprobs: false,
      tokens: 0,
    }));
  }

  readonly listener: Pick<GenerationListener, 'begun' | 'prompt' | 'token' | 'finished'> = {
    begun: ({ index, echo, request }) => {
      const opening = this.#chunks.opening(index, 0);
      if (opening !== undefined) this.#stream.send(opening);
      // A scored prompt is sent with its scores.
      this.#add(index, echo);
      if (request.promptTopLogprobs === undefined) this.#flush(index);
    },
    prompt: ({ index, request }, logprobs) => {
      const pending = this.#pending[index]!;
      pending.logprobs?.addPrompt(request.promptIds, logprobs);
      pending.hasLogprobs = pending.logprobs !== undefined;
      pending.isDue ||= pending.hasLogprobs;
      this.#flush(index);
    },
    token: ({ index }, text, logprob) => {
      const pending = this.#pending[index]!;
      pending.tokens++;
      if (logprob && pending.logprobs) {
        pending.logprobs.add(logprob);
        pending.hasLogprobs = true;
      }
      if (this.#isTextless) pending.isDue = true;
      this.#add(index, text);
      if (!this.#stream.isFull) this.#flush(index);
    },
    finished: ({ index }, reason, rest) => {
      const pending = this.#pending[index]!;
      this.#add(index, rest);
      pending.isDue ||= pending.hasLogprobs;
      this.#flush(index);
      this.#stream.send(this.#chunks.finish(index, reason, pending.tokens));
    },
  };

  flushAll(): void {
    for (const index of this.#pending.keys()) this.#flush(index);
  }

  #add(index: number, text: string): void {
    const pending = this.#pending[index]!;
    pending.text += text;
    if (text !== '') pending.isDue = true;
  }

  #flush(index: number): void {
    const pending = this.#pending[index]!;
    if (!pending.isDue) return;
    const logprobs = pending.hasLogprobs ? pending.logprobs!.take() : null;
    const { text, tokens } = pending;
    this.#stream.send(this.#chunks.delta(index, { text, logprobs, tokens }));
    pending.text = '';
    pending.isDue = false;
    pending.hasLogprobs = false;
  }
}

// The endpoint that answers with a response object or OpenAI's typed events.
import type { ResponseSettings } from '../../contracts/responses.ts';
import type { ResponseRequest } from '../schema/responses.ts';
import { FrameQueue } from '../wire/event-stream.ts';
import type {
  DocumentContext,
  DocumentWriter,
  Endpoint,
  EventWriter,
  GenerationPlan,
  ResponseHead,
} from './generation-plan.ts';
import { createChatLogprobs } from './logprobs.ts';
import { RESPONSE_PREFIX, ResponseDraft, type ResponseOptions } from './response-draft.ts';

/** Returns the endpoint `POST /v1/responses` for one request, whose settings the response repeats. */
export function createResponsesEndpoint(options: ResponseOptions): Endpoint {
  return {
    operation: 'chat',
    idPrefix: RESPONSE_PREFIX,
    limitField: 'max_output_tokens',
    createLogprobs: createChatLogprobs,
    createDocument: (plan, context) => createResponseDocument(plan, { ...options, ...context }),
    createEvents: (plan, head) => createResponseEvents(plan, { ...options, head }),
  };
}

function createResponseDocument(
  { tools }: GenerationPlan,
  { names, ...options }: ResponseOptions & DocumentContext,
): DocumentWriter {
  const draft = new ResponseDraft({ ...options, parser: tools?.createParser() });
  const { keepOpen } = options;
  const logprobs = createChatLogprobs(names);
  return {
    write(event) {
      if (event.type === 'token') {
        if (event.logprob) logprobs.add(event.logprob);
        draft.add(event.text, logprobs.take());
      } else if (event.type === 'finished') {
        draft.add(event.rest, null);
        draft.finish(event.reason);
      }
    },
    end: (counts) => draft.end(counts),
    background: keepOpen && {
      async open(cancellation) {
        const response = draft.toStarted();
        await keepOpen(response, cancellation);
        return response;
      },
      fail: (error) => options.keep(draft.toFailed(error)),
    },
  };
}

/** The events are numbered, because clients check their order. */
function createResponseEvents(
  { tools }: GenerationPlan,
  options: ResponseOptions & { head: ResponseHead },
): EventWriter {
  let sequenceNumber = 0;
  const frames = new FrameQueue();
  const onEvent = (type: string, members: object) => {
    frames.add({ type, sequence_number: sequenceNumber++, ...members }, type);
  };
  const draft = new ResponseDraft({ ...options, parser: tools?.createParser(), onEvent });
  return {
    opening() {
      const response = draft.toStarted();
      onEvent('response.created', { response });
      onEvent('response.in_progress', { response });
      draft.open();
      return frames.take();
    },
    delta(_, { text, logprobs }) {
      draft.add(text, logprobs);
      return frames.take();
    },
    finish(_, { reason }) {
      draft.finish(reason);
      return frames.take();
    },
    async end(counts) {
      const response = await draft.end(counts);
      onEvent(`response.${response.status}`, { response });
      return frames.take();
    },
    fail(error) {
      onEvent('response.failed', { response: draft.toFailed(error) });
      return frames.take();
    },
  };
}

/** Returns the settings that the response repeats. `body` includes the model's sampling defaults. */
export function toSettings(
  body: ResponseRequest,
  { model, store }: Pick<ResponseSettings, 'model' | 'store'>,
): ResponseSettings {
  const { prompt_cache_key: cacheKey } = body;
  const { format, verbosity } = body.text ?? {};
  return {
    background: body.background ?? false,
    conversation: body.conversation ? { id: body.conversation } : null,
    frequency_penalty: body.frequency_penalty ?? 0,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: body.max_tool_calls ?? null,
    metadata: body.metadata ?? {},
    model,
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    presence_penalty: body.presence_penalty ?? 0,
    previous_response_id: body.previous_response_id ?? null,
    prompt_cache_key: typeof cacheKey === 'string' ? cacheKey : null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
    safety_identifier: body.safety_identifier ?? null,
    service_tier: 'default',
    store,
    temperature: body.temperature ?? 1,
    text: { format: format?.shown ?? { type: 'text' }, ...(verbosity && { verbosity }) },
    tool_choice: toShownChoice(body),
    tools: (body.tools ?? []).map(({ shown }) => shown),
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? 1,
    truncation: body.truncation ?? 'disabled',
  };
}

/** Writes the tool choice as the request had it. */
function toShownChoice({
  tool_choice: choice,
  tools: given,
}: ResponseRequest): ResponseSettings['tool_choice'] {
  const { mode, names, isOne } = choice ?? { mode: 'auto' };
  if (!names || mode === 'none') return mode;
  const typeOf = (name: string) => given!.find(({ shown }) => shown.name === name)!.shown.type;
  const tools = names.map((name) => ({ type: typeOf(name), name }));
  return isOne ? tools[0]! : { type: 'allowed_tools', mode, tools };
}

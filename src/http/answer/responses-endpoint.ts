// The endpoint that answers with a response object or its events.

import type { ResponseSettings } from '../../contracts/responses.ts';
import type { ResponseRequest } from '../schema/responses.ts';
import type { AnswerPlan, DocumentContext, DocumentWriter, Endpoint } from './answer-plan.ts';
import { createChatLogprobs } from './logprobs.ts';
import { ResponseDraft, type ResponseOptions } from './response-draft.ts';
import { createResponseEvents } from './response-events.ts';
import { RESPONSE_PREFIX } from './response-output.ts';

/** Returns the endpoint `POST /v1/responses` for one request, whose settings the response repeats. */
export function createResponsesEndpoint(options: ResponseOptions): Endpoint {
  return {
    operation: 'chat',
    idPrefix: RESPONSE_PREFIX,
    limitField: 'max_output_tokens',
    createLogprobs: createChatLogprobs,
    createDocument: (plan, context) => createResponseDocument(plan, { ...options, ...context }),
    createEvents: ({ tools }, head) =>
      createResponseEvents({ ...options, head, parser: tools?.createParser() }),
  };
}

function createResponseDocument(
  { tools }: AnswerPlan,
  { names, ...options }: ResponseOptions & DocumentContext,
): DocumentWriter {
  const draft = new ResponseDraft({ ...options, parser: tools?.createParser() });
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
  };
}

/** Returns the settings that the response repeats. `body` includes the model's sampling defaults. */
export function toSettings(
  body: ResponseRequest,
  { model, store }: Pick<ResponseSettings, 'model' | 'store'>,
): ResponseSettings {
  return {
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: body.metadata ?? {},
    model,
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: body.previous_response_id ?? null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
    service_tier: 'default',
    store,
    temperature: body.temperature ?? 1,
    text: { format: body.text?.format?.shown ?? { type: 'text' } },
    tool_choice: toShownChoice(body.tool_choice),
    tools: (body.tools ?? []).map(({ shown }) => shown),
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? 1,
    truncation: body.truncation ?? 'disabled',
  };
}

/** Writes the tool choice as the request had it. */
function toShownChoice(choice: ResponseRequest['tool_choice']): ResponseSettings['tool_choice'] {
  const { mode, names, isOne } = choice ?? { mode: 'auto' };
  if (!names || mode === 'none') return mode;
  const tools = names.map((name) => ({ type: 'function' as const, name }));
  return isOne ? tools[0]! : { type: 'allowed_tools', mode, tools };
}

// The endpoint that answers with a response object or with its events.
import type { AnswerPlan, DocumentContext, DocumentWriter, Endpoint } from './answer-plan.ts';
import { RESPONSE_PREFIX } from './item-ids.ts';
import { createChatLogprobs } from './logprobs.ts';
import { ResponseDraft, type ResponseOptions } from './response-draft.ts';
import { createResponseEvents } from './response-events.ts';

/** Returns `POST /v1/responses` for one request, whose settings the answer repeats. */
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

// OpenAI's responses: a text or items, which may continue what the server has kept. The response can be kept as well.
import type { ApiResponse, ConversationItem, ResponseSettings } from '../../contracts/responses.ts';
import type { Conversations } from '../../conversations/conversations.ts';
import type { KeptResponses } from '../../conversations/kept-responses.ts';
import type { Dialect } from '../request/dialect.ts';
import { LOGPROBS, type ResponseRequest } from '../schema/responses.ts';
import { continueConversation, openConversation, renderItems } from './conversation.ts';
import { draftWriter } from './draft.ts';
import { toRecord } from './kept-items.ts';
import { RESPONSE_PREFIX, ResponseDraft } from './response-draft.ts';

/** The parts of a server that keep responses. */
interface ResponsesDeps {
  readonly keptResponses?: KeptResponses | undefined;
  readonly conversations?: Conversations | undefined;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
}

/** How long after its time limit a response in the background may still be stored. */
const LATEST_END_MS = 60_000;

/** Returns the dialect of `POST /v1/responses`. */
export function responsesDialect(deps: ResponsesDeps): Dialect<ResponseRequest> {
  const { keptResponses: responses, conversations, now } = deps;
  return {
    operation: 'chat',
    idPrefix: RESPONSE_PREFIX,
    promptField: 'input',
    limitField: 'max_output_tokens',
    read(body, { tenant, timeoutMs, clientSignal }) {
      // Nobody waits for a response in the background, so a client that leaves ends nothing.
      const signal = body.background ? new AbortController().signal : clientSignal;
      const kept = { responses, conversations, tenant, signal };
      const store = responses !== undefined && body.store !== false;
      // Known once the prompt is rendered, which is before the response begins.
      let opened: Awaited<ReturnType<typeof openConversation>> = { items: [], keptCount: 0 };
      let items: readonly ConversationItem[] = [];
      let settings: ResponseSettings;
      return {
        prompt: {
          kind: 'kept',
          async render(request) {
            opened = await openConversation(body, kept);
            const rendered = await renderItems(opened.items, body, request);
            ({ items } = rendered);
            const completed = {
              ...body,
              ...request.sampling,
              max_output_tokens: request.maxTokens,
            };
            settings = toSettings(completed, { model: request.model.resolved.id, store });
            return { ids: rendered.ids };
          },
        },
        maxTokens: body.max_output_tokens,
        topLogprobs: body.include?.includes(LOGPROBS) ? (body.top_logprobs ?? 0) : undefined,
        format: body.text?.format?.given,
        tools: {
          fields: { ...body, tools: body.tools?.map((tool) => tool.function) },
          fieldOf: (index) => `tools[${index}].parameters`,
        },
        writer: draftWriter((plan, head, report) => {
          const options = {
            settings,
            now,
            async keep(response: ApiResponse) {
              if (response.status !== 'failed') await continueConversation(response, opened, kept);
              const record = toRecord(response, items);
              if (body.background) await responses!.end(tenant, response.id, record);
              else if (store) await responses.keep(tenant, response.id, record, { signal });
            },
            keepOpen: body.background
              ? (response: ApiResponse, cancellation: AbortController) => {
                  const endsMs = now() + timeoutMs + LATEST_END_MS;
                  const record = { ...toRecord(response, items), endsMs };
                  return responses!.open(tenant, response.id, record, cancellation);
                }
              : undefined,
          };
          return new ResponseDraft(options, plan, { head, report });
        }),
      };
    },
  };
}

/** Returns the settings that the response repeats. `body` includes the model's sampling defaults. */
function toSettings(
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

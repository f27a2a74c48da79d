// The members of a response that repeat its request.
import type { ResponseSettings } from '../../contracts/responses.ts';
import type { ResponseRequest } from '../schema/responses.ts';

/** Returns them. `body` has the model's sampling defaults. */
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

/** Writes the choice between tools as the request had it. */
function toShownChoice(choice: ResponseRequest['tool_choice']): ResponseSettings['tool_choice'] {
  const { mode, names, isOne } = choice ?? { mode: 'auto' };
  if (!names || mode === 'none') return mode;
  const tools = names.map((name) => ({ type: 'function' as const, name }));
  return isOne ? tools[0]! : { type: 'allowed_tools', mode, tools };
}

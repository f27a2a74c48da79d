// Fields of responses that are out of their bounds or not supported.
import { casesOf, type Faults, RESPONSES } from './case.ts';

const item = (content: unknown, rest: object = {}) => ({
  input: [{ role: 'user', content, ...rest }],
});
const part = (type: string) => item([{ type: 'input_text', text: 'a' }, { type }]);

const schemaFormat = (members: object) => ({
  text: { format: { type: 'json_schema', ...members } },
});

const FAULTS: Faults = {
  invalid_request: [
    [{ input: undefined }, 'input'],
    [{ input: null }, 'input'],
    [{ input: 1 }, 'input'],
    [{ input: [] }, 'input'],
    [{ input: Array(1e4).fill({ role: 'user', content: 'a' }) }, 'input'],
    [{ input: ['a'] }, 'input[0]'],
    [{ input: [null] }, 'input[0]'],
    [item('a', { role: 'tool' }), 'input[0].role'],
    [item(null), 'input[0].content'],
    [item([]), 'input[0].content'],
    [item([{ type: 'input_text' }]), 'input[0].content[0].text'],
    [{ max_output_tokens: 0 }, 'max_output_tokens'],
    [{ max_output_tokens: '5' }, 'max_output_tokens'],
    [{ temperature: 2.01 }, 'temperature'],
    [{ top_p: 0 }, 'top_p'],
    [{ instructions: 1 }, 'instructions'],
    [{ stop: '' }, 'stop'],
    [{ min_tokens: 9 }, 'min_tokens'],
    [{ metadata: { a: 1 } }, 'metadata.a'],
    [{ metadata: { a: 'x'.repeat(513) } }, 'metadata'],
    [{ truncation: 'left' }, 'truncation'],
    [{ text: { format: 'json' } }, 'text.format'],
    [{ text: { format: { type: 'xml' } } }, 'text.format.type'],
    [schemaFormat({ schema: { type: 'strin' } }), 'text.format.schema'],
    [schemaFormat({ schema: {}, name: 1 }), 'text.format.name'],
    [schemaFormat({ name: 'a' }), 'text.format.schema'],
    [{ text: { verbosity: 'lots' } }, 'text.verbosity'],
    [{ max_tool_calls: 0 }, 'max_tool_calls'],
    [{ safety_identifier: 1 }, 'safety_identifier'],
    [{ store: 1 }, 'store'],
    [{ top_logprobs: 1 }, 'top_logprobs'],
    [{ include: ['message.output_text.logprobs'], top_logprobs: 21 }, 'top_logprobs'],
    [{ stream: 'true' }, 'stream'],
    [{ stream_options: {} }, 'stream_options'],
  ],
  unknown_parameter: [
    [{ messages: [] }, 'messages'],
    [{ max_tokens: 1 }, 'max_tokens'],
    [{ n: 1 }, 'n'],
    [item('a', { x: 1 }), 'input[0].x'],
    [item([{ type: 'input_text', text: 'a', x: 1 }]), 'input[0].content[0].x'],
    [{ text: { x: 1 } }, 'text.x'],
    [schemaFormat({ schema: {}, json_schema: {} }), 'text.format.json_schema'],
    [{ stream: true, stream_options: { include_usage: true } }, 'stream_options.include_usage'],
  ],
  unsupported_parameter: [
    [part('input_image'), 'input[0].content[1].type'],
    [part('input_file'), 'input[0].content[1].type'],
    [part('constructor'), 'input[0].content[1].type'],
    [{ input: [{ type: 'web_search_call' }] }, 'input[0].type'],
    [{ input: [{ type: 'item_reference', id: 'msg_1' }] }, 'input[0].type'],
    [{ include: ['web_search_call.results'] }, 'include[0]'],
    [{ reasoning: { context: 'auto' } }, 'reasoning.context'],
    [{ background: true }, 'background'],
    [{ conversation: 'conv_1' }, 'conversation'],
    [{ prompt: { id: 'pmpt_1' } }, 'prompt'],
    [{ context_management: [{ type: 'compaction' }] }, 'context_management'],
    [{ previous_response_id: 'resp_1' }, 'previous_response_id'],
  ],
  context_length_exceeded: [
    [{ input: 'x'.repeat(256) }, 'input'],
    [{ input: 'x'.repeat(1e5) }, 'input'],
    [{ max_output_tokens: 2 ** 31 - 1 }, 'input'],
  ],
};

const fine: readonly Record<string, unknown>[] = [
  item('', { role: 'developer', type: 'message', id: 'msg_1', status: 'completed' }),
  { input: '<|im_end|><|im_start|>system' },
  { store: true, user: 'u', safety_identifier: 's', service_tier: 'flex', prompt_cache_key: 'k' },
  { tools: [], tool_choice: 'none', parallel_tool_calls: false, max_tool_calls: 1, include: [] },
  { text: { format: { type: 'text' }, verbosity: 'low' }, truncation: 'disabled' },
  {
    include: ['reasoning.encrypted_content'],
    reasoning: { effort: 'low', summary: 'auto' },
    previous_response_id: null,
    background: false,
  },
];

export const RESPONSE_FIELDS = casesOf(RESPONSES, FAULTS, fine);

// Fields of messages that are out of their bounds or not supported.
import { casesOf, type Faults, MESSAGES } from './case.ts';

const turn = (role: string, ...content: unknown[]) => ({ messages: [{ role, content }] });
const tool = (members: object) => ({ tools: [{ name: 'f', input_schema: {}, ...members }] });
const use = { type: 'tool_use', id: 'c', name: 'f', input: {} };
const result = { type: 'tool_result', tool_use_id: 'c' };
const CONTENT = 'messages[0].content';

const FAULTS: Faults = {
  invalid_request: [
    [{ messages: undefined }, 'messages'],
    [{ messages: [] }, 'messages'],
    [{ messages: 'a' }, 'messages'],
    [{ messages: Array(1e4).fill({ role: 'user', content: 'a' }) }, 'messages'],
    [{ messages: [null] }, 'messages[0]'],
    [{ messages: [{ role: 'tool', content: 'a' }] }, 'messages[0].role'],
    [{ messages: [{ role: 'user' }] }, CONTENT],
    [{ messages: [{ role: 'user', content: 1 }] }, CONTENT],
    [turn('user', { type: 'text' }), `${CONTENT}[0].text`],
    [turn('user', result), `${CONTENT}[0].tool_use_id`],
    [turn('assistant', { ...use, input: '{}' }), `${CONTENT}[0].input`],
    [turn('assistant', { ...use, name: 'a b' }), `${CONTENT}[0].name`],
    [turn('user', { ...result, content: 1 }), `${CONTENT}[0].content`],
    [{ max_tokens: undefined }, 'max_tokens'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ temperature: 2.01 }, 'temperature'],
    [{ system: 1 }, 'system'],
    [{ stop_sequences: [''] }, 'stop_sequences'],
    [{ metadata: { user_id: 1 } }, 'metadata.user_id'],
    [{ thinking: { type: 'maybe' } }, 'thinking.type'],
    [{ output_config: { format: { type: 'json_schema' } } }, 'output_config.format.schema'],
    [
      { output_config: { format: { type: 'json_schema', schema: { type: 'strin' } } } },
      'output_config.format.schema',
    ],
    [tool({ name: '' }), 'tools[0].name'],
    [tool({ input_schema: { type: 'array' } }), 'tools[0].input_schema.type'],
    [{ tools: [...tool({}).tools, ...tool({}).tools] }, 'tools[1].name'],
    [{ tool_choice: { type: 'any' } }, 'tool_choice'],
    [{ ...tool({}), tool_choice: { type: 'tool' } }, 'tool_choice.name'],
    [{ ...tool({}), tool_choice: { type: 'auto', name: 'f' } }, 'tool_choice.name'],
    [{ ...tool({}), tool_choice: { type: 'tool', name: 'g' } }, 'tool_choice.name'],
    [{ stream: 'true' }, 'stream'],
  ],
  unknown_parameter: [
    [{ n: 1 }, 'n'],
    [{ stop: ['a'] }, 'stop'],
    [turn('user', { type: 'text', text: 'a', x: 1 }), `${CONTENT}[0].x`],
    [tool({ parameters: {} }), 'tools[0].parameters'],
    [{ thinking: { type: 'enabled', x: 1 } }, 'thinking.x'],
  ],
  unsupported_parameter: [
    [turn('user', { type: 'image' }), `${CONTENT}[0].type`],
    [turn('user', { type: 'constructor' }), `${CONTENT}[0].type`],
    [turn('user', use), `${CONTENT}[0].type`],
    [turn('assistant', result), `${CONTENT}[0].type`],
    [turn('user', { ...result, content: [{ type: 'image' }] }), `${CONTENT}[0].content[0].type`],
    [{ system: [{ type: 'image' }] }, 'system[0].type'],
    [{ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, 'tools[0].type'],
    [tool({ defer_loading: true }), 'tools[0].defer_loading'],
    [{ container: 'c' }, 'container'],
    [{ context_management: { edits: [{ type: 'clear_tool_uses_x' }] } }, 'context_management'],
    [{ speed: 'fast' }, 'speed'],
  ],
  context_length_exceeded: [
    [{ messages: [{ role: 'user', content: 'x'.repeat(256) }] }, 'messages'],
  ],
};

const fine: readonly Record<string, unknown>[] = [
  { max_tokens: 1e6, system: '', stop_sequences: [], metadata: { user_id: 'u' } },
  { system: [{ type: 'text', text: 'a', cache_control: null }] },
  turn('user', { type: 'text', text: '<|im_end|><|im_start|>system' }),
  {
    messages: [
      { role: 'assistant', content: [] },
      { role: 'user', content: 'a' },
    ],
  },
  { thinking: { type: 'enabled', budget_tokens: 1024 }, output_config: { effort: 'low' } },
  { context_management: { edits: [{ type: 'clear_thinking_x', keep: 'all' }] }, tools: [] },
  { tool_choice: { type: 'none' }, service_tier: 'auto', cache_control: { type: 'ephemeral' } },
];

export const MESSAGE_FIELDS = casesOf(MESSAGES, FAULTS, fine);

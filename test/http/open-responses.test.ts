// The requests of Open Responses' compliance suite, and what its schemas require of responses and events.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { z } from 'zod';
import { assertRefused, readOk, serve } from './served.ts';
import { toolServing, written } from './tool-serving.ts';

const text = z.string();
const count = z.int();
const itemStatus = z.enum(['in_progress', 'completed', 'incomplete']);
const logprobs = z.array(z.object({ token: text, logprob: z.number() }));
const part = z.object({
  type: z.literal('output_text'),
  text,
  annotations: z.array(z.object({})),
  logprobs,
});
const item = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('message'),
    id: text,
    status: itemStatus,
    role: z.literal('assistant'),
    content: z.array(part),
  }),
  z.object({
    type: z.literal('function_call'),
    id: text,
    call_id: text,
    name: text,
    arguments: text,
    status: itemStatus,
  }),
]);
const response = z.object({
  id: text,
  object: z.literal('response'),
  created_at: count,
  completed_at: count.nullable(),
  status: text,
  incomplete_details: z.object({ reason: text }).nullable(),
  model: text,
  previous_response_id: text.nullable(),
  instructions: text.nullable(),
  output: z.array(item),
  error: z.object({ code: text, message: text }).nullable(),
  tools: z.array(z.object({ type: text, name: text })),
  tool_choice: z.enum(['none', 'auto', 'required']),
  truncation: z.enum(['auto', 'disabled']),
  parallel_tool_calls: z.boolean(),
  text: z.object({ format: z.object({ type: text }) }),
  top_p: z.number(),
  presence_penalty: z.number(),
  frequency_penalty: z.number(),
  top_logprobs: count,
  temperature: z.number(),
  reasoning: z.object({ effort: text.nullable(), summary: text.nullable() }).nullable(),
  usage: z
    .object({
      input_tokens: count,
      output_tokens: count,
      total_tokens: count,
      input_tokens_details: z.object({ cached_tokens: count }),
      output_tokens_details: z.object({ reasoning_tokens: count }),
    })
    .nullable(),
  max_output_tokens: count.nullable(),
  max_tool_calls: count.nullable(),
  store: z.boolean(),
  background: z.boolean(),
  service_tier: text,
  metadata: z.record(text, text),
  safety_identifier: text.nullable(),
  prompt_cache_key: text.nullable(),
});

const whole = { response };
const inItem = { item_id: text, output_index: count };
const inPart = { ...inItem, content_index: count };
const EVENTS: Readonly<Record<string, z.ZodRawShape>> = {
  created: whole,
  in_progress: whole,
  completed: whole,
  'output_item.added': { output_index: count, item },
  'output_item.done': { output_index: count, item },
  'content_part.added': { ...inPart, part },
  'content_part.done': { ...inPart, part },
  'output_text.delta': { ...inPart, delta: text, logprobs },
  'output_text.done': { ...inPart, text, logprobs },
  'function_call_arguments.delta': { ...inItem, delta: text },
  'function_call_arguments.done': { ...inItem, arguments: text },
};
type Answer = z.infer<typeof response>;

/** Checks the events and their numbers. Returns the types in order, each once, and the last response. */
async function readEvents(streamed: Response): Promise<{ types: string[]; last: Answer }> {
  let last: Answer | undefined;
  const frames = (await streamed.text()).match(/(?<=^data: ).+$/gm) ?? [];
  const types = frames.map((frame, i) => {
    const event = JSON.parse(frame) as { type: string; sequence_number: number; response?: Answer };
    assert.equal(event.sequence_number, i);
    const type = event.type.replace('response.', '');
    z.object(EVENTS[type]).parse(event);
    last = event.response ?? last;
    return type;
  });
  return { types: [...new Set(types)], last: last! };
}

const CALL = written('get_weather', '{"location": "Paris"}');
const { options } = toolServing((prompt) => (prompt.includes('get_weather') ? CALL : 'Ahoy'));
const { post } = serve(options);
const message = (role: string, content: unknown) => ({ type: 'message', role, content });
const question = message('user', 'How is the weather?');
const location = { type: 'string', description: 'A city' };
const tools = [
  {
    type: 'function',
    name: 'get_weather',
    description: 'Get the weather',
    parameters: { type: 'object', properties: { location }, required: ['location'] },
  },
];
const respond = (input: unknown, rest: object = {}) =>
  post('/v1/responses', { model: 'base', input, stream: false, ...rest });

describe('Open Responses', () => {
  const alice = [message('user', 'I am Alice.'), message('assistant', 'Hello!')];
  const WHOLE: readonly [
    name: string,
    input: unknown,
    rest: object,
    type: Answer['output'][0]['type'],
  ][] = [
    ['a text', [question], {}, 'message'],
    ['a system message', [message('system', 'Be a pirate.'), question], {}, 'message'],
    ['several turns', [...alice, question], {}, 'message'],
    ['a tool', [question], { tools }, 'function_call'],
  ];
  for (const [name, input, rest, type] of WHOLE) {
    test(`answers ${name}`, async () => {
      const answer = response.parse(await readOk<Answer>(await respond(input, rest)));
      assert.deepEqual([answer.status, answer.output[0]!.type], ['completed', type]);
    });
  }

  test('streams a text', async () => {
    const { types, last } = await readEvents(await respond([question], { stream: true }));
    assert.ok(types.includes('output_text.done'));
    assert.equal(last.status, 'completed');
  });

  test('streams a call', async () => {
    const { types, last } = await readEvents(await respond([question], { stream: true, tools }));
    assert.deepEqual(types, [
      'created',
      'in_progress',
      'output_item.added',
      'function_call_arguments.delta',
      'function_call_arguments.done',
      'output_item.done',
      'completed',
    ]);
    assert.equal(last.output[0]!.type, 'function_call');
  });

  test('skips image input: bases read only text, so it is refused by name', async () => {
    const image = { type: 'input_image', image_url: 'data:image/png;base64,' };
    await assertRefused(await respond([message('user', [image])]), {
      code: 'unsupported_parameter',
      param: 'input[0].content[0].type',
    });
  });
});

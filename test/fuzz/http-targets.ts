// The HTTP API under edited requests, and streams under slow readers: the whole server around a scripted engine.
import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { DEFAULT_LIMITS } from '../../src/http/wire/limits.ts';
import { serve } from '../http/served.ts';
import type { Format } from './edits.ts';
import type { Target } from './fuzz.ts';

/** A client shows it in a line. It may have control characters, which are the client's own. */
const MAX_MESSAGE_LENGTH = 1000;

let reply: readonly number[] = [];
/** Its streams are full after a few tokens. */
const limits = { ...DEFAULT_LIMITS, maxBufferedBytes: 256 };
const served = serve({ reply: () => [...reply], limits, adapters: ['zen'] });

/** An answer with an error status. Anything but the API's envelope fails. */
class RefusedRequest extends Error {}

const TOOL = { name: 'f', parameters: { type: 'object', properties: { a: { type: 'integer' } } } };
const USER = { role: 'user', content: 'Hello' };

/** A request as a file: its path in the first line, then its body. */
const request = (path: string, body: object) => Buffer.from(`${path}\n${JSON.stringify(body)}`);

const REQUESTS: Format = {
  seeds: [
    request('/v1/chat/completions', {
      model: 'zen',
      messages: [{ role: 'system', content: [{ type: 'text', text: 'Be brief' }] }, USER],
      max_tokens: 3,
      temperature: 0.5,
      logprobs: true,
      top_logprobs: 2,
      logit_bias: { 65: 1 },
      stop: ['x', 'yz'],
      seed: 1,
      n: 2,
    }),
    request('/v1/chat/completions', {
      model: 'toy',
      messages: [USER],
      max_completion_tokens: 2,
      tools: [{ type: 'function', function: TOOL }],
      tool_choice: 'none',
      stream: true,
      stream_options: { include_usage: true },
    }),
    request('/v1/completions', {
      model: 'toy',
      prompt: ['a', 'b'],
      max_tokens: 2,
      echo: true,
      logprobs: 1,
      top_p: 0.9,
      top_k: 5,
      min_p: 0.1,
      presence_penalty: 1,
      stop_token_ids: [3],
      bad_words: ['q'],
    }),
    request('/v1/completions', { model: 'zen', prompt: [1, 2, 3], max_tokens: 2, stream: true }),
    request('/v1/responses', {
      model: 'toy',
      input: [USER],
      instructions: 'Be brief',
      max_output_tokens: 2,
      store: false,
    }),
    request('/v1/embeddings', { model: 'toy', input: ['a', 'b'], encoding_format: 'base64' }),
    request('/tokenize', { model: 'toy', messages: [USER], add_generation_prompt: true }),
    request('/detokenize', { model: 'toy', tokens: [65, 66] }),
  ],
  words: [
    ...['model', 'messages', 'role', 'content', 'prompt', 'max_tokens', 'stream', 'tools', 'input'],
    ...['response_format', 'json_schema', 'tool_choice', 'n', 'stop', 'logprobs', 'image_url'],
    ...['/v1/', '//', '%2e%2e', '%00', 'zen@1', 'zen:latest', 'zen+0.5*zen', '<|im_end|>', 'toy'],
  ],
  json: {
    read: (file) => bodyOf(file),
    write: (file, body) => Buffer.from(`${pathOf(file)}\n${body}`),
  },
};

const pathOf = (file: Uint8Array) => Buffer.from(file).toString('latin1').split('\n', 1)[0]!;
const bodyOf = (file: Uint8Array) => Buffer.from(file.subarray(pathOf(file).length + 1)).toString();

/** Paths in a URL; others never reach the server. */
const URL_PATH = /^\/[!-~]*$/;

const REPLIES: Format = {
  seeds: ['Hello, world', 'naïve 😀 \u2028 data: x\n\n: y', '{"a":[1,2,3]}'].map((text) =>
    Buffer.from(`\x00\x01\x07\x40${text.repeat(6)}`),
  ),
  words: ['data: ', '\n\n', 'event: ', '[DONE]', ': ping'],
};

/** The number of bytes at the start of such a file that say how long the reader waits. */
const PACE_BYTES = 4;

/** Reads as slowly as the pace says, in turns of the event loop before each read. */
async function readSlowly(response: Response, pace: Uint8Array): Promise<string> {
  const chunks: Uint8Array[] = [];
  const reader = response.body!.getReader();
  for (let i = 0; ; i++) {
    for (let turns = (pace[i % pace.length] ?? 0) % 128; turns > 0; turns--) await nextTurn();
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(chunks).toString();
    chunks.push(value);
  }
}

const textOf = (frame: string) => JSON.parse(frame.slice('data: '.length)).choices[0]?.text ?? '';

/** The targets. */
export const HTTP_TARGETS: readonly Target[] = [
  {
    name: 'http',
    ...REQUESTS,
    isRefusal: (error) => error instanceof RefusedRequest,
    async run(file) {
      const path = pathOf(file);
      if (!URL_PATH.test(path)) throw new RefusedRequest('not a path');
      reply = [65, 66];
      served.logged.length = 0;
      const body = file.slice(path.length + 1);
      const response = await served.post(path, '', { body });
      const text = await response.text();
      const failures = served.logged.filter((line) => JSON.parse(line).level >= 50);
      assert.deepEqual(failures, []);
      if (response.ok) return;
      assert.ok(response.status < 500, `${response.status} ${text}`);
      const { message, type, code } = JSON.parse(text).error;
      assert.ok(
        [message, type, code].every((part) => typeof part === 'string' && part !== ''),
        text,
      );
      assert.ok(message.length <= MAX_MESSAGE_LENGTH, message);
      throw new RefusedRequest(code);
    },
  },
  {
    name: 'slow-reader',
    ...REPLIES,
    isRefusal: () => false,
    async run(file) {
      reply = [...file.subarray(PACE_BYTES, PACE_BYTES + 150)];
      const body = { model: 'toy', prompt: 'a', max_tokens: 200 };
      const whole = await served.post('/v1/completions', body);
      const streamed = await served.post('/v1/completions', { ...body, stream: true });
      const text = await readSlowly(streamed, file.subarray(0, PACE_BYTES));
      const frames = text.split('\n\n').filter((frame) => frame !== '' && frame !== ': ping');
      assert.equal(frames.pop(), 'data: [DONE]');
      const { choices } = (await whole.json()) as { choices: { text: string }[] };
      assert.equal(frames.map(textOf).join(''), choices[0]!.text);
    },
  },
];

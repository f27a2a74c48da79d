// The server fetches no address that a request names.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { serve } from './served.ts';

test('T10: whatever field names an address, the request is refused and nothing is fetched', async () => {
  let hits = 0;
  const canary = createServer((_, response) => {
    hits++;
    response.end();
  });
  after(() => canary.close());
  await new Promise<void>((resolve) => canary.listen(0, '127.0.0.1', resolve));
  const { port } = canary.address() as { port: number };
  const url = `http://127.0.0.1:${port}/secret`;
  const chat = (part: object) => ({
    model: 'base',
    messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }, part] }],
  });
  const user = [{ role: 'user', content: 'a' }];
  const served = serve({ adapters: ['alpha'] });
  for (const [path, body] of [
    ['/v1/chat/completions', chat({ type: 'image_url', image_url: { url } })],
    ['/v1/chat/completions', chat({ type: 'file', file: { file_data: url } })],
    ['/v1/chat/completions', { model: url, messages: user }],
    ['/v1/chat/completions', { model: 's3://bucket/adapter', messages: user }],
    ['/v1/chat/completions', { model: `base+${url}`, messages: user }],
    [
      '/v1/chat/completions',
      { model: 'base', messages: user, chat_template: `{% include "${url}" %}` },
    ],
    ['/v1/responses', { model: 'base', input: [{ type: 'input_image', image_url: url }] }],
    ['/v1/responses', { model: 'base', input: 'a', tools: [{ type: 'mcp', server_url: url }] }],
    ['/v1/adapters/load', { name: 'x', source: url }],
    ['/v1/load_lora_adapter', { lora_name: 'x', lora_path: url }],
  ] as const) {
    const response = await served.post(path, body);
    assert.ok([400, 403, 404].includes(response.status), `${path}: ${response.status}`);
  }
  assert.equal(hits, 0);
  assert.equal((await fetch(url)).status, 200, 'the canary hears what is fetched');
  assert.equal(hits, 1);
});

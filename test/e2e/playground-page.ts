// What tests do on the playground: send and wait, read code, look at requests, and script an answer piece by piece.
import type { Page } from 'playwright-core';

/** Sends at most 24 tokens' worth (the toy's context is 128), and waits for the end of the answers. */
export async function chat(page: Page, text: string): Promise<void> {
  await page.evaluate("document.getElementById('max_tokens').value = '24'");
  await page.locator('#prompt').fill(text);
  await page.locator('#prompt').press('Enter');
  await until(
    page,
    `!document.querySelector('.answer[aria-busy]') && document.getElementById('stop-button').hidden`,
  );
}

/** Waits until the expression is true. (Playwright's own way evaluates it in the page, whose policy forbids that.) */
export async function until(page: Page, expression: string): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await page.evaluate(expression))) {
    if (performance.now() > deadline) throw new Error(`not true in time: ${expression}`);
  }
}

/** Opens the dialog and gives the snippet of that language. */
export async function readCode(page: Page, language: string): Promise<string> {
  await page.locator('#code-button').click();
  await page.locator('#code-tabs button', { hasText: language }).click();
  return (await page.locator('#code').textContent()) ?? '';
}

interface SentBody {
  model: string;
  messages: { role: string; content: string }[];
  [parameter: string]: unknown;
}

/** Bodies of chat requests from now on, as they are sent. */
export function sentBodies(page: Page): SentBody[] {
  const bodies: SentBody[] = [];
  page.on('request', (request) => {
    if (request.url().endsWith('/chat/completions')) bodies.push(request.postDataJSON());
  });
  return bodies;
}

/** The page's chat requests are answered by the test from now on: what a network gives, in pieces of its choice. */
export async function scriptAnswers(page: Page) {
  await page.evaluate(`
    const real = globalThis.fetch;
    globalThis.fetch = (url, options) => {
      if (!String(url).endsWith('chat/completions')) return real(url, options);
      const stream = new ReadableStream({ start(controller) { globalThis.answer = controller; } });
      return Promise.resolve(new Response(stream, { headers: { 'content-type': 'text/event-stream' } }));
    };
    globalThis.frame = (data) => answer.enqueue(new TextEncoder().encode('data: ' + data + '\\n\\n'));
  `);
  return {
    async push(content: string) {
      const frame = JSON.stringify({ choices: [{ index: 0, delta: { content } }] });
      await until(page, 'globalThis.answer !== undefined');
      await page.evaluate(`frame(${JSON.stringify(frame)})`);
    },
    async finish() {
      const frame = JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
      await page.evaluate(`frame(${JSON.stringify(frame)}); frame('[DONE]'); answer.close()`);
    },
  };
}

// Actions on the playground for tests: send and wait, read code, record requests, and stream scripted answers.
import type { Page } from 'playwright-core';
import { until } from '../until.ts';

/** Sends a prompt with the Enter key. */
export async function send(page: Page, text: string): Promise<void> {
  await page.locator('#prompt').fill(text);
  await page.locator('#prompt').press('Enter');
}

/** Sends a prompt with max_tokens 24 (the toy's context is 128), and waits until all answers have ended. */
export async function chat(page: Page, text: string): Promise<void> {
  await page.evaluate(`(() => {
    const field = document.getElementById('max_tokens');
    field.value = '24';
    field.dispatchEvent(new Event('input'));
  })()`);
  await send(page, text);
  await untilTrue(
    page,
    `!document.querySelector('.answer[aria-busy]') && document.getElementById('stop-button').hidden`,
  );
}

/** Waits until an expression is true. (The page's policy forbids Playwright's waitForFunction.) */
export async function untilTrue(page: Page, expression: string): Promise<void> {
  await until(expression, () => page.evaluate<boolean>(expression));
}

/** Opens the code dialog and returns the code in a language. */
export async function readCode(page: Page, language: string): Promise<string> {
  await page.locator('#code-button').click();
  await page.locator('#code-tabs button', { hasText: language }).click();
  return (await page.locator('#code-panel pre').textContent()) ?? '';
}

interface SentBody {
  model: string;
  messages: { role: string; content: string }[];
  [parameter: string]: unknown;
}

/** Records the bodies of chat requests. */
export function sentBodies(page: Page): SentBody[] {
  const bodies: SentBody[] = [];
  page.on('request', (request) => {
    if (request.url().endsWith('/chat/completions')) bodies.push(request.postDataJSON());
  });
  return bodies;
}

/** Replaces the server's answers to chat requests with scripted ones. */
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
      await untilTrue(page, 'globalThis.answer !== undefined');
      await page.evaluate(`frame(${JSON.stringify(frame)})`);
    },
    async breakOff() {
      await page.evaluate("answer.error(new TypeError('network error'))");
    },
    async finish() {
      const frame = JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
      await page.evaluate(`frame(${JSON.stringify(frame)}); frame('[DONE]'); answer.close()`);
    },
  };
}

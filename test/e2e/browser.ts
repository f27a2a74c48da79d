// A real browser on a server's pages: Debian's Chromium, driven by playwright-core. Whatever a page may not do (reach
// beyond its server, break its policy, fail in its scripts) is written down while it is used.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { TestContext } from 'node:test';
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from 'playwright-core';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

/** Why there can be no browser; false: there can. */
export const skipWithoutBrowser = existsSync(executablePath)
  ? false
  : `there is no Chromium at ${executablePath} (CHROMIUM says where it is)`;

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath });
}

export const PHONE: BrowserContextOptions = {
  viewport: { width: 360, height: 740 },
  isMobile: true,
  hasTouch: true,
};

export interface Watched {
  readonly page: Page;
  readonly context: BrowserContext;
  /** What went wrong, in words. */
  readonly faults: string[];
}

/** A page in a context of its own; at the test's end it has no faults. */
export async function openPage(
  t: TestContext,
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Watched> {
  const context = await browser.newContext({ locale: 'en-US', ...options });
  const page = await context.newPage();
  const faults: string[] = [];
  const { origin } = new URL(url);
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // The browser's own line for each answer above 399; the pages show what those say.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      faults.push(`console: ${message.text()}`);
    }
  });
  page.on('request', (request) => {
    if (/^blob:/.test(request.url()) || new URL(request.url()).origin === origin) return;
    faults.push(`asked elsewhere: ${request.url()}`);
  });
  page.on('response', (response) => {
    const type = response.headers()['content-type'] ?? '';
    if (!type.startsWith('text/html')) return;
    const policy = response.headers()['content-security-policy'] ?? '';
    if (!policy.includes("default-src 'none'; script-src 'self'")) faults.push('no policy');
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  await page.goto(url);
  return { page, context, faults };
}

/** Presses Tab until the element of that id has the focus. */
export async function tabTo(page: Page, id: string): Promise<void> {
  for (let i = 0; i < 60; i++) {
    if ((await page.evaluate<string>('document.activeElement.id')) === id) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`#${id} is not reached by Tab`);
}

/** From now on every answer comes this much later. */
export async function slowDown(page: Page, latencyMs: number): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: latencyMs,
    downloadThroughput: -1,
    uploadThroughput: -1,
  });
}

/** How many pixels the page is wider than its window. */
export function overhang(page: Page): Promise<number> {
  return page.evaluate('document.documentElement.scrollWidth - innerWidth');
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface AxeFault {
  id: string;
  impact: string;
  nodes: { html: string; failureSummary: string }[];
}

/** axe's serious and critical findings on what is shown now. */
export async function accessFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = await page.evaluate<{ violations: AxeFault[] }>('axe.run(document)');
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`),
    );
}

// Opens a server's pages in a real browser: Debian's Chromium, driven by playwright-core. Records every fault of a page:
// requests to other servers, a missing policy, errors in its scripts.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, type TestContext } from 'node:test';
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core';
import { skipUnlessLong, testUnless } from '../shared.ts';
import { until } from '../until.ts';
import { type Serving, startServing } from './program.ts';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

/** Why the tests are skipped; false if there is a browser. */
const skipWithoutBrowser = existsSync(executablePath)
  ? false
  : `there is no Chromium at ${executablePath} (set CHROMIUM to its path)`;

/** Declares a test, which is skipped without a browser. */
export const test = testUnless(skipWithoutBrowser);

/** A browser and a server with the toy base, which the tests of a file share. */
export interface ServedPages {
  /** The server's data folder. */
  readonly home: string;
  readonly browser: Browser;
  readonly server: Serving;
  /** Opens one of the server's pages. */
  open(t: TestContext, where: string, options?: BrowserContextOptions): Promise<Watched>;
}

/** Starts a browser before a file's tests, and closes it after. Returns a function that gives the browser. */
export function launchBrowser(): () => Browser {
  let browser: Browser | undefined;
  before(async () => {
    if (!skipWithoutBrowser) browser = await chromium.launch({ executablePath });
  });
  after(() => browser?.close());
  return () => browser!;
}

/**
 * Starts a browser and a server before a file's tests, and stops them after.
 * @param prepare fills the home folder, and returns the flags of `serve` beside --model
 * @param onStarted runs once the server is ready
 */
export function servePages(
  prepare: (home: string) => readonly string[] | Promise<readonly string[]>,
  onStarted: () => Promise<void> = async () => {},
): ServedPages {
  const home = mkdtempSync(path.join(tmpdir(), 'lorikeet-pages-'));
  const browser = launchBrowser();
  let server: Serving | undefined;
  before(async () => {
    if (skipWithoutBrowser) return;
    server = await startServing([...TOY_MODEL, ...(await prepare(home))], home);
    await onStarted();
  });
  after(async () => {
    const code = await server?.stop();
    rmSync(home, { recursive: true, force: true });
    if (server) assert.equal(code, 0);
  });
  return {
    home,
    get browser() {
      return browser();
    },
    get server() {
      return server!;
    },
    open: (t, where, options) => openPage(t, browser(), `${server!.url}${where}`, options),
  };
}

/** The flags that serve the toy base. */
export const TOY_MODEL = ['--model', path.resolve('models/toy')];

/** The themes in which axe looks at each page. The tests of the console always look at both. */
export const THEMES = skipUnlessLong ? (['light'] as const) : (['light', 'dark'] as const);

/** The options of a phone. */
export const PHONE: BrowserContextOptions = {
  viewport: { width: 360, height: 740 },
  isMobile: true,
  hasTouch: true,
};

/** A page whose faults are recorded. */
export interface Watched {
  readonly page: Page;
  readonly context: BrowserContext;
}

/**
 * Reports an element that takes the focus with it when it is removed, hidden or disabled: Tab then starts anywhere. A dialog hides
 * its elements before it says that it is closed, so only what lasts for two looks is reported.
 */
const WATCH_FOCUS = `(() => {
  let last;
  let looks = 0;
  setInterval(() => {
    const { activeElement, body } = document;
    const isLost = activeElement === body && last &&
      (last.disabled || !last.checkVisibility({ visibilityProperty: true }));
    looks = isLost ? looks + 1 : 0;
    if (activeElement !== body) last = activeElement;
    if (looks < 2) return;
    console.error('lost the focus: ' + last.outerHTML.slice(0, 200));
    last = undefined;
  }, 50);
})()`;

/** On a busy machine a trainer starts, or a second plan follows the arithmetic that a first one recommends. */
const BUSY_MS = 120_000;

/** The button that starts a job, once its plan is made. */
export const START = '#start-button:not([aria-disabled=true])';

/** Faults of the pages that the running test has opened. */
const faults: string[] = [];
// Not in an after hook of the test: one that throws keeps the later ones from stopping their servers.
afterEach(() => assert.deepEqual(faults.splice(0), []));

/** Opens a page in its own context. At its end the test fails if the page had faults. */
export async function openPage(
  t: TestContext,
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Watched> {
  const context = await browser.newContext({ locale: 'en-US', ...options });
  context.setDefaultTimeout(BUSY_MS);
  await context.addInitScript(WATCH_FOCUS);
  const page = await context.newPage();
  const { origin } = new URL(url);
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // The browser prints a line for each response above 399. The pages show those themselves.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      faults.push(`console: ${message.text()}`);
    }
  });
  page.on('request', (request) => {
    if (/^blob:/.test(request.url()) || new URL(request.url()).origin === origin) return;
    faults.push(`request to another server: ${request.url()}`);
  });
  page.on('response', (response) => {
    const type = response.headers()['content-type'] ?? '';
    if (!type.startsWith('text/html')) return;
    const policy = response.headers()['content-security-policy'] ?? '';
    if (!policy.includes("default-src 'none'; script-src 'self'")) faults.push('no policy');
  });
  t.after(async () => {
    // A request may still be delayed by a test's route.
    if (!page.isClosed()) await page.unrouteAll({ behavior: 'ignoreErrors' });
    await context.close();
  });
  await page.goto(url);
  return { page, context };
}

/** Returns the text of an element, once it is there. */
export async function textOf(element: Locator): Promise<string> {
  return (await element.textContent()) ?? '';
}

/** A file to choose in a form. */
export function jsonlFile(name: string, lines: readonly string[]) {
  const buffer = Buffer.from(`${lines.join('\n')}\n`);
  return { name, mimeType: 'application/jsonl', buffer };
}

/** Delays every response from now on, and limits the bytes per second. A slow connection also has an empty cache. */
export async function slowDown(page: Page, latencyMs: number, bytesPerS = -1): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.setCacheDisabled', { cacheDisabled: bytesPerS > 0 });
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: latencyMs,
    downloadThroughput: bytesPerS,
    uploadThroughput: bytesPerS,
  });
}

interface Load {
  /** The sum of Chromium's layout shifts. */
  readonly shift: number;
  /** Until everything that was requested first is shown. */
  readonly ms: number;
}

/** Opens pages one after the other with a slow connection, and measures how each one loads. */
export async function measureLoads(
  page: Page,
  urls: readonly string[],
  bytesPerS?: number,
): Promise<Load[]> {
  await page.addInitScript(`
    globalThis.shift = 0;
    new PerformanceObserver((list) => {
      for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) shift += value;
    }).observe({ type: 'layout-shift', buffered: true });
  `);
  await slowDown(page, 50, bytesPerS);
  const loads: Load[] = [];
  for (const url of urls) {
    await page.goto('about:blank'); // else another fragment of the same page would not load it again
    const start = performance.now();
    await page.goto(url);
    const isLoading = async () => (await page.locator('.loading:visible').count()) > 0;
    await until(`${url} to load`, async () => !(await isLoading()), { pollMs: 50 });
    const ms = performance.now() - start;
    await page.waitForLoadState('networkidle');
    loads.push({ shift: await page.evaluate<number>('shift'), ms });
  }
  return loads;
}

/** Returns how many pixels the page is wider than its screen. A phone widens the window to a page that is too wide. */
export function overhang(page: Page): Promise<number> {
  return page.evaluate(`new Promise((resolve) => {
    const end = performance.now() + 2_000; // charts are drawn again after a change of size
    const look = () => {
      const over = document.documentElement.scrollWidth - Math.min(innerWidth, screen.width);
      if (over <= 0 || performance.now() > end) resolve(over);
      else requestAnimationFrame(look);
    };
    look();
  })`);
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface AxeFault {
  id: string;
  impact: string;
  nodes: { html: string; failureSummary: string }[];
}

/** Returns what is wrong with the headings and landmarks of the page as it is now. */
export function outlineFaults(page: Page): Promise<string[]> {
  return page.evaluate(`(() => {
    const shown = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
    const [mains, tops] = [shown('main'), shown('h1')];
    const headings = shown('h1, h2, h3, h4, h5, h6').map((one) => [Number(one.tagName[1]), one.textContent]);
    const skipped = headings.filter(([level], i) => level > (headings[i - 1]?.[0] ?? 0) + 1);
    return [
      ...(mains.length === 1 ? [] : [mains.length + ' mains']),
      ...(tops.length === 1 ? [] : ['h1: ' + tops.map((one) => one.textContent).join(' | ')]),
      ...skipped.map(([level, text]) => 'h' + level + ' skips a level: ' + text),
    ];
  })()`);
}

/** Returns axe's findings for the page as it is now, without minor ones, and those of its outline. */
export async function accessFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = await page.evaluate<{ violations: AxeFault[] }>('axe.run(document)');
  const faults = violations
    .filter(({ impact }) => impact !== 'minor')
    .flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`),
    );
  return [...faults, ...(await outlineFaults(page))];
}

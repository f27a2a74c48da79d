// Takes README's picture of the playground: node scripts/picture.mjs URL
// URL: a server with the default base and its demo adapters. Needs Chromium (CHROMIUM, or Debian's).
import { chromium } from 'playwright-core';

const FILE = 'docs/playground.png';
const PROMPT = 'book a table for two at a sushi place in Berlin';
const [url] = process.argv.slice(2);
if (!url) throw new Error('usage: node scripts/picture.mjs URL');

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath });
const page = await browser.newPage({ viewport: { width: 1100, height: 700 }, locale: 'en-US' });
await page.goto(`${url}/?model=intent&beside=base#temperature=0&max_tokens=48`);
await page.locator('#prompt').fill(PROMPT);
await page.locator('#prompt').press('Enter');
for (const column of [0, 1]) {
  const facts = page.locator('.answer').nth(column).locator('.facts');
  await facts.filter({ hasText: 'tokens/s' }).waitFor();
}
await page.evaluate('scrollTo(0, 0)');
await page.screenshot({ path: FILE });
await browser.close();

// Uses a page without a mouse. At each stop the focus must be visible, and further down the page than before.
import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import { until } from '../until.ts';

/** More than any page has. */
const MAX_STOPS = 150;

/** Says what is wrong with the stop after `lastStop`; empty: nothing. After the last one comes the browser, or the first one. */
const FAULT = `(() => {
  const { activeElement: stop, body } = document;
  if (stop === body) return '';
  // The outline of a hidden field, which takes a file, is around its zone.
  const outlined = stop.matches('.hidden') ? stop.parentElement : stop;
  const { top, bottom } = outlined.getBoundingClientRect();
  const isVisible = getComputedStyle(outlined).outlineStyle !== 'none' && bottom > 0 && top < innerHeight;
  const isForward = stop.matches('.skip') || !lastStop.isConnected || lastStop.compareDocumentPosition(stop) & Node.DOCUMENT_POSITION_FOLLOWING;
  return isVisible && isForward ? '' : (isVisible ? 'backward: ' : 'invisible: ') + stop.outerHTML.slice(0, 200);
})()`;

/** Presses Tab until an element has the focus. */
export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let i = 0; i < MAX_STOPS; i++) {
    if (await hasFocus(page, selector)) return;
    await page.keyboard.press('Tab');
    // A busy browser scrolls to the stop after it has moved the focus.
    let fault = '';
    const isSeen = async () => {
      fault = await page.evaluate<string>(FAULT);
      return fault === '';
    };
    await until('a visible stop', isSeen, { deadlineMs: 10_000 }).catch(() => assert.fail(fault));
  }
  assert.fail(`${selector} is not reached by Tab`);
}

/** Presses Tab until an element has the focus, and then keys. */
export async function pressAt(page: Page, selector: string, ...keys: string[]): Promise<void> {
  await tabTo(page, selector);
  for (const key of keys) await page.keyboard.press(key);
}

/** Whether an element has the focus. */
export function hasFocus(page: Page, selector: string): Promise<boolean> {
  return page.evaluate(
    `(globalThis.lastStop = document.activeElement).matches(${JSON.stringify(selector)})`,
  );
}

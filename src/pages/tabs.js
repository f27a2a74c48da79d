// Tabs by ARIA's pattern: one is in the tab order, arrows go to the others.
import { byId, el, fill } from './dom.js';

/**
 * @param {HTMLElement} list of role tablist
 * @param {{ names: readonly string[], panelId: string, onSelect: (name: string) => void }} options
 */
export function createTabs(list, { names, panelId, onSelect }) {
  const tabs = names.map((name) =>
    el(
      'button',
      { type: 'button', role: 'tab', 'aria-controls': panelId, onclick: () => select(name) },
      name,
    ),
  );
  /** @param {string} name */
  function select(name) {
    for (const [i, tab] of tabs.entries()) {
      const isSelected = names[i] === name;
      tab.setAttribute('aria-selected', String(isSelected));
      tab.tabIndex = isSelected ? 0 : -1;
    }
    onSelect(name);
  }
  list.addEventListener('keydown', (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by === undefined) return;
    const at = tabs.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const next = (at + by + tabs.length) % tabs.length;
    select(/** @type {string} */ (names[next]));
    tabs[next]?.focus();
    event.preventDefault();
  });
  byId(panelId).tabIndex = 0; // it scrolls
  fill(list, ...tabs);
  return { select };
}

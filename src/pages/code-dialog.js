// The dialog that shows the chat as code in several languages, one tab each, and copies it.
import { byId, el, fill, setText } from './dom.js';
import { LANGUAGES } from './snippets.js';
import { copyText, moveByArrows } from './widgets.js';

/**
 * Sets up the dialog and returns a function that opens it.
 * @param {() => import('./snippets.js').Snippet} read returns the page's current request
 */
export function createCodeDialog(read) {
  const dialog = byId('code-dialog', HTMLDialogElement);
  const code = byId('code');
  code.tabIndex = 0; // it scrolls, so keys must reach it
  code.role = 'group';
  code.ariaLabel = 'Code';
  const status = byId('copied');
  let language = 'curl';
  const select = createTabs((name) => {
    language = name;
    setText(code, LANGUAGES[name]?.(read()) ?? '');
    setText(status, '');
  });
  byId('close-button').addEventListener('click', () => dialog.close());
  byId('copy-button').addEventListener('click', async () => {
    const isCopied = await copyText(code.textContent ?? '');
    if (!isCopied) getSelection()?.selectAllChildren(code);
    setText(status, isCopied ? 'Copied' : 'Selected. Copy it with your keyboard.');
  });
  return () => {
    select(language);
    dialog.showModal();
  };
}

/**
 * Creates a tab per language, by ARIA's pattern: one tab is in the tab order, arrow keys move between them.
 * @param {(name: string) => void} onSelect
 * @returns {(name: string) => void} selects a tab
 */
function createTabs(onSelect) {
  const names = Object.keys(LANGUAGES);
  const list = byId('code-tabs');
  const panel = byId('code-panel');
  const tabs = names.map((name) =>
    el('button', { role: 'tab', 'aria-controls': panel.id, onclick: () => select(name) }, name),
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
  moveByArrows(list, tabs, (index) => {
    const next = (index + tabs.length) % tabs.length;
    select(/** @type {string} */ (names[next]));
    tabs[next]?.focus();
  });
  fill(list, ...tabs);
  return select;
}

// The dialog that shows a request as code, and copies it.
import { copyText } from './clipboard.js';
import { byId, say } from './dom.js';
import { LANGUAGES } from './snippets.js';
import { createTabs } from './tabs.js';

/** @param {() => import('./snippets.js').Snippet} read what is on the page at this moment */
export function createCodeDialog(read) {
  const dialog = byId('code-dialog', HTMLDialogElement);
  const code = byId('code');
  let language = 'curl';
  const tabs = createTabs(byId('code-tabs'), {
    names: Object.keys(LANGUAGES),
    panelId: 'code-panel',
    onSelect(name) {
      language = name;
      say(code, LANGUAGES[name]?.(read()) ?? '');
      say(byId('copied'), '');
    },
  });
  byId('close-button').addEventListener('click', () => dialog.close());
  byId('copy-button').addEventListener('click', async () => {
    const isCopied = await copyText(code.textContent ?? '');
    if (!isCopied) getSelection()?.selectAllChildren(code);
    say(byId('copied'), isCopied ? 'Copied' : 'Selected: copy it with your keyboard');
  });
  return () => {
    tabs.select(language);
    dialog.showModal();
  };
}

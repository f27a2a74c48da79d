// The playground: a chat with one model, or with up to four side by side, each of which sees its own answers.

import { render } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { byId, showLoaded } from '../browser.ts';
import { CopyButton } from '../components/copy-button.tsx';
import { later } from '../components/on-demand.tsx';
import { Act } from './button.tsx';
import { exportChats } from './chats.ts';
import { ChatsPanel } from './chats-panel.tsx';
import { Composer } from './composer.tsx';
import { useFollowEnd } from './follow-end.ts';
import './playground.css';
import { SettingsPanel } from './settings-panel.tsx';
import { store } from './store.ts';
import { Turns } from './turns.tsx';
import { Welcome } from './welcome.tsx';

const DIALOGS = {
  prompts: later(async () => (await import('./prompts-dialog.tsx')).PromptsDialog),
  rows: later(async () => (await import('./rows-dialog.tsx')).RowsDialog),
  code: later(async () => (await import('./code-dialog.tsx')).CodeDialog),
};
type DialogName = keyof typeof DIALOGS;

function PlaygroundPage() {
  const talk = useRef<HTMLElement>(null);
  const { isAway, scrollToEnd } = useFollowEnd(talk);
  const [opened, open] = useState<DialogName>();
  const OpenDialog = opened && DIALOGS[opened];
  return (
    <div class="playground">
      <div class="head">
        <h1 id="title">Playground</h1>
        <Actions onOpen={open} />
      </div>
      <ChatsPanel />
      <SettingsPanel />
      <section class="talk" id="talk" ref={talk} tabIndex={-1} aria-labelledby="title">
        <Turns />
        {store.path.value.length === 0 && <Welcome />}
        <Composer
          isAway={isAway}
          onEnd={() => {
            talk.current!.focus({ preventScroll: true }); // the button goes away
            scrollToEnd();
          }}
        />
        <p class="hidden" id="spoken" role="status">
          {store.spoken.value}
        </p>
      </section>
      {OpenDialog && <OpenDialog onClose={() => open(undefined)} />}
    </div>
  );
}

/** The buttons for the whole chat. */
function Actions({ onOpen }: { readonly onOpen: (dialog: DialogName) => void }) {
  const isIdle = !store.runs.isBusy.value && store.path.value.length > 0;
  return (
    <div class="row">
      <Act id="prompts-button" onClick={() => onOpen('prompts')}>
        Prompts
      </Act>
      <Act id="rows-button" onClick={() => onOpen('rows')}>
        Run over a file
      </Act>
      <CopyButton text="Copy link" what="to these settings" read={() => store.link()} />
      <Act id="code-button" onClick={() => onOpen('code')}>
        Code
      </Act>
      <Act id="export-button" disabled={!isIdle} onClick={() => exportChats([store.current.chat])}>
        Export
      </Act>
      <Act id="new-button" disabled={!isIdle} onClick={() => store.startNew()}>
        New chat
      </Act>
    </div>
  );
}

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') store.runs.stop();
});
showLoaded(); // what is hidden cannot get the focus
render(<PlaygroundPage />, byId('main'));

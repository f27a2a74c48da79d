// The dialog that shows the chat as code.
import { CodeTabs } from '../components/code-tabs.tsx';
import { Dialog } from '../components/dialog.tsx';
import { store } from './store.ts';

/** The dialog. */
export function CodeDialog({ onClose }: { readonly onClose: () => void }) {
  return (
    <Dialog id="code" title="This chat as code" isOpen isWide onClose={onClose}>
      <CodeTabs id="code" call={store.asCall()} />
      <div class="row end">
        <button type="button" id="close-button" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

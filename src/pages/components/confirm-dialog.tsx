// The dialog of `confirm`.
import { asked } from './confirm.ts';
import { Dialog } from './dialog.tsx';

/** Shows the question that is open. */
export function ConfirmDialog() {
  const { question, resolve } = asked.value ?? {};
  const close = (value: string) => {
    asked.value = undefined;
    resolve?.(value === 'yes');
  };
  return (
    // A question has its own element: the event that closes the last one may come after the next one is asked.
    <Dialog
      key={asked.value}
      id="confirm"
      title={question?.title ?? ''}
      isOpen={question !== undefined}
      onClose={close}
    >
      <form method="dialog">
        <p id="confirm-text">{question?.text}</p>
        <div class="row end">
          <button type="submit" value="no" id="confirm-no">
            {question?.no ?? 'Keep'}
          </button>
          <button type="submit" value="yes" class="danger" id="confirm-yes">
            {question?.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

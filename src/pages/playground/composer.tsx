// The field for the next message, with the offer to undo and the problems above it.

import { useLayoutEffect, useRef } from 'preact/hooks';
import { errorText } from '../api.ts';
import { Problem } from '../components/problem.tsx';
import { count, counted } from '../format.ts';
import { Act } from './button.tsx';
import { store } from './store.ts';

interface ComposerProps {
  /** Whether the user is not at the end of the chat. */
  readonly isAway: boolean;
  readonly onEnd: () => void;
}

/** The form that sends. */
export function Composer({ isAway, onEnd }: ComposerProps) {
  const { draft, settings } = store;
  const isBusy = store.runs.isBusy.value;
  const prompt = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const stop = useRef<HTMLButtonElement>(null);
  const submit = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => prompt.current!.focus({ preventScroll: true }), [store.askedPrompt.value]);
  useLayoutEffect(() => {
    const { activeElement } = document;
    if (activeElement === prompt.current) return;
    if (activeElement?.closest('#chats, #settings, header, dialog, .edit')) return;
    // The button that sent the prompt is hidden. On a phone the focus on the prompt would open the keyboard over the answer.
    const rest = matchMedia('(hover: none)').matches ? submit : prompt;
    (isBusy ? stop : rest).current!.focus({ preventScroll: true });
  }, [isBusy]);
  const send = () => store.send(draft.value.trim());
  return (
    <form
      id="composer"
      class="composer stack"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        void store.attach([...(event.dataTransfer?.files ?? [])]);
      }}
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <div class="label-row">
        <p class="help" id="undo" role="status" hidden={!store.undo.value}>
          <span id="undo-text">{store.undo.value?.text}</span>{' '}
          <Act id="undo-button" onClick={() => store.undoNow()}>
            Undo
          </Act>
        </p>
        <button type="button" class="small to-end" id="end-button" hidden={!isAway} onClick={onEnd}>
          Jump to the latest
        </button>
      </div>
      <Problem id="storage-problem" text={storageProblem()} />
      <Problem id="problem" text={store.problem.value} />
      <label class="hidden" for="prompt">
        Message
      </label>
      <textarea
        id="prompt"
        ref={prompt}
        rows={2}
        placeholder={settings.isClassifier.value ? 'Text to classify' : 'Message'}
        aria-describedby="prompt-help"
        value={draft.value}
        onInput={(event) => store.type(event.currentTarget.value)}
        onKeyDown={(event) => {
          // While an input method composes a word, Enter picks from its list.
          if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          void send();
        }}
      />
      <div class="row end">
        <span class="help" id="prompt-help">
          <kbd>Enter</kbd> sends, <kbd>Shift</kbd> <kbd>Enter</kbd> adds a line, <kbd>Esc</kbd>{' '}
          stops
        </span>
        <ContextMeter />
        <Act onClick={() => picker.current!.click()}>Attach</Act>
        <input
          type="file"
          id="attached"
          ref={picker}
          multiple
          hidden
          aria-label="Text files to attach"
          onChange={({ currentTarget }) => {
            void store.attach([...(currentTarget.files ?? [])]);
            currentTarget.value = ''; // the same file can be chosen again
          }}
        />
        <button
          type="button"
          id="stop-button"
          ref={stop}
          hidden={!isBusy}
          onClick={() => store.runs.stop()}
        >
          Stop
        </button>
        <button type="submit" class="primary" id="send-button" hidden={isBusy} ref={submit}>
          Send
        </button>
      </div>
    </form>
  );
}

function ContextMeter() {
  const use = store.context.value;
  if (!use) return null;
  const text = `${count(use.tokens)} of ${counted(use.limit, 'token')}`;
  return (
    <span
      class={use.tokens >= use.limit ? 'help over' : 'help'}
      id="context"
      title="The context that this message fills"
    >
      <meter max={use.limit} value={use.tokens} high={0.8 * use.limit} aria-hidden="true" /> {text}
    </span>
  );
}

function storageProblem(): string {
  const error = store.current.problem.value;
  if (error === undefined) return '';
  const isFull = error instanceof DOMException && error.name === 'QuotaExceededError';
  const reason = isFull
    ? 'The room for chats in this browser is used up'
    : `This browser cannot save chats (${errorText(error)})`;
  return `${reason}. This chat is only in this tab: export it, or delete older ones.`;
}

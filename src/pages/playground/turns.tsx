// The chosen path of a chat: turns, each a prompt with its actions and the answers side by side.
import { useRef, useState } from 'preact/hooks';
import { useFocusBack } from '../components/focus.ts';
import { AnswerView } from './answer-view.tsx';
import { Act } from './button.tsx';
import { hasFailed, hasResults } from './chat.ts';
import type { Step, TurnNode } from './chat-tree.ts';
import { store } from './store.ts';
import { partsOf } from './templates.ts';
import { TextEditor } from './text-editor.tsx';

/** The conversation. */
export function Turns() {
  const { length } = store.path.value;
  return (
    <div
      id="turns"
      class={store.runs.isBusy.value ? 'turns running' : 'turns'}
      role="log"
      aria-live="off"
      aria-label="Conversation"
    >
      {store.path.value.map((step, i) => (
        // Another version of a turn takes its elements, and so keeps the focus on the arrow that was pressed.
        <TurnView key={i} step={step} number={i + 1} isLast={i === length - 1} />
      ))}
    </div>
  );
}

interface TurnProps {
  readonly step: Step;
  /** From 1. */
  readonly number: number;
  readonly isLast: boolean;
}

function TurnView({ step, number, isLast }: TurnProps) {
  const { turn, variants, branches } = step;
  const [edited, setEdited] = useState<string>();
  const isEdited = edited === turn.id;
  const editButton = useRef<HTMLButtonElement>(null);
  useFocusBack(editButton, isEdited);
  const isFailed = hasFailed(turn);
  return (
    <section class={isFailed ? 'turn stack failed' : 'turn stack'} aria-label={`Turn ${number}`}>
      <h2 class="hidden">Turn {number}</h2>
      <div class="said-row">
        {isEdited ? (
          <TextEditor
            label="Edit the prompt"
            action="Send"
            text={turn.prompt}
            onCancel={() => setEdited(undefined)}
            onDone={(text) => {
              setEdited(undefined);
              void store.send(text, turn);
            }}
          />
        ) : (
          <>
            {turn.prompt !== '' && <Said prompt={turn.prompt} />}
            <div class="row">
              <Switcher turn={turn} all={branches} what={`version of prompt ${number}`} />
              <div class="turn-actions">
                <Act
                  ref={editButton}
                  hidden={turn.prompt === ''}
                  onClick={() => setEdited(turn.id)}
                >
                  Edit
                </Act>
                <Act onClick={() => store.send(turn.prompt, turn)}>Retry</Act>
                <Act onClick={() => store.deleteTurn(turn)}>Delete</Act>
              </div>
            </div>
          </>
        )}
      </div>
      <div class="answers">
        {turn.answers.map((_, column) => (
          <AnswerView key={`${turn.id} ${column}`} turn={turn} column={column} isLast={isLast} />
        ))}
      </div>
      <Switcher turn={turn} all={variants} what={`answer to prompt ${number}`} />
      {isLast && turn.answers.some(({ calls }) => calls.length > 0) && !store.runs.isBusy.value && (
        <div class="row end">
          <span class="help">
            {hasResults(turn) ? '' : 'Give a result to each call, or send another message.'}
          </span>
          <button
            type="button"
            class="small primary"
            disabled={!hasResults(turn)}
            onClick={() => store.sendResults(turn)}
          >
            Continue with the results
          </button>
        </div>
      )}
      {isFailed && (
        <p class="help">This turn is not part of the chat: later prompts do not see it.</p>
      )}
    </section>
  );
}

/** A prompt, with its files closed. */
function Said({ prompt }: { readonly prompt: string }) {
  return (
    <div class="said">
      {partsOf(prompt).map(({ name, text }, i) =>
        name === undefined ? (
          text
        ) : (
          <details key={i}>
            <summary>{name}</summary>
            <pre>{text}</pre>
          </details>
        ),
      )}
    </div>
  );
}

interface SwitcherProps {
  readonly turn: TurnNode;
  readonly all: readonly TurnNode[];
  readonly what: string;
}

/** Says which of several turns this is, with arrows to the others. */
function Switcher({ turn, all, what }: SwitcherProps) {
  const index = all.indexOf(turn);
  // A disabled button would lose the focus.
  const arrow = (sign: string, label: string, to: TurnNode | undefined) => (
    <Act aria-label={label} aria-disabled={!to} onClick={() => to && store.choose(to)}>
      {sign}
    </Act>
  );
  if (all.length < 2) return null;
  return (
    <div class="row help switcher">
      {arrow('‹', `Previous ${what}`, all[index - 1])}
      <span>
        {index + 1} of {all.length}
      </span>
      {arrow('›', `Next ${what}`, all[index + 1])}
    </div>
  );
}

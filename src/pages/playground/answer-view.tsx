// One model's answer to one turn, as it grows, with its facts at the end.
import { useMemo, useRef, useState } from 'preact/hooks';
import { CopyButton } from '../components/copy-button.tsx';
import { useFocusFallback } from '../components/focus.ts';
import { onDemand } from '../components/on-demand.tsx';
import { Problem } from '../components/problem.tsx';
import { ShareRow } from '../components/share-row.tsx';
import { Act } from './button.tsx';
import { type Answer, hasContent, isUnfinished } from './chat.ts';
import type { TurnNode } from './chat-tree.ts';
import { jsonParts } from './json-parts.ts';
import { store } from './store.ts';
import { TextEditor } from './text-editor.tsx';
import { TokenView } from './token-view.tsx';

/** Loaded with the first answer, whose text is plain until then. */
const useMarkdown = onDemand(async () => (await import('./markdown.tsx')).Markdown);

interface AnswerProps {
  readonly turn: TurnNode;
  readonly column: number;
  /** Whether it is in the last turn. */
  readonly isLast: boolean;
}

/** An answer. */
export function AnswerView({ turn, column, isLast }: AnswerProps) {
  const answer = turn.answers[column]!;
  const { model, state, text, calls, classes, validity, facts } = answer;
  const [areTokensShown, showTokens] = useState(false);
  const [isEdited, setEdited] = useState(false);
  const article = useRef<HTMLElement>(null);
  useFocusFallback(article, article); // the button that stops this answer goes, while others are being written
  const isRunning = state === 'running';
  const isEmpty = state === 'done' && !hasContent(answer);
  const hasTokens = !isRunning && answer.logprobs.length > 0;
  const areTokens = areTokensShown && hasTokens;
  const act = (label: string, onClick: () => void, isPressed?: boolean) => (
    <Act aria-label={`${label}: ${model}`} aria-pressed={isPressed} onClick={onClick}>
      {label}
    </Act>
  );
  return (
    <article
      class={state === 'failed' ? 'answer stack failed' : 'answer stack'}
      ref={article}
      tabIndex={-1}
      aria-label={`Answer of ${model}`}
      aria-busy={isRunning || undefined}
    >
      <div class="answer-head label-row">
        <h3 title={model}>{model}</h3>
        <div class="row">
          {isRunning && act('Stop', () => store.runs.stop({ id: turn.id, column }))}
          {state === 'failed' && act('Retry', () => store.retryAnswer(turn, column))}
          {isLast &&
            isUnfinished(answer) &&
            act('Continue', () => store.continueAnswer(turn, column))}
          {!store.runs.isBusy.value && text !== '' && act('Change', () => setEdited(true))}
          {hasTokens && act('Tokens', () => showTokens(!areTokensShown), areTokensShown)}
          {!isRunning && text !== '' && <CopyButton read={() => text} what="the answer" />}
        </div>
      </div>
      <AnswerText
        answer={answer}
        isPlain={store.isPlain.value}
        isHidden={areTokens || isEdited || (text === '' && calls.length > 0)}
      />
      {isEdited && (
        <TextEditor
          label="Change the answer"
          action="Save"
          text={text}
          onCancel={() => {
            setEdited(false);
            store.askedPrompt.value++;
          }}
          onDone={(changed) => {
            setEdited(false);
            store.editAnswer(turn, column, changed);
          }}
        />
      )}
      {areTokens && <TokenView tokens={answer.logprobs} />}
      {calls.map((call, i) => (
        <figure key={i} class="code call">
          <figcaption>
            <span>
              Call of <code>{call.name}</code>
            </span>
          </figcaption>
          <pre>
            <Json text={call.arguments} />
          </pre>
          {!isRunning && (isLast || call.result !== undefined) && (
            <textarea
              rows={1}
              aria-label={`Result of ${call.name}`}
              placeholder="Result"
              value={call.result ?? ''}
              onInput={({ currentTarget: { value } }) =>
                store.giveResult({ id: turn.id, column }, i, value)
              }
            />
          )}
        </figure>
      ))}
      {classes.length > 0 && (
        <div class="alternatives">
          {classes.map(({ label, share }, i) => (
            <ShareRow key={label} name={label} share={share} isChosen={i === 0} />
          ))}
        </div>
      )}
      <p
        class={validity?.isValid === false ? 'help validity bad' : 'help validity'}
        hidden={!validity}
      >
        {validity?.text}
      </p>
      <Problem text={answer.problem} />
      <p class="help facts">{[...(isEmpty ? ['an empty answer'] : []), ...facts].join(' · ')}</p>
    </article>
  );
}

interface TextProps {
  readonly answer: Answer;
  readonly isPlain: boolean;
  readonly isHidden: boolean;
}

function AnswerText({ answer: { text, isJson }, isPlain, isHidden }: TextProps) {
  const Markdown = useMarkdown();
  const kind = isJson ? 'text plain json' : isPlain || !Markdown ? 'text plain' : 'text stack';
  const content = useMemo(() => {
    if (isJson && !isPlain) return <Json text={text} />;
    return isPlain || !Markdown ? text : <Markdown text={text} />;
  }, [text, isJson, isPlain, Markdown]);
  return (
    <div class={kind} hidden={isHidden}>
      {content}
    </div>
  );
}

/** JSON, indented and colored. A key that its object has already is marked. */
function Json({ text }: { readonly text: string }) {
  return jsonParts(text).map(({ kind, text: part, isDuplicate }, i) =>
    kind === 'mark' ? (
      part
    ) : (
      <span
        key={i}
        class={`hljs-${kind}${isDuplicate ? ' duplicate' : ''}`}
        title={isDuplicate ? 'The object has this key twice.' : undefined}
      >
        {part}
      </span>
    ),
  );
}

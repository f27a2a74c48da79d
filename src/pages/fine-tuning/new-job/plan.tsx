// A job's plan: figures, warnings and the first examples, or why there is none. Bad lines of a file are shown with a way out.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { FineTuningPlan } from '../../../contracts/management-api.ts';
import { useFocusFallback } from '../../components/focus.ts';
import { Pairs } from '../../components/pairs.tsx';
import { Problem } from '../../components/problem.tsx';
import { count, counted, durationRange, figure, percent, size } from '../../format.ts';
import { otherMethodFor, sharedFault } from './lines.ts';
import type { BadFile, PlannedView } from './planner.ts';
import type { StoreProps } from './store.ts';

/** A batch may have 256 examples. */
const MAX_EXAMPLES = 4;
/** A classifier may have 1,024 classes. */
const MAX_CLASSES = 20;

/** The plan, or what is shown instead. Takes the focus when one of its buttons disappears. */
export function Plan({ store }: StoreProps) {
  const area = useRef<HTMLDivElement>(null);
  useFocusFallback(area, area);
  const { value: view } = store.view;
  return (
    <div id="plan" ref={area} tabIndex={-1}>
      {view.kind === 'planned' && <Planned store={store} {...view} />}
      {view.kind === 'bad file' && <BadLines store={store} file={view.file} />}
      {view.kind === 'problem' && <Problem text={view.text} />}
      {view.kind === 'problem' && view.retry && <Offer text="Try again" act={view.retry} />}
      {(view.kind === 'empty' || view.kind === 'busy') && (
        <p class={`empty ${view.kind}`}>{view.text}</p>
      )}
    </div>
  );
}

function Offer({ text, act }: { readonly text: string; readonly act: () => void }) {
  return (
    <div class="row end">
      <button type="button" onClick={act}>
        {text}
      </button>
    </div>
  );
}

const SWITCHES = { supervised: 'supervised', dpo: 'preference', reinforcement: 'reinforcement' };

/** One message if all lines have the same fault, else each with its own. */
function BadLines({ store, file }: StoreProps & { readonly file: BadFile }) {
  const { rest, faults, lines, numbers, remaining, count: bad } = file;
  const shared = sharedFault(faults);
  const method = otherMethodFor(shared);
  const problem = shared ? `${count(bad)} lines have the same fault: ${shared}.` : rest;
  const skipped = numbers.length === 1 ? 'bad line' : `${count(numbers.length)} bad lines`;
  return (
    <>
      <Problem text={problem} />
      <ol id="bad-lines">
        {(shared ? lines.slice(0, 1) : lines).map(({ number, fault, text }) => (
          <li key={number}>
            <strong>Line {count(number)}</strong> {!shared && fault}
            {text && <Example name={`Line ${number}`}>{text}</Example>}
          </li>
        ))}
      </ol>
      <p class="help">Correct the file and choose it again.</p>
      {method ? (
        <Offer text={`Switch to ${SWITCHES[method]}`} act={() => store.change({ method })} />
      ) : (
        remaining !== '' && (
          <Offer text={`Skip the ${skipped} and continue`} act={() => store.skipLines(file)} />
        )
      )}
    </>
  );
}

interface ExampleProps {
  /** For screen readers. */
  readonly name: string;
  readonly children: ComponentChildren;
}

/** A text that scrolls, to its first marked part, and therefore takes the focus. */
export function Example({ name, children }: ExampleProps) {
  const area = useRef<HTMLPreElement>(null);
  useEffect(() => {
    const mark = area.current!.querySelector('mark');
    if (mark) area.current!.scrollTop = mark.offsetTop - area.current!.clientHeight / 2;
  }, []);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms
    <pre ref={area} class="example" tabIndex={0} role="group" aria-label={name}>
      {children}
    </pre>
  );
}

/** Whether the examples are prompts, of which the model learns nothing by themselves. */
function isRewarded({ hyperparameters }: FineTuningPlan): boolean {
  return hyperparameters.compute_multiplier !== undefined;
}

function Planned({ store, plan, classifier }: StoreProps & PlannedView) {
  const {
    warnings,
    labels,
    first_batch: examples,
    seconds_range: [from = 0, to = 0],
  } = plan;
  const time = durationRange(from, to);
  const prompts = isRewarded(plan);
  const heading = prompts ? 'The first prompts' : 'What the model learns from the first examples';
  return (
    <>
      <p class="lead">
        {counted(plan.examples, 'example')}, all lines valid.{' '}
        <strong>{time.charAt(0).toUpperCase() + time.slice(1)}</strong> and{' '}
        {size(plan.memory_bytes)} of memory.
      </p>
      <Pairs entries={toFigures(plan)} />
      {warnings.length > 0 && <h3>Before you start</h3>}
      {warnings.map(({ message }) => (
        <p key={message} class="warning">
          {message}
        </p>
      ))}
      {examples.length > 0 && <h3>{heading}</h3>}
      {examples.slice(0, MAX_EXAMPLES).map((example) => (
        <PlannedExample key={`${example.side} ${example.text}`} {...example} />
      ))}
      {examples.length > 0 && !prompts && (
        <p class="help">
          The model learns the <mark>marked</mark>{' '}
          {labels ? 'class of each text.' : 'tokens. The rest is context.'}
        </p>
      )}
      {classifier && (
        <>
          <p class="warning">
            There are only {classifier.classes.length} answers: {classifier.classes.join(', ')}. A
            classifier chooses one of them.
          </p>
          <Offer text="Train a classifier" act={() => store.trainClassifier(classifier)} />
        </>
      )}
    </>
  );
}

const METHODS: Readonly<Record<string, string>> = {
  qlora: 'QLoRA',
  lora: 'LoRA',
  full: 'Full fine-tuning',
};

function toFigures(plan: FineTuningPlan) {
  const { labels = [], trained_parameters: trained } = plan;
  const tokens = isRewarded(plan) ? 'in the prompts of an epoch' : 'per epoch';
  const learned = `, ${percent(1 - plan.masked_share)} of them trained on`;
  const more =
    labels.length > MAX_CLASSES ? `, and ${count(labels.length - MAX_CLASSES)} more` : '';
  const classes = `${count(labels.length)}: ${labels.slice(0, MAX_CLASSES).join(', ')}${more}`;
  const examples = (n: number) => (n > 0 ? counted(n, 'example') : undefined);
  return [
    ['Steps', `${count(plan.total_steps)}, ${count(plan.steps_per_epoch)} per epoch`],
    ['Tokens', `${count(plan.tokens)} ${tokens}${isRewarded(plan) || plan.labels ? '' : learned}`],
    ['Max length', counted(plan.max_length, 'token')],
    ['Classes', labels.length > 0 ? classes : undefined],
    ['Truncated', examples(plan.truncated)],
    ['Duplicates', examples(plan.duplicates)],
    ['Validation', examples(plan.validation_examples) ?? 'none'],
    ['Method', `${METHODS[plan.method] ?? plan.method}, ${count(trained)} trainable parameters`],
    ['Arithmetic', plan.compute],
    ['Learning rate', `${figure(plan.learning_rate)} at its peak`],
  ] as const;
}

const SIDES = { preferred: 'Preferred', non_preferred: 'Non-preferred' };

/** The learned parts are marked. */
function PlannedExample({ text, spans, label, side }: FineTuningPlan['first_batch'][number]) {
  return (
    <Example name={side ? SIDES[side] : 'An example'}>
      {side && <strong>{`${SIDES[side]}\n`}</strong>}
      {spans.map(({ start, end, is_learned: isLearned }) => {
        const part = text.slice(start, end);
        return isLearned ? <mark key={start}>{part}</mark> : part;
      })}
      {label !== undefined && [' → ', <mark key="label">{label}</mark>]}
    </Example>
  );
}

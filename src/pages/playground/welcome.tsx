// An empty chat: what the models are, and prompts to start with.
import { store } from './store.ts';

/** The classes that are named. */
const MAX_LABELS = 12;
/** The adapters that are described. */
const MAX_DESCRIBED = 3;
const GENERAL_EXAMPLES = [
  'What is the capital of France?',
  'Explain photosynthesis in two sentences.',
  'Write a Python function that reverses a string.',
];

/** The first screen of a chat. */
export function Welcome() {
  const { known, listed, isLoaded, models } = store.settings;
  const { id, labels, examples = [], description } = known.value;
  const others = listed.value.filter((one) => one.description && one.id !== id);
  const described = [...(description ? [{ id, description }] : []), ...others];
  const shown = examples.length > 0 || labels ? examples : GENERAL_EXAMPLES;
  return (
    <div class={isLoaded.value ? 'empty' : 'empty loading'} id="empty">
      <p class="lead intro">
        An adapter is a small file that teaches the model one task; it is applied to your request
        alone.
      </p>
      <ul class="described" id="described">
        {described.slice(0, MAX_DESCRIBED).map((one) => (
          <li key={one.id}>
            <strong>{one.id}</strong> {one.description}
          </li>
        ))}
      </ul>
      <p class="lead" id="lead">
        {labels ? classesText(id!, labels) : leadText(models.value)}
      </p>
      <div class="starters" id="examples">
        {id !== undefined &&
          shown.map((text) => (
            <button key={text} type="button" class="starter" onClick={() => store.send(text)}>
              {text}
            </button>
          ))}
      </div>
    </div>
  );
}

function leadText({ length }: readonly string[]): string {
  return length > 1
    ? 'Ask an adapter and its base the same question, and see what the adapter has learned.'
    : 'Ask something, or start with one of these.';
}

function classesText(name: string, labels: readonly string[]): string {
  const names = labels.slice(0, MAX_LABELS).join(', ');
  const more = labels.length > MAX_LABELS ? `, and ${labels.length - MAX_LABELS} more` : '';
  return `${name} sorts a text into a class${names && `: ${names}${more}`}.`;
}

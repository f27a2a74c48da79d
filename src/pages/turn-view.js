// A turn on the page: the prompt with what can be done to it, and the answers beside each other.
import { hasFailed } from './chat.js';
import { el, fill } from './dom.js';
import { Lane } from './lane.js';

/** @typedef {import('./chat.js').Turn} Turn */

/**
 * @typedef {object} TurnActions
 * @property {() => void} onRetry all answers anew
 * @property {(lane: Lane) => void} onRetryLane one answer anew
 * @property {(prompt: string) => void} onEdit the prompt is another one
 * @property {() => void} onDelete
 */

export class TurnView {
  #said = el('div', { className: 'said-row' });
  #note = el('p', { className: 'help note', hidden: true });
  #actions;

  /** @param {Turn} turn @param {TurnActions & { isPlain: boolean }} options */
  constructor(turn, { isPlain, ...actions }) {
    this.turn = turn;
    this.#actions = actions;
    this.lanes = turn.answers.map((answer) => {
      /** @type {Lane} */
      const lane = new Lane(answer, { isPlain, onRetry: () => actions.onRetryLane(lane) });
      return lane;
    });
    this.element = el(
      'section',
      { className: 'turn', 'aria-label': 'Turn' },
      this.#said,
      el('div', { className: 'answers' }, ...this.lanes.map(({ element }) => element)),
      this.#note,
    );
    this.#showPrompt();
    this.showOutcome();
  }

  /** Says so if nothing came of the turn. */
  showOutcome() {
    const isFailed = hasFailed(this.turn);
    this.element.classList.toggle('failed', isFailed);
    this.#note.hidden = !isFailed;
    fill(this.#note, 'This turn is not part of the chat: later prompts do not see it.');
  }

  #showPrompt() {
    const { onRetry, onDelete } = this.#actions;
    fill(
      this.#said,
      el('p', { className: 'said' }, this.turn.prompt),
      el(
        'div',
        { className: 'turn-actions' },
        button('Edit', () => this.#edit()),
        button('Retry', onRetry),
        button('Delete', onDelete),
      ),
    );
  }

  /** The prompt becomes a field. */
  #edit() {
    const field = el('textarea', {
      value: this.turn.prompt,
      rows: 2,
      'aria-label': 'Edit the prompt',
    });
    const cancel = () => {
      this.#showPrompt();
      this.#said.querySelector('button')?.focus();
    };
    const save = () => {
      const prompt = field.value.trim();
      if (prompt === '') cancel();
      else this.#actions.onEdit(prompt);
    };
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') cancel();
      else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) save();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    fill(
      this.#said,
      el(
        'div',
        { className: 'edit' },
        field,
        el(
          'div',
          { className: 'row end' },
          button('Cancel', cancel),
          el('button', { type: 'button', className: 'primary small', onclick: save }, 'Send'),
        ),
      ),
    );
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

/** @param {string} label @param {() => void} onclick */
function button(label, onclick) {
  return el('button', { type: 'button', className: 'quiet small', onclick }, label);
}

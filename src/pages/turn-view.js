// A turn on the page: the prompt with its actions, and the answers side by side.
import { AnswerView } from './answer-view.js';
import { hasFailed } from './chat.js';
import { el, fill } from './dom.js';

/** @typedef {import('./chat.js').Turn} Turn */

/**
 * @typedef {object} TurnActions
 * @property {() => void} onRetry generates all answers again
 * @property {(answer: AnswerView) => void} onRetryAnswer generates one answer again
 * @property {(prompt: string) => void} onEdit replaces the prompt
 * @property {() => void} onDelete
 */

/** A turn on the page. */
export class TurnView {
  #prompt = el('div.said-row');
  #note = el('p.help.note', { hidden: true });
  #actions;

  /** @param {Turn} turn @param {TurnActions & { isPlain: boolean }} options */
  constructor(turn, { isPlain, ...actions }) {
    this.turn = turn;
    this.#actions = actions;
    this.answers = turn.answers.map((answer) => {
      /** @type {AnswerView} */
      const view = new AnswerView(answer, { isPlain, onRetry: () => actions.onRetryAnswer(view) });
      return view;
    });
    this.element = el(
      'section.turn',
      { 'aria-label': 'Turn' },
      this.#prompt,
      el('div.answers', ...this.answers.map(({ element }) => element)),
      this.#note,
    );
    this.#showPrompt();
    this.showOutcome();
  }

  /** Marks the turn if no model answered it. */
  showOutcome() {
    const isFailed = hasFailed(this.turn);
    this.element.classList.toggle('failed', isFailed);
    this.#note.hidden = !isFailed;
    fill(this.#note, 'This turn is not part of the chat: later prompts do not see it.');
  }

  #showPrompt() {
    const { onRetry, onDelete } = this.#actions;
    fill(
      this.#prompt,
      el('p.said', this.turn.prompt),
      el(
        'div.turn-actions',
        button('Edit', () => this.#edit()),
        button('Retry', onRetry),
        button('Delete', onDelete),
      ),
    );
  }

  /** Turns the prompt into a text field. */
  #edit() {
    const field = el('textarea', {
      value: this.turn.prompt,
      rows: 2,
      'aria-label': 'Edit the prompt',
    });
    const cancel = () => {
      this.#showPrompt();
      this.#prompt.querySelector('button')?.focus();
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
      this.#prompt,
      el(
        'div.edit',
        field,
        el(
          'div.row.end',
          button('Cancel', cancel),
          el('button.primary.small', { onclick: save }, 'Send'),
        ),
      ),
    );
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

/** @param {string} label @param {() => void} onclick */
function button(label, onclick) {
  return el('button.quiet.small', { onclick }, label);
}

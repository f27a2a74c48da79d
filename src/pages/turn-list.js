// The turns on the page, each a prompt with its actions and the answers side by side: adds and removes them, brings removed ones
// back, and scrolls with the newest answer while the user is at the end of the page. Sends nothing itself.
import { AnswerView } from './answer-view.js';
import { hasContent, hasFailed } from './chat.js';
import { byId, el, fill, setText } from './dom.js';

/** @typedef {import('./chat.js').Turn} Turn */

/** The user is at the end if the distance is less than this, about a line of text. */
const NEAR_PX = 32;

/**
 * @typedef {object} TurnListOptions
 * @property {() => boolean} isPlain whether new answers are shown as plain text
 * @property {(prompt: string, index: number) => void} onSend sends a prompt as the turn with this index
 * @property {(view: TurnView, answers: readonly AnswerView[]) => void} onRun generates these answers again
 * @property {() => void} onChange after turns were added or removed
 * @property {() => void} onRemove after the user has removed turns or restored them
 */

/** The conversation. */
export class TurnList {
  /** @type {TurnView[]} */
  #views = [];
  #log = byId('turns');
  #options;
  #scrollToEnd;
  /** Restores the turns that were removed last. */
  #undo = () => {};
  #isRunning = false;

  /** @param {TurnListOptions} options */
  constructor(options) {
    this.#options = options;
    this.#scrollToEnd = followEnd(byId('talk'), byId('end-button'));
    byId('undo-button').addEventListener('click', () => this.#undo());
  }

  get turns() {
    return this.#views.map(({ turn }) => turn);
  }

  get count() {
    return this.#views.length;
  }

  /** Turns cannot be removed or restored while answers are generated. */
  get isRunning() {
    return this.#isRunning;
  }

  set isRunning(isOn) {
    this.#isRunning = isOn;
    this.#log.classList.toggle('running', isOn);
  }

  /** Every answer on the page. */
  get answers() {
    return this.#views.flatMap(({ answers }) => answers);
  }

  /** The turns before this one. @param {TurnView} view */
  before(view) {
    return this.turns.slice(0, this.#views.indexOf(view));
  }

  /**
   * Puts a turn at an index. Removes the turn there, the turns after it, and the failed ones before it. Answers can be restored.
   * @param {Turn} turn
   * @param {number} index
   */
  put(turn, index) {
    if (index < this.count - 1) this.#offerUndo('Later turns removed.');
    else if (this.turns[index]?.answers.some(hasContent)) this.#offerUndo('Answer replaced.');
    else this.#hideUndo();
    const before = this.turns.slice(0, index).filter((one) => !hasFailed(one));
    this.show([...before, turn]);
    this.#scrollToEnd();
    return /** @type {TurnView} */ (this.#views.at(-1));
  }

  /** Removes all turns, and offers to restore them. @param {string} text says why */
  clear(text) {
    this.#offerUndo(text);
    this.show([]);
  }

  /** Shows exactly these turns. Those that are on the page already keep their elements. @param {readonly Turn[]} turns */
  show(turns) {
    const viewByTurn = new Map(this.#views.map((view) => [view.turn, view]));
    this.#views = turns.map((turn) => viewByTurn.get(turn) ?? this.#createView(turn));
    for (const view of viewByTurn.values()) if (!this.#views.includes(view)) view.element.remove();
    for (const { element } of this.#views) if (!element.isConnected) this.#log.append(element);
    for (const [i, view] of this.#views.entries()) view.setNumber(i + 1);
    this.#options.onChange();
  }

  /** @param {Turn} turn */
  #createView(turn) {
    const { onSend, onRun, onRemove, isPlain } = this.#options;
    const view = new TurnView(turn, {
      isPlain: isPlain(),
      onRetry: () => onSend(turn.prompt, this.#views.indexOf(view)),
      onEdit: (text) => onSend(text, this.#views.indexOf(view)),
      onRetryAnswer: (answer) => {
        if (this.#isRunning) return;
        if (hasContent(answer.answer)) this.#offerUndo('Answer replaced.');
        onRun(view, [answer]);
      },
      onDelete: () => {
        if (this.#isRunning) return;
        this.#offerUndo('Turn removed.');
        this.show(this.turns.filter((one) => one !== turn));
        onRemove();
      },
    });
    return view;
  }

  /** @param {string} text says what was removed */
  #offerUndo(text) {
    const removedFrom = structuredClone(this.turns); // a retry changes them
    this.#undo = () => {
      if (this.#isRunning) return;
      this.#hideUndo();
      fill(this.#log); // the order may differ
      this.#views = [];
      this.show(removedFrom);
      this.#scrollToEnd();
      this.#options.onRemove();
    };
    setText(byId('undo-text'), text);
    byId('undo').hidden = false;
  }

  #hideUndo() {
    byId('undo').hidden = true;
  }
}

/**
 * Keeps the end of a growing element in view while the user is there. Scrolls only as far as that needs.
 * @param {HTMLElement} area
 * @param {HTMLElement} button scrolls to the end; shown while the user is elsewhere
 * @returns {() => void} scrolls to the end and follows it from there
 */
function followEnd(area, button) {
  let isFollowing = true;
  let lastY = scrollY;
  const distanceToEnd = () => area.getBoundingClientRect().bottom - innerHeight;
  const showButton = () => {
    button.hidden = isFollowing || distanceToEnd() < NEAR_PX;
  };
  const scrollToEnd = () => {
    isFollowing = true;
    scrollBy({ top: Math.max(0, distanceToEnd()), behavior: 'instant' });
    showButton();
  };
  addEventListener(
    'scroll',
    () => {
      const isUp = scrollY < lastY;
      const distance = distanceToEnd();
      lastY = scrollY;
      // Scrolling up means reading, however near the end is.
      if (distance <= 1) isFollowing = true;
      else if (isUp) isFollowing = false;
      else if (distance < NEAR_PX) isFollowing = true;
      showButton();
    },
    { passive: true },
  );
  new ResizeObserver(() => {
    if (isFollowing) scrollToEnd();
    else showButton();
  }).observe(area);
  button.addEventListener('click', scrollToEnd);
  return scrollToEnd;
}

/**
 * @typedef {object} TurnActions
 * @property {() => void} onRetry generates all answers again
 * @property {(answer: AnswerView) => void} onRetryAnswer generates one answer again
 * @property {(prompt: string) => void} onEdit replaces the prompt
 * @property {() => void} onDelete
 */

/** A turn on the page. */
export class TurnView {
  #heading = el('h2.hidden');
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
      this.#heading,
      this.#prompt,
      el('div.answers', ...this.answers.map(({ element }) => element)),
      this.#note,
    );
    this.#showPrompt();
    this.showOutcome();
  }

  /** @param {number} number its place in the conversation, from 1 */
  setNumber(number) {
    setText(this.#heading, `Turn ${number}`);
    this.element.setAttribute('aria-label', `Turn ${number}`);
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

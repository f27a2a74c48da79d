// The chosen path of a chat on the page: turns, each a prompt with its actions and the answers side by side. Scrolls with the
// newest answer while the user is at the end of the page. Changes no chat and sends nothing itself.
import { AnswerView } from './answer-view.js';
import { hasFailed } from './chat.js';
import { byId, el, fill, setText } from './dom.js';

/** @typedef {import('./chat-tree.js').TurnNode} TurnNode */
/** @typedef {import('./chat-tree.js').Step} Step */

/** The user is at the end if the distance is less than this, about a line of text. */
const NEAR_PX = 32;

/**
 * Called when the user acts on a turn, unless answers are being generated.
 * @typedef {object} TurnActions
 * @property {(turn: TurnNode, prompt: string) => void} onSend sends an edited prompt, or the same one again
 * @property {(turn: TurnNode, column: number) => void} onRetryAnswer generates one answer again
 * @property {(turn: TurnNode) => void} onDelete
 * @property {(turn: TurnNode) => void} onChoose shows this turn instead of the one in its place
 */

/** The conversation. */
export class TurnList {
  /** @type {TurnView[]} */
  #views = [];
  #log = byId('turns');
  #options;
  #isRunning = false;

  /** @param {TurnActions & { isPlain: () => boolean }} options isPlain: whether new answers are shown as plain text */
  constructor(options) {
    this.#options = options;
    this.scrollToEnd = followEnd(byId('talk'), byId('end-button'), () => this.count > 0);
  }

  get count() {
    return this.#views.length;
  }

  /** While answers are generated, the turns' actions are hidden. */
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

  /** Returns the view of a turn that is shown. @param {string} id */
  view(id) {
    return /** @type {TurnView} */ (this.#views.find(({ turn }) => turn.id === id));
  }

  /** Shows exactly these turns. Those that are on the page already keep their elements. @param {readonly Step[]} path */
  show(path) {
    const viewByTurn = new Map(this.#views.map((view) => [view.turn, view]));
    this.#views = path.map(({ turn }) => viewByTurn.get(turn) ?? this.#createView(turn));
    const elements = this.#views.map(({ element }) => element);
    const focused = document.activeElement?.closest('.switcher') && document.activeElement;
    const wanted = new Set(/** @type {Element[]} */ (elements));
    for (const one of [...this.#log.children]) if (!wanted.has(one)) one.remove();
    for (const [i, one] of elements.entries()) {
      if (this.#log.children[i] !== one) this.#log.insertBefore(one, this.#log.children[i] ?? null);
    }
    for (const [i, step] of path.entries()) this.#views[i]?.showPlace(i + 1, step);
    if (focused) byLabel(this.#log, focused.ariaLabel ?? '')?.focus();
  }

  /** @param {TurnNode} turn */
  #createView(turn) {
    const { isPlain, ...actions } = this.#options;
    /** @type {TurnActions} */
    const idle = {
      onSend: (...args) => this.#isRunning || actions.onSend(...args),
      onRetryAnswer: (...args) => this.#isRunning || actions.onRetryAnswer(...args),
      onDelete: (...args) => this.#isRunning || actions.onDelete(...args),
      onChoose: (...args) => this.#isRunning || actions.onChoose(...args),
    };
    return new TurnView(turn, { isPlain: isPlain(), ...idle });
  }
}

/** @param {HTMLElement} area @param {string} label @returns {HTMLElement | undefined} */
function byLabel(area, label) {
  return [...area.querySelectorAll('button')].find(({ ariaLabel }) => ariaLabel === label);
}

/**
 * Keeps the end of a growing element in view while the user is there. Scrolls only as far as that needs.
 * @param {HTMLElement} area
 * @param {HTMLElement} button scrolls to the end; shown while the user is elsewhere
 * @param {() => boolean} isGrowing an empty chat stays at its top, however small the window is
 * @returns {() => void} scrolls to the end and follows it from there
 */
function followEnd(area, button, isGrowing) {
  let isFollowing = true;
  let lastY = scrollY;
  const distanceToEnd = () => area.getBoundingClientRect().bottom - innerHeight;
  const showButton = () => {
    button.hidden = isFollowing || !isGrowing() || distanceToEnd() < NEAR_PX;
  };
  const scrollToEnd = () => {
    isFollowing = true;
    if (!isGrowing()) return;
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
  button.addEventListener('click', () => {
    area.focus({ preventScroll: true }); // the button is hidden now
    scrollToEnd();
  });
  return scrollToEnd;
}

/** A turn on the page. */
export class TurnView {
  #heading = el('h2.hidden');
  #prompt = el('div.said-row');
  #branches = el('div.switcher');
  #variants = el('div.switcher');
  #note = el('p.help.note', { hidden: true });
  #actions;

  /** @param {TurnNode} turn @param {TurnActions & { isPlain: boolean }} options */
  constructor(turn, { isPlain, ...actions }) {
    this.turn = turn;
    this.#actions = actions;
    this.answers = turn.answers.map(
      (answer, i) =>
        new AnswerView(answer, { isPlain, onRetry: () => actions.onRetryAnswer(turn, i) }),
    );
    this.element = el(
      'section.turn',
      this.#heading,
      this.#prompt,
      el('div.answers', ...this.answers.map(({ element }) => element)),
      this.#variants,
      this.#note,
    );
    this.#showPrompt();
    this.showOutcome();
  }

  /** Shows the turn's number and its arrows. @param {number} number from 1 @param {Step} step */
  showPlace(number, { variants, branches }) {
    setText(this.#heading, `Turn ${number}`);
    this.element.setAttribute('aria-label', `Turn ${number}`);
    this.#showSwitcher(this.#branches, branches, `version of prompt ${number}`);
    this.#showSwitcher(this.#variants, variants, `answer to prompt ${number}`);
  }

  /**
   * Shows which of several turns this is, with arrows to the others.
   * @param {HTMLElement} area hidden if there is only this one
   * @param {readonly TurnNode[]} turns
   * @param {string} what
   */
  #showSwitcher(area, turns, what) {
    const index = turns.indexOf(this.turn);
    area.hidden = turns.length < 2;
    /** @param {string} sign @param {string} label @param {TurnNode | undefined} turn */
    const arrow = (sign, label, turn) =>
      el(
        'button.quiet.small',
        {
          'aria-label': `${label} ${what}`,
          'aria-disabled': String(!turn), // a disabled button would lose the focus
          onclick: () => turn && this.#actions.onChoose(turn),
        },
        sign,
      );
    fill(
      area,
      arrow('‹', 'Previous', turns[index - 1]),
      el('span', `${index + 1} of ${turns.length}`),
      arrow('›', 'Next', turns[index + 1]),
    );
  }

  /** Marks the turn if no model answered it. */
  showOutcome() {
    const isFailed = hasFailed(this.turn);
    this.element.classList.toggle('failed', isFailed);
    this.#note.hidden = !isFailed;
    fill(this.#note, 'This turn is not part of the chat: later prompts do not see it.');
  }

  #showPrompt() {
    const { onSend, onDelete } = this.#actions;
    fill(
      this.#prompt,
      el('p.said', this.turn.prompt),
      el(
        'div.said-below',
        this.#branches,
        el(
          'div.turn-actions',
          button('Edit', () => this.#edit()),
          button('Retry', () => onSend(this.turn, this.turn.prompt)),
          button('Delete', () => onDelete(this.turn)),
        ),
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
      else this.#actions.onSend(this.turn, prompt);
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

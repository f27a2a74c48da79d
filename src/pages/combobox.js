// A text field with a list below it (ARIA's combobox): pick one by mouse, finger or keyboard, or type a name that no
// list has. Knows no models.
import { el, fill } from './dom.js';

/** More are found by typing: nobody reads a longer list. */
const MAX_SHOWN = 50;

/**
 * @typedef {object} Item
 * @property {string} value
 * @property {string} [note]
 */

export class Combobox {
  /** @type {readonly Item[]} */
  #items = [];
  /** @type {readonly Item[]} */
  #shown = [];
  #active = -1;
  #input;
  #list;
  #onChange;

  /** @param {{ id: string, label: string, help?: string, onChange: (value: string) => void }} options */
  constructor({ id, label, help, onChange }) {
    this.#onChange = onChange;
    this.#list = el('ul', { id: `${id}-list`, role: 'listbox', 'aria-label': label, hidden: true });
    this.#input = el('input', {
      id,
      type: 'text',
      role: 'combobox',
      autocomplete: 'off',
      spellcheck: false,
      autocapitalize: 'none',
      'aria-autocomplete': 'list',
      'aria-expanded': 'false',
      'aria-controls': `${id}-list`,
      'aria-describedby': help && `${id}-help`,
      onclick: () => this.#open(''),
      oninput: () => this.#open(this.#input.value),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event),
      onblur: () => this.#close(),
      onchange: () => this.#onChange(this.value),
    });
    /** What a page shows: label, field, list. */
    this.parts = [
      el('label', { htmlFor: id }, label),
      el('div', { className: 'combo' }, this.#input, this.#list),
      help ? el('p', { className: 'help', id: `${id}-help` }, help) : null,
    ];
    // Before the field would lose the focus and close the list.
    this.#list.addEventListener('pointerdown', (event) => event.preventDefault());
  }

  get value() {
    return this.#input.value.trim();
  }

  /** Not told to `onChange`. */
  set value(text) {
    this.#input.value = text;
  }

  /** @param {readonly Item[]} items */
  setItems(items) {
    this.#items = items;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const isOpen = !this.#list.hidden;
    const { key } = event;
    if (key === 'ArrowDown' || key === 'ArrowUp') {
      if (!isOpen) this.#open('');
      else this.#activate(this.#active + (key === 'ArrowDown' ? 1 : -1));
    } else if (key === 'Enter' && isOpen && this.#active >= 0) this.#pick(this.#active);
    else if (key === 'Escape' && isOpen) this.#close();
    else if (key === 'Enter') return this.#close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {string} text that items contain */
  #open(text) {
    const wanted = text.trim().toLowerCase();
    const found = this.#items.filter(({ value }) => value.toLowerCase().includes(wanted));
    this.#shown = found.slice(0, MAX_SHOWN);
    const more = found.length - this.#shown.length;
    fill(
      this.#list,
      ...this.#shown.map(({ value, note }, i) =>
        el(
          'li',
          { id: `${this.#list.id}-${i}`, role: 'option', onclick: () => this.#pick(i) },
          el('span', {}, value),
          note ? el('small', {}, note) : null,
        ),
      ),
      more > 0 &&
        el('li', { className: 'help', role: 'presentation' }, `${more} more: type to find them`),
    );
    this.#list.hidden = this.#shown.length === 0;
    this.#input.setAttribute('aria-expanded', String(!this.#list.hidden));
    this.#activate(
      this.#shown.findIndex(({ value }) => value === this.value),
      'start',
    );
  }

  /** @param {number} index @param {'start'} [isStart] nothing may be active */
  #activate(index, isStart) {
    const { length } = this.#shown;
    this.#active = isStart ? index : (index + length) % length;
    for (const [i, option] of [...this.#list.querySelectorAll('[role=option]')].entries()) {
      option.setAttribute('aria-selected', String(i === this.#active));
      if (i !== this.#active) continue;
      option.scrollIntoView({ block: 'nearest' });
      this.#input.setAttribute('aria-activedescendant', option.id);
    }
    if (this.#active < 0) this.#input.removeAttribute('aria-activedescendant');
  }

  /** @param {number} index */
  #pick(index) {
    this.value = /** @type {Item} */ (this.#shown[index]).value;
    this.#close();
    this.#onChange(this.value);
  }

  #close() {
    this.#list.hidden = true;
    this.#input.setAttribute('aria-expanded', 'false');
    this.#input.removeAttribute('aria-activedescendant');
  }
}

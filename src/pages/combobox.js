// A text field with a list of suggestions (ARIA's combobox). Values that are not in the list can be typed.
import { el, fill } from './dom.js';

/** Longer lists are narrowed by typing. */
const MAX_SHOWN = 50;

/**
 * @typedef {object} Item
 * @property {string} value
 * @property {string} [note]
 */

/** A labeled text field with suggestions. */
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
    /** The elements: label, field with its list, help. */
    this.parts = [
      el('label', { htmlFor: id }, label),
      el('div.combo', this.#input, this.#list),
      help ? el('p.help', { id: `${id}-help` }, help) : null,
    ];
    // A click would take the focus from the field, which would close the list first.
    this.#list.addEventListener('pointerdown', (event) => event.preventDefault());
  }

  get value() {
    return this.#input.value.trim();
  }

  /** Does not call `onChange`. */
  set value(text) {
    this.#input.value = text;
  }

  /** Sets the suggestions. @param {readonly Item[]} items */
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

  /** Opens the list with the items that contain a text. @param {string} text */
  #open(text) {
    const query = text.trim().toLowerCase();
    const matches = this.#items.filter(({ value }) => value.toLowerCase().includes(query));
    this.#shown = matches.slice(0, MAX_SHOWN);
    const more = matches.length - this.#shown.length;
    fill(
      this.#list,
      ...this.#shown.map(({ value, note }, i) =>
        el(
          'li',
          { id: `${this.#list.id}-${i}`, role: 'option', onclick: () => this.#pick(i) },
          el('span', value),
          note ? el('small', note) : null,
        ),
      ),
      more > 0 && el('li.help', { role: 'presentation' }, `${more} more. Type to narrow the list.`),
    );
    this.#list.hidden = this.#shown.length === 0;
    this.#input.setAttribute('aria-expanded', String(!this.#list.hidden));
    this.#activate(
      this.#shown.findIndex(({ value }) => value === this.value),
      'start',
    );
  }

  /** @param {number} index @param {'start'} [isStart] keeps -1, which is no item */
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

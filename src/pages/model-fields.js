// The playground's model fields: one for each column, up to four.
import { Combobox } from './combobox.js';
import { byId, el, fill } from './dom.js';

/** More answers do not fit side by side, and each one occupies a slot of the server. */
const MAX_COLUMNS = 4;

/** @typedef {import('./combobox.js').Item} Item */

/** The fields that name the models of the chat. */
export class ModelFields {
  /** @type {Combobox[]} */
  #fields = [];
  /** @type {readonly Item[]} */
  #items = [];
  #onChange;
  #add;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    this.#add = byId('add-model', HTMLButtonElement);
    this.#add.addEventListener('click', () => {
      this.#show([...this.#values(), '']);
      this.#input(this.#fields.length - 1).focus();
    });
    this.#show(['']);
  }

  /** The chosen models, at least one; empty fields are skipped. @returns {string[]} */
  get models() {
    const [first = '', ...rest] = this.#values();
    return [first || 'base', ...rest.filter(Boolean)];
  }

  /** Does not call `onChange`. @param {readonly string[]} names */
  set models(names) {
    this.#show(names.length === 0 ? [''] : names.slice(0, MAX_COLUMNS));
  }

  /** Sets the suggestions of all fields. @param {readonly Item[]} items */
  setItems(items) {
    this.#items = items;
    for (const field of this.#fields) field.setItems(items);
  }

  #values() {
    return this.#fields.map(({ value }) => value);
  }

  /** @param {readonly string[]} names one for each field */
  #show(names) {
    this.#fields = names.map((name, i) => {
      const id = ['model', 'beside'][i] ?? `beside-${i}`;
      const label = i === 0 ? 'Model' : i === 1 ? 'Compare with' : `Compare with (${i})`;
      const field = new Combobox({ id, label, onChange: this.#onChange });
      field.setItems(this.#items);
      field.value = name;
      return field;
    });
    fill(byId('models'), ...this.#fields.map((field, i) => this.#toElement(field, i)));
    this.#add.hidden = names.length >= MAX_COLUMNS;
  }

  /** @param {Combobox} field @param {number} index */
  #toElement({ parts }, index) {
    const [label, combo] = parts;
    const remove =
      index > 0 &&
      el(
        'button.quiet.small',
        {
          'aria-label': `Remove model ${index + 1}`,
          onclick: () => this.#remove(index),
        },
        'Remove',
      );
    return el('div.field', el('div.label-row', label, remove), combo);
  }

  /** @param {number} index */
  #remove(index) {
    this.#show(this.#values().filter((_, i) => i !== index));
    this.#input(index - 1).focus();
    this.#onChange();
  }

  /** @param {number} index */
  #input(index) {
    const inputs = byId('models').querySelectorAll('input');
    return /** @type {HTMLInputElement} */ (inputs[index]);
  }
}

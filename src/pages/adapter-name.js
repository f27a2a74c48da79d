// The name that an adapter gets from what its owner types, shown while it is typed. The server decides
// (src/jobs/names.ts); a test compares the two.
import { byId, say } from './dom.js';

const MAX_TYPED = 64;
const MAX_NAME = 63;
const RESERVED = new Set(['base', 'default', 'ft']);

/**
 * @param {string} typed
 * @returns {string | undefined} undefined if no name can be made of it
 */
export function adapterName(typed) {
  const name = typed
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9_]+/, '')
    .slice(0, MAX_NAME);
  const length = [...typed].length;
  const isRefused = length > MAX_TYPED || /[/\\:\p{C}]/u.test(typed) || typed.includes('..');
  if (isRefused || name === '' || name === '__proto__' || name.includes('..')) return undefined;
  return RESERVED.has(name) ? undefined : name;
}

/** The field of that name, with a line below it that says what becomes of what is in it. */
export class NameField {
  #input;
  #onChange;

  /** @param {HTMLInputElement} input described by the element `${its id}-help` @param {() => void} onChange */
  constructor(input, onChange) {
    this.#input = input;
    this.#onChange = onChange;
    input.addEventListener('input', () => this.#changed());
    this.#show();
  }

  /** As typed; empty: the job's id is the name. */
  get value() {
    return this.#input.value.trim();
  }

  set value(text) {
    this.#input.value = text;
    this.#changed();
  }

  get isValid() {
    return this.value === '' || adapterName(this.value) !== undefined;
  }

  #changed() {
    this.#show();
    this.#onChange();
  }

  #show() {
    say(byId(`${this.#input.id}-help`), helpFor(this.value));
    if (this.isValid) this.#input.removeAttribute('aria-invalid');
    else this.#input.setAttribute('aria-invalid', 'true');
  }
}

/** @param {string} typed */
function helpFor(typed) {
  if (typed === '') return 'If empty, the job’s id is the name';
  const name = adapterName(typed);
  if (name === undefined)
    return 'Use letters and digits, without / \\ : and two dots. base, default and ft are reserved.';
  return name === typed ? 'The model name will be this' : `The adapter will be called ${name}`;
}

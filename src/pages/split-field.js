// A slider for the share of the training file that a job holds out for validation. It is there while no validation file is chosen.
import { byId, el, fill, setText } from './dom.js';

const MAX_PERCENT = 50;

/** The field. */
export class SplitField {
  #box = byId('split-field');
  #input;
  #output = el('output', { htmlFor: 'split' });

  /** @param {() => void} onChange called when the user has let go of the slider */
  constructor(onChange) {
    this.#input = el('input', {
      id: 'split',
      type: 'range',
      min: 0,
      max: MAX_PERCENT,
      value: 0,
      oninput: () => this.#show(),
      onchange: onChange,
    });
    const label = el('label', { htmlFor: 'split' }, 'Held out for validation: ', this.#output);
    fill(this.#box, label, this.#input);
    this.#show();
  }

  /** In percent of the training file. */
  get percent() {
    return this.#input.valueAsNumber;
  }

  set percent(percent) {
    this.#input.valueAsNumber = percent;
    this.#show();
  }

  /** @param {boolean} isHidden */
  set isHidden(isHidden) {
    this.#box.hidden = isHidden;
  }

  #show() {
    setText(this.#output, this.percent === 0 ? 'nothing' : `${this.percent}% of the file`);
  }
}

// A place for one file: dropped, or chosen by mouse or keyboard. Knows nothing of what the file is for.
import { el, fill } from './dom.js';
import { size } from './format.js';

/**
 * @param {HTMLElement} place
 * @param {{ id: string, label: string, help: string, onFile: (file: File | undefined) => void }} options onFile:
 *   undefined where it was taken out again
 */
export function createDropZone(place, { id, label, help, onFile }) {
  const name = el('span', { className: 'help', id: `${id}-help` }, help);
  const input = el('input', {
    id,
    type: 'file',
    accept: '.jsonl,.json,application/jsonl',
    className: 'hidden',
    'aria-describedby': `${id}-help`,
    onchange: () => choose(input.files?.[0]),
  });
  const remove = el(
    'button',
    { type: 'button', className: 'quiet small', hidden: true, onclick: () => choose(undefined) },
    'Take it out',
  );

  /** @param {File | undefined} file */
  function choose(file) {
    if (!file) {
      const hadFocus = document.activeElement === remove;
      input.value = '';
      if (hadFocus) input.focus();
    }
    fill(name, file ? `${file.name}, ${size(file.size)}` : help);
    remove.hidden = file === undefined;
    place.classList.toggle('full', file !== undefined);
    onFile(file);
  }

  fill(place, input, el('label', { htmlFor: id }, el('strong', {}, label), name), remove);
  place.addEventListener('dragover', (event) => {
    event.preventDefault();
    place.classList.add('over');
  });
  place.addEventListener('dragleave', () => place.classList.remove('over'));
  place.addEventListener('drop', (event) => {
    event.preventDefault();
    place.classList.remove('over');
    const file = event.dataTransfer?.files[0];
    if (file) choose(file);
  });
}

// A place for one file: dropped, or chosen by mouse or keyboard. Knows nothing of what the file is for.
import { el, fill } from './dom.js';

/**
 * @param {HTMLElement} place
 * @param {{ id: string, label: string, help: string, onFile: (file: File | undefined) => void }} options onFile:
 *   undefined if the reader takes the file out again
 * @returns {{ show: (text: string | undefined) => void }} show: what is said of the file in it; undefined: it is empty
 */
export function createDropZone(place, { id, label, help, onFile }) {
  const name = el('span', { className: 'help', id: `${id}-help` }, help);
  const input = el('input', {
    id,
    type: 'file',
    accept: '.jsonl,.json,application/jsonl',
    className: 'hidden',
    'aria-describedby': `${id}-help`,
    onchange: () => {
      const file = input.files?.[0];
      input.value = ''; // choosing the same file again, once it is corrected, is a change, too
      if (file) onFile(file);
    },
  });
  const remove = el(
    'button',
    {
      type: 'button',
      className: 'quiet small',
      hidden: true,
      'aria-label': `Remove: ${label}`,
      onclick: () => {
        input.focus();
        onFile(undefined);
      },
    },
    'Remove',
  );
  fill(place, input, el('label', { htmlFor: id }, el('strong', {}, label), name), remove);
  ignoreStrayDrops();
  place.addEventListener('dragover', (event) => {
    event.preventDefault();
    event.stopPropagation();
    place.classList.add('over');
  });
  place.addEventListener('dragleave', () => place.classList.remove('over'));
  place.addEventListener('drop', (event) => {
    event.preventDefault();
    place.classList.remove('over');
    const file = event.dataTransfer?.files[0];
    if (file) onFile(file);
  });
  return {
    show(text) {
      fill(name, text ?? help);
      remove.hidden = text === undefined;
      place.classList.toggle('full', text !== undefined);
    },
  };
}

let isIgnoring = false;

/** A file dropped beside the zone does nothing. Browsers would open it in the page's place. */
function ignoreStrayDrops() {
  if (isIgnoring) return;
  isIgnoring = true;
  addEventListener('dragover', (event) => {
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = 'none';
  });
  addEventListener('drop', (event) => event.preventDefault());
}

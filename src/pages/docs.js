// The API docs: the operations of the server's OpenAPI document by group, with a search field. The fragment opens an operation.
import { errorText, requestJson } from './api.js';
import { createOperation } from './api-operation.js';
import { byId, el, fill, setText, showLoaded } from './dom.js';

/** @typedef {import('./api-operation.js').Operation} Operation */

/**
 * The parts of an OpenAPI document that this page shows.
 * @typedef {object} ApiDocument
 * @property {{ description: string }} info
 * @property {readonly { name: string, description: string }[]} tags
 * @property {Readonly<Record<string, Readonly<Record<string, Operation>>>>} paths
 * @property {{ schemas: import('./api-schema.js').Schemas }} components
 */

const search = byId('search', HTMLInputElement);
search.addEventListener('input', narrow);
addEventListener('hashchange', openTarget);

try {
  show(await requestJson('openapi.json'));
} catch (error) {
  setText(byId('api-help'), errorText(error));
}
showLoaded();

/** @param {ApiDocument} document */
function show({ info, tags, paths, components }) {
  setText(byId('api-help'), info.description);
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const groups = tags.map(({ name, description }) =>
    el(
      'section',
      { 'aria-label': name },
      el('h2', name),
      el('p.help.group-help', description),
      ...operations
        .filter(({ operation }) => operation.tags.includes(name))
        .map((one) => createOperation(one, components.schemas)),
    ),
  );
  fill(byId('api'), ...groups);
  narrow();
  openTarget();
}

/** Hides the operations that lack a searched word, and groups without any. */
function narrow() {
  const words = search.value.toLowerCase().split(/\s+/);
  for (const group of byId('api').children) {
    const operations = [...group.querySelectorAll('details.operation')];
    for (const operation of operations) {
      const text = operation.querySelector('summary')?.textContent?.toLowerCase() ?? '';
      operation.toggleAttribute('hidden', !words.every((word) => text.includes(word)));
    }
    group.toggleAttribute(
      'hidden',
      operations.every((operation) => operation.hasAttribute('hidden')),
    );
  }
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (!(target instanceof HTMLDetailsElement)) return;
  target.open = true;
  target.scrollIntoView();
}

// The playground: a conversation with one model, or with two side by side, each answering its own words.
import { errorText, requestJson } from './api.js';
import { createCodeDialog } from './code-dialog.js';
import { Combobox } from './combobox.js';
import { byId, el, fill } from './dom.js';
import { apiKey } from './key.js';
import { Lane } from './lane.js';
import { readParameters, showParameters } from './parameters.js';

/** @typedef {import('./lane.js').Message} Message */
/** @typedef {{ said: string, lanes: Lane[] }} Turn */

const prompt = byId('prompt', HTMLTextAreaElement);
const system = byId('system', HTMLTextAreaElement);
const log = byId('turns');
const sendButton = byId('send-button', HTMLButtonElement);
const stopButton = byId('stop-button', HTMLButtonElement);
const clearButton = byId('clear-button', HTMLButtonElement);

/** @type {Turn[]} */
let turns = [];
/** @type {AbortController | undefined} */
let running;

const model = new Combobox({ id: 'model', label: 'Model', onChange: keepInAddress });
const beside = new Combobox({
  id: 'beside',
  label: 'Beside it',
  help: 'Empty: one answer only',
  onChange: keepInAddress,
});
fill(byId('model-field'), ...model.parts);
fill(byId('beside-field'), ...beside.parts);
showParameters();
// Beside the conversation there is room for it; above it, it would be in the way.
byId('settings', HTMLDetailsElement).open = matchMedia('(min-width: 60rem)').matches;
listen();
await chooseModels();

function listen() {
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    void send();
  });
  byId('settings-form').addEventListener('submit', (event) => event.preventDefault());
  prompt.addEventListener('keydown', (event) => {
    // While a word is composed (isComposing), Enter belongs to the keyboard's own list.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void send();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') running?.abort();
  });
  stopButton.addEventListener('click', () => running?.abort());
  clearButton.addEventListener('click', clear);
  byId('code-button').addEventListener('click', createCodeDialog(readSnippet));
}

/** The address names models, so that a choice can be linked to; else an adapter and its base. */
async function chooseModels() {
  const asked = new URLSearchParams(location.search);
  model.value = asked.get('model') ?? '';
  beside.value = asked.get('beside') ?? '';
  try {
    /** @type {import('../openai.ts').ModelList} */
    const { data } = await requestJson('v1/models');
    const items = data.map(({ id, parent, owned_by: owner }) => ({
      value: id,
      note: parent === undefined ? 'base' : owner,
    }));
    model.setItems(items);
    beside.setItems(items);
    const base = data.find(({ parent }) => parent === undefined)?.id ?? 'base';
    const adapter = data.find(({ parent }) => parent !== undefined)?.id;
    if (model.value === '') {
      model.value = adapter ?? base;
      beside.value = adapter === undefined ? '' : base;
    }
    showChosen();
  } catch (error) {
    fill(byId('empty'), el('span', { className: 'problem', role: 'alert' }, errorText(error)));
  }
}

function keepInAddress() {
  showChosen();
  const query = new URLSearchParams({ model: model.value });
  if (beside.value !== '') query.set('beside', beside.value);
  history.replaceState(null, '', `?${query}`);
}

/** For when the settings are closed. */
function showChosen() {
  fill(byId('chosen'), beside.value === '' ? model.value : `${model.value} beside ${beside.value}`);
}

async function send() {
  const said = prompt.value.trim();
  if (said === '' || running) return;
  const names = [model.value || 'base', ...(beside.value === '' ? [] : [beside.value])];
  const lanes = names.map((name) => new Lane(name));
  const bodies = lanes.map((_, i) => toBody(i, said, turns));
  const turn = { said, lanes };
  turns.push(turn);
  prompt.value = '';
  byId('empty').hidden = true;
  const element = toElement(turn);
  log.append(element);
  element.scrollIntoView({ block: 'start', behavior: reducedMotion() ? 'auto' : 'smooth' });
  running = new AbortController();
  showRunning(true);
  const { signal } = running;
  await Promise.all(lanes.map((lane, i) => lane.run(bodies[i] ?? {}, signal)));
  running = undefined;
  showRunning(false);
  // Read out when it is whole: piece by piece nobody could listen to it.
  fill(byId('spoken'), lanes.map((lane) => `${lane.model}: ${lane.text}`).join('\n'));
}

function reducedMotion() {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}

/** @param {boolean} isRunning */
function showRunning(isRunning) {
  const hadFocus = document.activeElement === stopButton;
  sendButton.hidden = isRunning;
  stopButton.hidden = !isRunning;
  clearButton.disabled = isRunning;
  if (hadFocus) prompt.focus();
}

function clear() {
  turns = [];
  fill(log);
  clearButton.disabled = true;
  byId('empty').hidden = false;
  prompt.focus();
}

/**
 * A request of the lane of this number: it sees its own answers only, or the first's where it is new.
 * @param {number} index
 * @param {string} said
 * @param {readonly Turn[]} before
 */
function toBody(index, said, before) {
  /** @type {Message[]} */
  const messages = system.value.trim() === '' ? [] : [{ role: 'system', content: system.value }];
  for (const { said: earlier, lanes } of before) {
    const content = (lanes[index] ?? lanes[0])?.text ?? '';
    messages.push({ role: 'user', content: earlier }, { role: 'assistant', content });
  }
  messages.push({ role: 'user', content: said });
  return { messages, ...readParameters() };
}

/** @param {Turn} turn */
function toElement({ said, lanes }) {
  return el(
    'section',
    { className: 'turn' },
    el('p', { className: 'said' }, said),
    el('div', { className: 'answers' }, ...lanes.map((lane) => lane.element)),
  );
}

function readSnippet() {
  const typed = prompt.value.trim();
  const last = typed === '' ? turns.at(-1)?.said : typed;
  const before = typed === '' ? turns.slice(0, -1) : turns;
  const body = { model: model.value, ...toBody(0, last ?? 'Hello!', before) };
  const url = new URL('v1', document.baseURI).href;
  return { url, hasKeys: apiKey() !== undefined, body };
}

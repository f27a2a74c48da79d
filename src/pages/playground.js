// The playground: a chat with one model or with up to four side by side, each of which sees its own answers.
import { errorText, requestJson } from './api.js';
import {
  hasFailed,
  isUsable,
  loadChat,
  newAnswer,
  saveChat,
  toExport,
  toMessages,
} from './chat.js';
import { copyText } from './clipboard.js';
import { createCodeDialog } from './code-dialog.js';
import { byId, el, fill, say } from './dom.js';
import { examplesFor, hasExamples } from './examples.js';
import { followEnd } from './follow.js';
import { apiKey } from './key.js';
import { parseAddress, toAddress } from './link.js';
import { ModelFields } from './model-fields.js';
import {
  PARAMETER_NAMES,
  readParameters,
  showDefaults,
  showParameters,
  typedParameters,
  writeParameters,
} from './parameters.js';
import { TurnView } from './turn-view.js';

/** @typedef {import('./chat.js').Turn} Turn */

const prompt = byId('prompt', HTMLTextAreaElement);
const system = byId('system', HTMLTextAreaElement);
const plain = byId('plain', HTMLInputElement);
const log = byId('turns');

/** @type {TurnView[]} */
let views = [];
/** The turns that answers are coming for. */
let isRunning = false;
/** The reader signed out: nothing is kept any more. */
let isSignedOut = false;
/** Whether models are chosen: by the reader, a link, the chat that was kept, or from the list. */
let isChosen = false;
/** The models are on their way. */
let loading = Promise.resolve();
/** Brings back what the reader last removed. */
let undo = () => {};

const fields = new ModelFields(() => {
  isChosen = true;
  onSettings();
});
showParameters(onSettings);
// Beside the chat there is room for the settings; above it they would be in the way.
byId('settings', HTMLDetailsElement).open = matchMedia('(min-width: 60rem)').matches;
const toEnd = followEnd(log, byId('end-button'));
listen();
isChosen = restore();
if (!byId('account-dialog', HTMLDialogElement).open) prompt.focus();
loading = loadModels();
await loading;

function listen() {
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    void send(prompt.value.trim());
  });
  byId('settings-form').addEventListener('submit', (event) => event.preventDefault());
  prompt.addEventListener('keydown', (event) => {
    // While a word is composed (isComposing), Enter belongs to the keyboard's own list.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void send(prompt.value.trim());
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') stop();
  });
  plain.addEventListener('change', () => {
    for (const { lanes } of views) for (const lane of lanes) lane.setPlain(plain.checked);
  });
  byId('stop-button').addEventListener('click', stop);
  byId('clear-button').addEventListener('click', () => {
    offerUndo('Chat cleared.');
    showTurns([]);
    prompt.focus();
  });
  byId('undo-button').addEventListener('click', () => undo());
  byId('export-button').addEventListener('click', download);
  byId('link-button').addEventListener('click', () => void copyLink());
  byId('code-button').addEventListener('click', createCodeDialog(readSnippet));
  addEventListener('pagehide', save);
  addEventListener('signout', () => {
    isSignedOut = true;
  });
  addEventListener('signin', () => {
    loading = loadModels();
  });
}

/**
 * Takes up what the address says and what this tab kept. A link to other models begins a chat of its own.
 * @returns {boolean} whether models are chosen
 */
function restore() {
  const kept = loadChat();
  const isLink = location.search !== '' || location.hash.includes('=');
  const address = isLink ? location.search + location.hash : (kept?.link ?? '');
  const { models, parameters, ...asked } = parseAddress(address, PARAMETER_NAMES);
  fields.models = models;
  system.value = asked.system;
  writeParameters(parameters);
  prompt.value = asked.prompt || (kept?.draft ?? '');
  const turns = kept?.turns.filter((turn) => !hasFailed(turn)) ?? [];
  showTurns(turns);
  const before = parseAddress(kept?.link ?? '', PARAMETER_NAMES).models;
  if (isLink && turns.length > 0 && models.join() !== before.join()) {
    offerUndo('This link begins a new chat.');
    showTurns([]);
  }
  return models.length > 0;
}

/** Fills the lists. If nothing is chosen yet, chooses an adapter and, beside it, its base. */
async function loadModels() {
  try {
    /** @type {import('../contracts/openai.ts').ModelList} */
    const { data } = await requestJson('v1/models');
    fields.setItems(
      data.map(({ id, parent, owned_by: owner }) => ({
        value: id,
        note: parent === undefined ? 'base' : owner,
      })),
    );
    if (!isChosen) {
      const base = data.find(({ parent }) => parent === undefined)?.id ?? 'base';
      const adapters = data.filter(({ parent }) => parent !== undefined).map(({ id }) => id);
      const adapter = adapters.find(hasExamples) ?? adapters[0];
      fields.models = adapter === undefined ? [base] : [adapter, base];
    }
    isChosen = true;
    byId('problem').hidden = true;
    onSettings();
  } catch (error) {
    byId('problem').hidden = false;
    say(byId('problem'), errorText(error));
  }
}

function onSettings() {
  const { models } = fields;
  history.replaceState(null, '', address(''));
  say(byId('chosen'), models.join(', '));
  const buttons = examplesFor(models).map((text) =>
    el('button', { type: 'button', className: 'example', onclick: () => void send(text) }, text),
  );
  fill(byId('examples'), ...buttons);
  say(
    byId('lead'),
    models.length > 1
      ? 'Ask an adapter and its base the same question, and see what the adapter has learned.'
      : 'Ask something, or begin with one of these.',
  );
  void showDefaults(/** @type {string} */ (models[0]));
}

/** @param {string} withPrompt */
function address(withPrompt) {
  const { models } = fields;
  return toAddress({
    models,
    system: system.value,
    prompt: withPrompt,
    parameters: typedParameters(),
  });
}

function turns() {
  return views.map(({ turn }) => turn);
}

/**
 * Sends a prompt as the turn of this number; turns from there on are removed, and failed ones before it.
 * @param {string} text
 * @param {number} [at]
 */
async function send(text, at = views.length) {
  if (text === '' || isRunning) return;
  if (!isChosen) {
    showRunning(true); // to the models that are about to be known
    await loading;
    showRunning(false);
  }
  if (at < views.length - 1) offerUndo('Later turns removed.');
  else hideUndo();
  if (prompt.value.trim() === text) prompt.value = '';
  const before = turns()
    .slice(0, at)
    .filter((turn) => !hasFailed(turn));
  showTurns([...before, { prompt: text, answers: fields.models.map(newAnswer) }]);
  const view = /** @type {TurnView} */ (views.at(-1));
  toEnd();
  await run(view, view.lanes);
}

/** @param {TurnView} view @param {readonly import('./lane.js').Lane[]} lanes of it */
async function run(view, lanes) {
  const before = turns().slice(0, views.indexOf(view));
  const { prompt: text, answers } = view.turn;
  const bodies = lanes.map(({ answer }) =>
    toBody(before, { lane: answers.indexOf(answer), model: answer.model, prompt: text }),
  );
  showRunning(true);
  await Promise.all(lanes.map((lane, i) => lane.run(bodies[i] ?? {})));
  showRunning(false);
  view.showOutcome();
  if (hasFailed(view.turn) && prompt.value === '') prompt.value = text;
  save();
  // Read out when it is whole: piece by piece nobody could listen to it.
  const spoken = lanes.map(({ answer }) => `${answer.model}: ${answer.text || answer.problem}`);
  fill(byId('spoken'), spoken.join('\n'));
}

function stop() {
  for (const { lanes } of views) for (const lane of lanes) lane.stop();
}

/** @param {boolean} isOn */
function showRunning(isOn) {
  isRunning = isOn;
  log.classList.toggle('running', isOn);
  byId('send-button').hidden = isOn;
  byId('stop-button').hidden = !isOn;
  showChatButtons();
  // A phone would show its keyboard over the answer.
  if (isOn || matchMedia('(hover: none)').matches) return;
  const { activeElement } = document;
  const isElsewhere = activeElement?.closest('#settings, header, dialog, .edit');
  if (!isElsewhere) prompt.focus({ preventScroll: true });
}

function showChatButtons() {
  const isOff = isRunning || views.length === 0;
  byId('clear-button', HTMLButtonElement).disabled = isOff;
  byId('export-button', HTMLButtonElement).disabled = isOff;
}

/** @param {readonly Turn[]} shown */
function showTurns(shown) {
  const known = new Map(views.map((view) => [view.turn, view]));
  views = shown.map((turn) => known.get(turn) ?? createView(turn));
  for (const view of known.values()) if (!views.includes(view)) view.element.remove();
  for (const { element } of views) if (!element.isConnected) log.append(element);
  byId('empty').hidden = views.length > 0;
  showChatButtons();
  save();
}

/** @param {Turn} turn */
function createView(turn) {
  const at = () => views.indexOf(view);
  const view = new TurnView(turn, {
    isPlain: plain.checked,
    onRetry: () => void send(turn.prompt, at()),
    onEdit: (text) => void send(text, at()),
    onRetryLane: (lane) => void (isRunning || run(view, [lane])),
    onDelete() {
      if (isRunning) return;
      offerUndo('Turn removed.');
      showTurns(turns().filter((one) => one !== turn));
      prompt.focus();
    },
  });
  return view;
}

/** @param {string} text what happened */
function offerUndo(text) {
  const before = turns();
  undo = () => {
    if (isRunning) return;
    hideUndo();
    fill(log); // the order may be another one
    views = [];
    showTurns(before);
    toEnd();
    prompt.focus();
  };
  say(byId('undo-text'), text);
  byId('undo').hidden = false;
}

function hideUndo() {
  byId('undo').hidden = true;
}

function save() {
  if (!isSignedOut) saveChat({ link: address(''), draft: prompt.value, turns: turns() });
}

/**
 * @param {readonly Turn[]} before
 * @param {{ lane: number, model: string, prompt: string }} request
 */
function toBody(before, request) {
  const messages = toMessages(before, { ...request, system: system.value });
  return { messages, ...readParameters() };
}

function download() {
  const settings = { system: system.value, parameters: readParameters() };
  const blob = new Blob([toExport(turns(), settings)], { type: 'application/json' });
  const link = el('a', { href: URL.createObjectURL(blob), download: 'lorikeet-chat.json' });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function copyLink() {
  const button = byId('link-button');
  const typed = prompt.value.trim() || (turns().at(-1)?.prompt ?? '');
  const isCopied = await copyText(new URL(address(typed), location.href).href);
  say(button, isCopied ? 'Link copied' : 'Not copied');
  setTimeout(() => say(button, 'Copy link'), 2_000);
}

function readSnippet() {
  const typed = prompt.value.trim();
  const usable = turns().filter(({ answers }) => answers.some(isUsable));
  const last = typed === '' ? usable.pop()?.prompt : typed;
  const model = /** @type {string} */ (fields.models[0]);
  const request = { lane: 0, model, prompt: last ?? 'Hello!' };
  const url = new URL('v1', document.baseURI).href;
  return { url, hasKeys: apiKey() !== undefined, body: { model, ...toBody(usable, request) } };
}

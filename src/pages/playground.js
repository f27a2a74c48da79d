// The playground: a chat with one model, or with up to four side by side, each of which sees its own answers.
import { errorText, readModel, requestJson } from './api.js';
import {
  examplesFor,
  hasExamples,
  hasFailed,
  isUsable,
  loadChat,
  newAnswer,
  parseAddress,
  saveChat,
  toAddress,
  toExport,
  toMessages,
} from './chat.js';
import { createCodeDialog } from './code-dialog.js';
import { byId, el, fill, setText, showLoaded, showProblemIn } from './dom.js';
import { apiKey } from './key.js';
import { ModelFields } from './model-fields.js';
import {
  createParameterFields,
  PARAMETER_NAMES,
  readParameters,
  showDefaults,
  typedParameters,
  writeParameters,
} from './parameters.js';
import { showRefusals, structureFault } from './structured-fields.js';
import { TurnList } from './turn-list.js';
import { copyAndReport, saveBlob } from './widgets.js';

const prompt = byId('prompt', HTMLTextAreaElement);
const system = byId('system', HTMLTextAreaElement);
const plain = byId('plain', HTMLInputElement);
/** The classes that are named above an empty chat. */
const MAX_LABELS = 12;

/** After signing out nothing is stored. */
let isSignedOut = false;
/** Whether the models are known: from the user, a link, the stored chat or the list. */
let areModelsChosen = false;
/** Resolves when the list of models is loaded. */
let loading = Promise.resolve();
/** The last requested model, and whether it is a classifier. Responses for other models are ignored. */
let firstModel = { name: '', isClassifier: false };

const fields = new ModelFields(() => {
  areModelsChosen = true;
  onSettings();
});
createParameterFields(onSettings);
// Wide windows have room for the settings next to the chat; on narrow ones they would push it down.
byId('settings', HTMLDetailsElement).open = matchMedia('(min-width: 60rem)').matches;
const list = new TurnList({
  isPlain: () => plain.checked,
  onSend: (text, index) => void send(text, index),
  onRun: (view, answers) => void run(view, answers),
  onChange() {
    byId('empty').hidden = list.count > 0;
    showChatButtons();
    save();
  },
  onRemove: () => prompt.focus(),
});
listen();
areModelsChosen = restore();
if (areModelsChosen) showLoaded('settings');
showLoaded();
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
    // While an input method composes a word, Enter picks from its list.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void send(prompt.value.trim());
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') stop();
  });
  plain.addEventListener('change', () => {
    for (const answer of list.answers) answer.setPlain(plain.checked);
  });
  byId('stop-button').addEventListener('click', stop);
  byId('clear-button').addEventListener('click', () => {
    list.clear('Chat cleared.');
    prompt.focus();
  });
  byId('export-button').addEventListener('click', () => {
    const settings = { system: system.value, parameters: readParameters() };
    const json = toExport(list.turns, settings);
    saveBlob(new Blob([json], { type: 'application/json' }), 'lorikeet-chat.json');
  });
  byId('link-button').addEventListener('click', () => {
    const text = prompt.value.trim() || (list.turns.at(-1)?.prompt ?? '');
    const url = new URL(addressWith(text), location.href).href;
    const labels = { label: 'Copy link', success: 'Link copied' };
    void copyAndReport(byId('link-button'), url, labels);
  });
  byId('code-button').addEventListener('click', createCodeDialog(readSnippet));
  addEventListener('pagehide', save);
  addEventListener('signout', () => {
    isSignedOut = true;
  });
  addEventListener('hashchange', () => {
    if (!location.hash.includes('=')) return; // the link to the content
    applyLink(parseAddress(location.search + location.hash, PARAMETER_NAMES));
    onSettings();
  });
  addEventListener('signin', () => {
    loading = loadModels();
  });
}

/**
 * Restores the settings from the address and the chat from this tab. A link to other models starts a new chat.
 * @returns {boolean} whether models are chosen
 */
function restore() {
  const chat = loadChat();
  const isLink = location.search !== '' || location.hash.includes('=');
  const address = isLink ? location.search + location.hash : (chat?.link ?? '');
  const link = parseAddress(address, PARAMETER_NAMES);
  applyLink(link);
  if (link.prompt === '') prompt.value = chat?.draft ?? '';
  const turns = chat?.turns.filter((turn) => !hasFailed(turn)) ?? [];
  list.show(turns);
  const before = parseAddress(chat?.link ?? '', PARAMETER_NAMES).models;
  if (isLink && turns.length > 0 && link.models.join() !== before.join()) {
    list.clear('This link starts a new chat.');
  }
  return link.models.length > 0;
}

/** Fills the fields; without a prompt, a typed message stays. @param {import('./chat.js').Link} link */
function applyLink({ models, system: systemPrompt, parameters, prompt: text }) {
  fields.models = models;
  system.value = systemPrompt;
  writeParameters(parameters);
  if (text !== '') prompt.value = text;
}

/** Loads the list of models. If none is chosen, chooses an adapter and, next to it, its base. */
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
    if (!areModelsChosen) {
      const base = data.find(({ parent }) => parent === undefined)?.id ?? 'base';
      const adapters = data.filter(({ parent }) => parent !== undefined).map(({ id }) => id);
      const adapter = adapters.find(hasExamples) ?? adapters[0];
      fields.models = adapter === undefined ? [base] : [adapter, base];
    }
    areModelsChosen = true;
    showProblemIn(byId('problem'), '');
    onSettings();
  } catch (error) {
    showProblemIn(byId('problem'), errorText(error));
  }
  for (const id of ['settings', 'empty']) showLoaded(id);
}

function onSettings() {
  const { models } = fields;
  history.replaceState(null, '', addressWith(''));
  setText(byId('chosen'), models.join(', '));
  showExamples(examplesFor(models));
  setText(
    byId('lead'),
    models.length > 1
      ? 'Ask an adapter and its base the same question, and see what the adapter has learned.'
      : 'Ask something, or start with one of these.',
  );
  void showModel(/** @type {string} */ (models[0]));
}

/** @param {readonly string[]} texts */
function showExamples(texts) {
  const buttons = texts.map((text) =>
    el('button.example', { onclick: () => void send(text) }, text),
  );
  fill(byId('examples'), ...buttons);
}

/** Shows the defaults of the first model, or its classes if it is a classifier. @param {string} name */
async function showModel(name) {
  firstModel = { name, isClassifier: false };
  const model = await readModel(name);
  if (firstModel.name !== name) return;
  const { labels, examples = [], description } = model;
  firstModel.isClassifier = labels !== undefined;
  showDefaults(model);
  if (examples.length > 0) showExamples(examples);
  if (description) setText(byId('lead'), description);
  prompt.placeholder = labels ? 'Text to classify' : 'Message';
  if (!labels) return;
  const names = labels.slice(0, MAX_LABELS).join(', ');
  const more = labels.length > MAX_LABELS ? `, and ${labels.length - MAX_LABELS} more` : '';
  setText(byId('lead'), `${name} sorts a text into a class${names && `: ${names}${more}`}.`);
  showExamples(examples);
}

/** The address of the current settings with this prompt. @param {string} text */
function addressWith(text) {
  return toAddress({
    models: fields.models,
    system: system.value,
    prompt: text,
    parameters: typedParameters(),
  });
}

/**
 * Sends a prompt as the turn with this index.
 * @param {string} text
 * @param {number} [index]
 */
async function send(text, index = list.count) {
  if (text === '' || list.isRunning) return;
  const fault = structureFault();
  showProblemIn(byId('problem'), fault ?? '');
  if (fault !== undefined) return;
  if (!areModelsChosen) {
    showRunning(true);
    await loading;
    showRunning(false);
  }
  if (prompt.value.trim() === text) prompt.value = '';
  const view = list.put({ prompt: text, answers: fields.models.map(newAnswer) }, index);
  await run(view, view.answers);
}

/**
 * Generates answers of a turn.
 * @param {import('./turn-list.js').TurnView} view
 * @param {readonly import('./answer-view.js').AnswerView[]} answers
 */
async function run(view, answers) {
  const before = list.before(view);
  const { prompt: text, answers: columns } = view.turn;
  const bodies = answers.map(({ answer }) =>
    toBody(before, { column: columns.indexOf(answer), model: answer.model, prompt: text }),
  );
  showRunning(true);
  await Promise.all(answers.map((answer, i) => answer.run(bodies[i] ?? { messages: [] })));
  showRunning(false);
  view.showOutcome();
  showRefusals(answers.map(({ answer }) => answer));
  if (hasFailed(view.turn) && prompt.value === '') prompt.value = text;
  save();
  // Screen readers get whole answers; single tokens would interrupt each other.
  const spoken = answers.map(({ answer }) => `${answer.model}: ${spokenOf(answer)}`);
  fill(byId('spoken'), spoken.join('\n'));
}

/** The words of a screen reader for an ended answer. @param {import('./chat.js').Answer} answer */
function spokenOf({ text, calls, validity, problem }) {
  const called = calls.map((call) => `calls ${call.name} with ${call.arguments}`);
  return [text, ...called, validity?.text, problem].filter(Boolean).join(', ');
}

function stop() {
  for (const answer of list.answers) answer.stop();
}

/** @param {boolean} isOn */
function showRunning(isOn) {
  list.isRunning = isOn;
  byId('send-button').hidden = isOn;
  byId('stop-button').hidden = !isOn;
  showChatButtons();
  // On a phone the focus would open the keyboard over the answer.
  if (isOn || matchMedia('(hover: none)').matches) return;
  const { activeElement } = document;
  const isElsewhere = activeElement?.closest('#settings, header, dialog, .edit');
  if (!isElsewhere) prompt.focus({ preventScroll: true });
}

function showChatButtons() {
  for (const id of ['clear-button', 'export-button']) {
    byId(id, HTMLButtonElement).disabled = list.isRunning || list.count === 0;
  }
}

function save() {
  if (!isSignedOut) saveChat({ link: addressWith(''), draft: prompt.value, turns: list.turns });
}

/**
 * The body of a chat request, without the model.
 * @param {readonly import('./chat.js').Turn[]} before
 * @param {{ column: number, model: string, prompt: string }} request
 */
function toBody(before, request) {
  const messages = toMessages(before, { ...request, system: system.value });
  return { messages, ...readParameters() };
}

function readSnippet() {
  const draft = prompt.value.trim();
  const usable = list.turns.filter(({ answers }) => answers.some(isUsable));
  const last = draft === '' ? usable.pop()?.prompt : draft;
  const model = /** @type {string} */ (fields.models[0]);
  const request = { column: 0, model, prompt: last ?? 'Hello!' };
  const url = new URL('v1', document.baseURI).href;
  const body = firstModel.isClassifier ? { input: request.prompt } : toBody(usable, request);
  return { url, hasKeys: apiKey() !== undefined, body: { model, ...body } };
}

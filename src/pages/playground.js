// The playground: a chat with one model, or with up to four side by side, each of which sees its own answers.
import { currentUser, identified } from './account.js';
import { errorText } from './api.js';
import { hasContent, hasFailed, isUsable, newAnswer, parseAddress } from './chat.js';
import { ChatList, saveChats } from './chat-list.js';
import { ChatSettings } from './chat-settings.js';
import { ChatStore } from './chat-store.js';
import { addTurn, chooseTurn, createChat, createId, joinTurns, removeTurn } from './chat-tree.js';
import { createCodeDialog } from './code-dialog.js';
import { CurrentChat } from './current-chat.js';
import { byId, fill, showLoaded, showProblemIn } from './dom.js';
import { apiKey } from './key.js';
import { showRefusals, structureFault } from './structured-fields.js';
import { TurnList } from './turn-list.js';
import { hideUndo, offerUndo } from './undo.js';
import { confirmAction, copyAndReport } from './widgets.js';

/** @typedef {import('./chat-tree.js').TurnNode} TurnNode */

const prompt = byId('prompt', HTMLTextAreaElement);
const plain = byId('plain', HTMLInputElement);
/** How often a growing answer is saved. */
const SAVE_MS = 500;

/** The question before a chat is closed that could not be saved. */
const LOSS = {
  title: 'Discard this chat?',
  text: 'It could not be saved. Export it first to keep a copy.',
  action: 'Discard',
};

/** The tenant whose chats are open. @type {string | undefined} */
let storeTenant;
/** Resolves when the list of models is loaded. */
let loading = Promise.resolve();
/** Resolves when no answer is being generated. */
let running = Promise.resolve();

const settings = new ChatSettings((text) => void send(text));
// Wide windows have room for the settings next to the chat; on narrow ones they would push it down.
for (const id of ['chats', 'settings']) {
  byId(id, HTMLDetailsElement).open = matchMedia('(min-width: 60rem)').matches;
}
const current = new CurrentChat({
  read: () => ({ draft: prompt.value, settings: settings.addressWith('') }),
  onSaved: (error) => {
    showStorageProblem(error);
    void chats.refresh();
  },
  onTurns: showPath,
  onRemoved: leaveRemoved,
});
const chats = new ChatList(current, openChat);
const list = new TurnList({
  isPlain: () => plain.checked,
  onSend: (turn, text) => void send(text, turn),
  onRetryAnswer: (turn, column) => void retryAnswer(turn, column),
  onDelete: deleteTurn,
  onChoose: ({ id }) => changeChat(chooseTurn(current.chat, id)),
});
listen();
showLoaded();
if (!byId('account-dialog', HTMLDialogElement).open) prompt.focus({ preventScroll: true });
loading = settings.load(openStore());
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
  byId('new-button').addEventListener('click', async () => {
    await openChat(createChat());
    prompt.focus();
  });
  byId('export-button').addEventListener('click', () => saveChats([current.chat]));
  byId('link-button').addEventListener('click', () => {
    const text = prompt.value.trim() || (current.path.at(-1)?.turn.prompt ?? '');
    const url = new URL(settings.addressWith(text), location.href).href;
    const labels = { label: 'Copy link', success: 'Link copied' };
    void copyAndReport(byId('link-button'), url, labels);
  });
  byId('code-button').addEventListener('click', createCodeDialog(readSnippet));
  prompt.addEventListener('input', () => current.touch());
  addEventListener('pagehide', () => current.keep());
  addEventListener('visibilitychange', () => void current.flush());
  addEventListener('beforeunload', (event) => {
    if (current.isUnsaved && !byId('storage-problem').hidden) event.preventDefault();
  });
  addEventListener('signout', (event) => {
    /** @type {CustomEvent<Promise<void>[]>} */ (event).detail.push(current.close());
  });
  addEventListener('signin', () => {
    loading = settings.load(openStore());
  });
}

/**
 * Opens the storage of the user's chats, and shows the chat that this tab showed before, unless a link names other models.
 * Without storage the page works, and says that the chat will not last.
 */
async function openStore() {
  await identified;
  const tenant = currentUser()?.id;
  if (tenant === undefined || tenant === storeTenant) return;
  storeTenant = tenant;
  try {
    const store = await ChatStore.open(tenant);
    const id = CurrentChat.lastId;
    const last = id === undefined || list.count > 0 ? undefined : await store.load(id);
    if (last && fitsAddress(last)) {
      await current.open(last);
      if (!settings.isLink) settings.apply(last.settings);
      prompt.value ||= last.draft; // the user may have typed already
      showPath();
    }
    current.attach(store);
    chats.attach(store);
  } catch (error) {
    showStorageProblem(error);
  }
}

/** Whether the address names no models, or those of this chat. @param {import('./chat-tree.js').Chat} chat */
function fitsAddress(chat) {
  const models = (/** @type {string} */ address) => parseAddress(address, []).models.join();
  return !settings.isLink || models(location.search) === models(chat.settings);
}

/** Shows another chat instead of the current one, whose answers stop. @param {import('./chat-tree.js').Chat} chat */
async function openChat(chat) {
  stop();
  await running;
  await current.flush();
  if (current.isUnsaved && !(await confirmAction(LOSS))) return;
  await current.open(chat);
  settings.apply(chat.settings);
  prompt.value = chat.draft;
  showPath();
  list.scrollToEnd();
  await chats.refresh();
}

/**
 * Sends a prompt as the next turn, or as another version of a turn.
 * @param {string} text
 * @param {TurnNode} [before] the turn whose prompt is edited or sent again
 */
async function send(text, before) {
  if (text === '' || list.isRunning) return;
  const fault = structureFault();
  showProblemIn(byId('problem'), fault ?? '');
  if (fault !== undefined) return;
  if (!settings.areModelsChosen) {
    showRunning(true);
    await loading;
    showRunning(false);
  }
  if (prompt.value.trim() === text) prompt.value = '';
  await sendTurn({ before, prompt: text, answers: settings.models.map(newAnswer) });
}

/** Generates one answer again, next to the others of its turn. @param {TurnNode} turn @param {number} column */
async function retryAnswer(turn, column) {
  const { prompt: text, answers } = turn;
  const view = list.view(turn.id);
  const retried = /** @type {import('./chat.js').Answer} */ (answers[column]);
  if (!hasContent(retried)) return run(view, view.answers.slice(column, column + 1));
  const others = structuredClone(answers); // a view writes into the objects
  const again = others.map((answer, i) => (i === column ? newAnswer(answer.model) : answer));
  await sendTurn({ before: turn, prompt: text, answers: again });
}

/**
 * Adds a turn and generates its answers that have not ended. Failed turns leave the chat.
 * @param {{ before: TurnNode | undefined, prompt: string, answers: import('./chat.js').Answer[] }} turn
 */
async function sendTurn({ before, ...turn }) {
  hideUndo();
  const path = current.path.map((step) => step.turn);
  const kept = before ? path.slice(0, path.indexOf(before)) : path;
  const failed = [...kept, ...(before ? [before] : [])].filter(hasFailed);
  const cleaned = failed.reduce((chat, { id }) => removeTurn(chat, id), current.chat);
  const parent = kept.findLast((one) => !hasFailed(one))?.id ?? '';
  const id = createId();
  changeChat(addTurn(cleaned, { id, parent, ...turn }));
  list.scrollToEnd();
  const view = list.view(id);
  const open = view.answers.filter(({ answer }) => answer.state === 'running');
  await run(view, open);
}

/** Removes a turn, and offers to restore it. @param {TurnNode} turn */
function deleteTurn({ id }) {
  const before = current.chat;
  changeChat(removeTurn(before, id));
  offerUndo('Turn removed.', () => {
    const { chat } = current;
    if (chat.id === before.id) changeChat({ ...chat, turns: joinTurns(before, chat) });
  });
  prompt.focus();
}

/** Replaces the chat by a changed copy. @param {import('./chat-tree.js').Chat} chat */
function changeChat(chat) {
  current.change(chat);
  showPath();
}

function showPath() {
  const { path } = current;
  list.show(path);
  byId('empty').hidden = path.length > 0;
  showChatButtons();
}

/** Leaves the chat that another tab has removed. */
function leaveRemoved() {
  const lost = current.chat;
  void openChat(createChat());
  offerUndo('This chat was deleted in another tab.', () => {
    void openChat(lost).then(() => current.touch());
  });
}

/** @param {unknown} error undefined: there is none */
function showStorageProblem(error) {
  const isFull = error instanceof DOMException && error.name === 'QuotaExceededError';
  const reason = isFull
    ? 'The room for chats in this browser is used up'
    : `This browser cannot save chats (${errorText(error)})`;
  const text = `${reason}. This chat is only in this tab: export it, or delete older ones.`;
  showProblemIn(byId('storage-problem'), error === undefined ? '' : text);
}

/**
 * Generates answers of a turn, and saves what has arrived while they grow.
 * @param {import('./turn-list.js').TurnView} view
 * @param {readonly import('./answer-view.js').AnswerView[]} answers
 */
async function run(view, answers) {
  const path = current.path.map(({ turn }) => turn);
  const before = path.slice(0, path.indexOf(view.turn));
  const { prompt: text, answers: columns } = view.turn;
  const bodies = answers.map(({ answer }) =>
    settings.toBody(before, { column: columns.indexOf(answer), model: answer.model, prompt: text }),
  );
  showRunning(true);
  const saver = setInterval(() => current.touch(), SAVE_MS);
  const ended = Promise.all(answers.map((one, i) => one.run(bodies[i] ?? { messages: [] })));
  running = ended.then(() => {});
  await ended;
  clearInterval(saver);
  current.change(current.chat);
  showRunning(false);
  view.showOutcome();
  showRefusals(answers.map(({ answer }) => answer));
  if (hasFailed(view.turn) && prompt.value === '') prompt.value = text;
  await current.flush();
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
  current.isBusy = isOn;
  byId('send-button').hidden = isOn;
  byId('stop-button').hidden = !isOn;
  showChatButtons();
  const { activeElement } = document;
  if (activeElement === prompt || activeElement?.closest('#settings, header, dialog, .edit'))
    return;
  // The button that sent the prompt is hidden. On a phone the focus on the prompt would open the keyboard over the answer.
  if (isOn) byId('stop-button').focus({ preventScroll: true });
  else if (!matchMedia('(hover: none)').matches) prompt.focus({ preventScroll: true });
}

function showChatButtons() {
  for (const id of ['new-button', 'export-button']) {
    byId(id, HTMLButtonElement).disabled = list.isRunning || list.count === 0;
  }
}

function readSnippet() {
  const draft = prompt.value.trim();
  const turns = current.path.map(({ turn }) => turn);
  const usable = turns.filter(({ answers }) => answers.some(isUsable));
  const last = draft === '' ? usable.pop()?.prompt : draft;
  const model = /** @type {string} */ (settings.models[0]);
  const request = { column: 0, model, prompt: last ?? 'Hello!' };
  const url = new URL('v1', document.baseURI).href;
  const body = settings.isClassifier ? { input: request.prompt } : settings.toBody(usable, request);
  return { url, hasKeys: apiKey() !== undefined, body: { model, ...body } };
}

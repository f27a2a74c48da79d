// The chat that this tab shows: changes it, saves it soon after every change, and takes over what other tabs changed. Touches
// no element.
import {
  createId,
  isRemoved,
  mergeChats,
  newChat,
  pathOf,
  titleOf,
  writeText,
} from './chat-tree.js';

/** @typedef {import('./chat-tree.js').Chat} Chat */
/** @typedef {import('./chat-tree.js').TurnNode} TurnNode */
/** @typedef {import('./chat-store.js').ChatStore} ChatStore */

const ITEM = 'lorikeet.chat';
/** A crash of the browser loses at most this. */
const SAVE_MS = 300;

/**
 * @typedef {object} CurrentChatOptions
 * @property {() => { draft: string, settings: string }} read returns the texts of the page's fields
 * @property {(error: unknown) => void} onSaved after a save; undefined if it succeeded
 * @property {() => void} onMerge another tab has changed the chat
 */

/** This tab's chat. */
export class CurrentChat {
  /** @type {Chat} */
  #chat = createChat();
  #options;
  /** @type {ChatStore | undefined} */
  #store;
  #isUnsaved = false;
  #isBusy = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #saving = Promise.resolve();

  /** @param {CurrentChatOptions} options */
  constructor(options) {
    this.#options = options;
  }

  get chat() {
    return this.#chat;
  }

  get path() {
    return pathOf(this.#chat);
  }

  /** Whether the chat has content that no storage has. */
  get isUnsaved() {
    return this.#isUnsaved && titleOf(this.#withTexts()) !== '';
  }

  /** Whether answers are being written into the chat's objects. Changes of other tabs wait until they are not. @param {boolean} isOn */
  set isBusy(isOn) {
    this.#isBusy = isOn;
    if (!isOn) void this.#takeOver();
  }

  /** The id of the chat that this tab showed before it was reloaded. */
  static get lastId() {
    return sessionStorage.getItem(ITEM) ?? undefined;
  }

  /** Saves to this store from now on. @param {ChatStore} store */
  attach(store) {
    this.#store = store;
    sessionStorage.setItem(ITEM, this.#chat.id);
    store.listen((id) => {
      if (id === this.#chat.id) void this.#takeOver();
    });
    if (this.#isUnsaved) this.touch();
  }

  /** Shows another chat from now on. What is unsaved is saved before. @param {Chat} chat */
  async open(chat) {
    await this.flush();
    this.#chat = chat;
    this.#isUnsaved = false;
    sessionStorage.setItem(ITEM, chat.id);
  }

  /** Replaces the chat by a changed copy. @param {Chat} chat */
  change(chat) {
    this.#chat = { ...chat, updatedAt: Date.now() };
    this.touch();
  }

  /** Saves the chat soon. */
  touch() {
    this.#isUnsaved = true;
    this.#timer ??= setTimeout(() => void this.flush(), SAVE_MS);
  }

  /** Saves the chat now, if it has changed. Reports a failure to `onSaved`. @returns {Promise<void>} */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#saving = this.#saving.then(() => this.#save());
    return this.#saving;
  }

  /** Saves the chat, and nothing after that. */
  async close() {
    await this.flush();
    this.#store = undefined;
  }

  /** Keeps the chat when the page closes, or is hidden and may be closed without notice. */
  keep() {
    if (this.#isUnsaved || this.#isBusy) this.#store?.keep(this.#withTexts());
  }

  async #save() {
    if (!this.#store || !this.#isUnsaved) return;
    this.#chat = this.#withTexts();
    this.#isUnsaved = false;
    try {
      await this.#store.save(this.#chat);
      this.#options.onSaved(undefined);
    } catch (error) {
      this.#isUnsaved = true;
      this.#options.onSaved(error);
    }
  }

  #withTexts() {
    const { draft, settings } = this.#options.read();
    const chat = writeText(this.#chat, 'draft', draft);
    // The settings alone make no chat.
    return titleOf(chat) === '' ? chat : writeText(chat, 'settings', settings);
  }

  async #takeOver() {
    const stored = await this.#store?.load(this.#chat.id);
    if (stored) this.merge(stored);
  }

  /** Merges a copy that was saved elsewhere. Turns that did not change stay the same objects. @param {Chat} copy */
  merge(copy) {
    // While answers are being written, a later save merges it.
    if (copy.id !== this.#chat.id || this.#isBusy) return;
    const merged = mergeChats(this.#chat, copy);
    const own = new Map(this.#chat.turns.map((turn) => [turn.id, turn]));
    const turns = merged.turns.map((turn) => {
      const before = own.get(turn.id);
      return before && JSON.stringify(before) === JSON.stringify(turn) ? before : turn;
    });
    const isChanged = turns.some((turn, i) => turn !== this.#chat.turns[i]);
    this.#chat = { ...merged, turns };
    if (isChanged || isRemoved(merged)) this.#options.onMerge();
  }
}

/** Creates a chat without turns. */
export function createChat() {
  return { ...newChat(createId()), updatedAt: Date.now() };
}

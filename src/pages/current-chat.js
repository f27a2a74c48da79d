// The chat that this tab shows: changes it, saves it soon after every change, and takes over what other tabs changed. Touches
// no element.
import { createChat, joinTurns, pathOf, titleOf } from './chat-tree.js';

/** @typedef {import('./chat-tree.js').Chat} Chat */
/** @typedef {import('./chat-store.js').ChatStore} ChatStore */

const ITEM = 'lorikeet.chat';
/** A crash of the browser loses at most this. */
const SAVE_MS = 300;

/**
 * @typedef {object} CurrentChatOptions
 * @property {() => { draft: string, settings: string }} read returns the texts of the page's fields
 * @property {(error: unknown) => void} onSaved after a save; undefined if it succeeded
 * @property {() => void} onTurns another tab has changed the turns
 * @property {() => void} onRemoved another tab has removed the chat
 */

/** This tab's chat. */
export class CurrentChat {
  #chat = createChat();
  #options;
  /** @type {ChatStore | undefined} */
  #store;
  #isUnsaved = false;
  /** Whether the chat was removed. It is then no longer saved. */
  #isRemoved = false;
  /** Whether answers are being written into the chat's objects. Turns of other tabs wait until they are not. */
  isBusy = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Resolves when the storage has been read and written. */
  #storing = Promise.resolve();

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
    return this.#isUnsaved && !this.#isRemoved && titleOf(this.#withTexts()) !== '';
  }

  /** The id of the chat that this tab showed before it was reloaded. */
  static get lastId() {
    return sessionStorage.getItem(ITEM) ?? undefined;
  }

  /** Saves to this store from now on. @param {ChatStore} store */
  attach(store) {
    this.#store = store;
    sessionStorage.setItem(ITEM, this.#chat.id);
    store.listen((change) => void this.#inOrder(() => this.#follow(change)));
    if (this.#isUnsaved) this.touch();
  }

  /** Shows another chat from now on. What is unsaved is saved before. @param {Chat} chat */
  async open(chat) {
    await this.flush();
    this.#chat = chat;
    this.#isUnsaved = false;
    this.#isRemoved = false;
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
    return this.#inOrder(() => this.#save());
  }

  /** Saves the chat, and nothing after that. */
  async close() {
    await this.flush();
    this.#store = undefined;
  }

  /** Saves the chat no more, because it is being removed. */
  drop() {
    this.#isRemoved = true;
  }

  /** Keeps the chat when the page closes. */
  keep() {
    if (this.#isRemoved) return;
    if (this.#isUnsaved || this.isBusy) this.#store?.keep(this.#withTexts());
  }

  /** Takes over a copy that was saved elsewhere. Turns that did not change stay the same objects. @param {Chat} copy */
  adopt(copy) {
    if (copy.id !== this.#chat.id) return;
    // While answers are being written, the revision stays, so that the next save joins the turns.
    if (this.isBusy) {
      this.#chat = { ...this.#chat, title: copy.title };
      return;
    }
    const own = new Map(this.#chat.turns.map((turn) => [turn.id, turn]));
    const all = this.#isUnsaved ? joinTurns(this.#chat, copy) : copy.turns;
    const turns = all.map((turn) => {
      const before = own.get(turn.id);
      return before && JSON.stringify(before) === JSON.stringify(turn) ? before : turn;
    });
    const isSame = turns.length === own.size && turns.every((turn) => own.get(turn.id) === turn);
    this.#chat = { ...copy, turns };
    if (!isSame) this.#options.onTurns();
  }

  /** @param {() => Promise<void>} task */
  #inOrder(task) {
    this.#storing = this.#storing.then(task);
    return this.#storing;
  }

  async #save() {
    if (!this.#store || !this.#isUnsaved || this.#isRemoved) return;
    this.#chat = this.#withTexts();
    this.#isUnsaved = false;
    const { turns } = this.#chat;
    try {
      const saved = await this.#store.save(this.#chat);
      if (saved.turns !== turns) this.adopt(saved);
      else this.#chat = { ...this.#chat, revision: saved.revision };
      this.#options.onSaved(undefined);
    } catch (error) {
      this.#isUnsaved = true;
      this.#options.onSaved(error);
    }
  }

  /** @returns {Chat} */
  #withTexts() {
    const { draft, settings } = this.#options.read();
    const chat = { ...this.#chat, draft };
    // The settings alone make no chat.
    return titleOf(chat) === '' ? chat : { ...chat, settings };
  }

  /** @param {import('./chat-store.js').Change} change */
  async #follow({ id, isRemoved }) {
    if (id !== this.#chat.id) return;
    if (isRemoved) {
      this.drop();
      return this.#options.onRemoved();
    }
    const stored = await this.#store?.load(id).catch(() => undefined);
    if (stored) this.adopt(stored);
  }
}

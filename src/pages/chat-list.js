// The list of the tenant's chats: search, rename, remove with undo, import and export.
import { errorText } from './api.js';
import { MAX_FILE_BYTES, parseFile, toFile } from './chat-files.js';
import { createChat } from './chat-tree.js';
import { byId, el, fill, keepFocus, setText, showProblemIn } from './dom.js';
import { counted, dateAndTime, size } from './format.js';
import { offerUndo } from './undo.js';
import { confirmAction, saveBlob } from './widgets.js';

/** @typedef {import('./chat-tree.js').Chat} Chat */
/** @typedef {import('./chat-tree.js').Summary} Summary */
/** @typedef {import('./chat-store.js').ChatStore} ChatStore */

const search = byId('chat-search', HTMLInputElement);
const picker = byId('chat-file', HTMLInputElement);
/** More would make the page slow. Searching finds the others. */
const MAX_SHOWN = 200;

/** The list. It is empty until it gets a store. */
export class ChatList {
  #current;
  #onOpen;
  /** @type {ChatStore | undefined} */
  #store;
  /** The listed chats as JSON. */
  #shown = '';
  /** The chat whose title is being edited. @type {string | undefined} */
  #renamed;

  /**
   * @param {import('./current-chat.js').CurrentChat} current
   * @param {(chat: Chat) => Promise<void>} onOpen shows another chat
   */
  constructor(current, onOpen) {
    this.#current = current;
    this.#onOpen = onOpen;
    search.addEventListener('input', () => void this.refresh());
    byId('chats-import').addEventListener('click', () => picker.click());
    byId('chats-export').addEventListener('click', async () => saveChats(await this.#loadAll()));
    byId('chats-delete').addEventListener('click', () => void this.#reporting(this.#removeAll()));
    picker.addEventListener('change', () => void this.#reporting(this.#import()));
  }

  /** @param {ChatStore} store */
  attach(store) {
    this.#store = store;
    store.listen(() => void this.refresh());
    void this.refresh();
  }

  /** Reads the list again. */
  async refresh() {
    if (!this.#store) return;
    const query = search.value.trim();
    const [all, found] = await Promise.all([
      this.#store.list(),
      query === '' ? undefined : this.#store.search(query),
    ]);
    if (query !== search.value.trim() || this.#renamed !== undefined) return;
    const chats = found ? all.filter(({ id }) => found.has(id)) : all;
    this.#show(chats.slice(0, MAX_SHOWN));
    const none = query === '' ? 'No chats yet.' : 'No chat contains this.';
    const more =
      chats.length > MAX_SHOWN
        ? `${counted(chats.length, 'chat')}. Search to find the older ones.`
        : '';
    setText(byId('chats-help'), chats.length === 0 ? none : more);
    for (const id of ['chats-export', 'chats-delete']) {
      byId(id, HTMLButtonElement).disabled = all.length === 0;
    }
    if (document.activeElement?.matches('#chats :disabled')) search.focus();
  }

  /** Rebuilds the list only if it has changed, because a click on an element that is replaced is lost. @param {readonly Summary[]} chats */
  #show(chats) {
    const content = JSON.stringify([chats, this.#current.chat.id]);
    if (content === this.#shown) return;
    this.#shown = content;
    const list = byId('chat-list');
    const items = chats.map((chat) => this.#toItem(chat));
    keepFocus(
      list,
      () => fill(list, ...items),
      () => search,
    );
  }

  /** @param {Summary} chat */
  #toItem({ id, title, updatedAt }) {
    const isCurrent = id === this.#current.chat.id;
    const item = el(
      'li',
      el(
        'button.chat',
        { onclick: () => void this.#open(id), 'aria-current': isCurrent ? 'true' : undefined },
        el('span', title),
        el('small', dateAndTime(updatedAt / 1000)),
      ),
      el(
        'div.chat-actions',
        chatButton('Rename', { id, title }, () => this.#rename(item, { id, title })),
        chatButton('Delete', { id, title }, () => void this.#reporting(this.#remove(id))),
      ),
    );
    return item;
  }

  /** @param {string} id */
  async #open(id) {
    const chat = id === this.#current.chat.id ? undefined : await this.#store?.load(id);
    if (chat) await this.#onOpen(chat);
  }

  /** Turns a title into a text field. @param {HTMLElement} item @param {{ id: string, title: string }} chat */
  #rename(item, { id, title }) {
    this.#renamed = id;
    const field = el('input', { value: title, maxLength: 200, 'aria-label': 'Title of the chat' });
    /** @param {boolean} isKept */
    const end = async (isKept) => {
      if (this.#renamed !== id) return; // the field is also left when it is removed
      this.#renamed = undefined;
      this.#shown = '';
      const value = field.value.trim();
      const chat = isKept && value !== title ? await this.#load(id) : undefined;
      if (chat) await this.#save([{ ...chat, title: value }]);
      const hadFocus = document.activeElement === field;
      await this.refresh();
      if (hadFocus) chatElement(id)?.focus();
    };
    field.addEventListener('blur', () => void this.#reporting(end(true)));
    field.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== 'Escape') return;
      event.stopPropagation();
      void this.#reporting(end(event.key === 'Enter'));
    });
    fill(item, field);
    field.focus();
    field.select();
  }

  /** @param {string} id */
  async #remove(id) {
    const chat = await this.#load(id);
    if (chat) await this.#removeChats([chat], 'Chat deleted.');
  }

  async #removeAll() {
    const chats = await this.#loadAll();
    const isSure = await confirmAction({
      title: `Delete ${counted(chats.length, 'chat')}?`,
      text: 'They are removed from this browser. Export them first if you may need them again.',
      action: 'Delete all',
    });
    if (isSure) await this.#removeChats(chats, `${counted(chats.length, 'chat')} deleted.`);
  }

  /** @param {readonly Chat[]} chats @param {string} text */
  async #removeChats(chats, text) {
    const current = chats.find(({ id }) => id === this.#current.chat.id);
    if (current) this.#current.drop();
    for (const { id } of chats) await this.#store?.remove(id);
    if (current) await this.#onOpen(createChat());
    await this.refresh();
    offerUndo(text, async () => {
      await this.#save(chats);
      if (current) await this.#onOpen(current);
      await this.refresh();
    });
  }

  async #import() {
    const [file] = picker.files ?? [];
    if (!file) return;
    picker.value = ''; // the same file can be chosen again
    if (file.size > MAX_FILE_BYTES) {
      const [is, limit] = [file.size, MAX_FILE_BYTES].map(size);
      throw new Error(`The file is too large: ${is} of at most ${limit}.`);
    }
    const chats = parseFile(await file.text());
    await this.#save(chats);
    await this.refresh();
    setText(byId('chats-help'), `${counted(chats.length, 'chat')} imported.`);
  }

  /** Shows why a task failed, if it did. @param {Promise<void>} task */
  async #reporting(task) {
    const problem = await task.then(() => '', errorText);
    showProblemIn(byId('chats-problem'), problem);
  }

  /** Loads a chat with what this page has not saved yet. @param {string} id */
  async #load(id) {
    await this.#current.flush();
    return this.#store?.load(id);
  }

  async #loadAll() {
    await this.#current.flush();
    return (await this.#store?.loadAll()) ?? [];
  }

  /** @param {readonly Chat[]} chats */
  async #save(chats) {
    for (const chat of chats) {
      const saved = await this.#store?.save(chat);
      if (saved) this.#current.adopt(saved);
    }
  }
}

/** Saves chats as a file on the user's machine. @param {readonly Chat[]} chats */
export function saveChats(chats) {
  saveBlob(new Blob([toFile(chats)], { type: 'application/json' }), 'lorikeet-chats.json');
}

/** Returns the first button of a chat. @param {string} id @returns {HTMLElement | null} */
function chatElement(id) {
  return byId('chat-list').querySelector(`[data-chat="${CSS.escape(id)}"]`);
}

/** @param {string} label @param {{ id: string, title: string }} chat @param {() => void} onclick */
function chatButton(label, { id, title }, onclick) {
  return el(
    'button.quiet.small',
    { onclick, 'aria-label': `${label}: ${title}`, 'data-chat': id },
    label,
  );
}

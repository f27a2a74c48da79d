// The list of the tenant's chats: search, rename, remove with undo, import and export.
import { computed, signal } from '@preact/signals';
import { errorText } from '../api.ts';
import { saveBlob } from '../browser.ts';
import { confirm } from '../components/confirm.ts';
import { counted, size } from '../format.ts';
import { MAX_FILE_BYTES, parseFile, toFile } from './chat-files.ts';
import type { ChatStore } from './chat-store.ts';
import { type Chat, createChat, type Summary } from './chat-tree.ts';
import type { CurrentChat } from './current-chat.ts';

/** More would make the page slow. Searching finds the others. */
const MAX_SHOWN = 200;

interface ChatsOptions {
  readonly current: CurrentChat;
  /** Shows another chat. */
  readonly onOpen: (chat: Chat) => Promise<void>;
  readonly offerUndo: (text: string, act: () => void) => void;
}

/** The list. It is empty until it gets a store. */
export class Chats {
  readonly #options: ChatsOptions;
  readonly #store = signal<ChatStore>();
  readonly #all = signal<readonly Summary[]>([]);
  /** The ids of the chats that contain the query; undefined without one. */
  readonly #found = signal<ReadonlySet<string>>();
  readonly #imported = signal(0);
  #reads = 0;
  readonly query = signal('');
  readonly problem = signal('');
  /** Whether chats can be added. */
  readonly isStored = computed(() => this.#store.value !== undefined);
  readonly isEmpty = computed(() => this.#all.value.length === 0);
  readonly #matches = computed(() => {
    const found = this.#found.value;
    return found ? this.#all.value.filter(({ id }) => found.has(id)) : this.#all.value;
  });
  readonly shown = computed(() => this.#matches.value.slice(0, MAX_SHOWN));
  readonly help = computed(() => {
    const { length } = this.#matches.value;
    if (this.#imported.value > 0) return `${counted(this.#imported.value, 'chat')} imported.`;
    if (length > MAX_SHOWN) return `${counted(length, 'chat')}. Search to find the older ones.`;
    if (length > 0) return '';
    return this.query.value.trim() === '' ? 'No chats yet.' : 'No chat contains this.';
  });

  constructor(options: ChatsOptions) {
    this.#options = options;
  }

  /** Lists the chats of a store. */
  attach(store: ChatStore): void {
    this.#store.value = store;
    store.listen(() => void this.refresh());
    void this.refresh();
  }

  /** Reads the list again. An answer that comes after a later read has begun is dropped: it may be older than a change. */
  async refresh(): Promise<void> {
    const store = this.#store.value;
    const read = ++this.#reads;
    const text = this.query.value.trim();
    const [all, found] = await Promise.all([
      store?.list(),
      text === '' ? undefined : store?.search(text),
    ]);
    if (read !== this.#reads) return;
    this.#all.value = all ?? [];
    this.#found.value = found;
  }

  /** Shows only chats that contain a text. */
  search(text: string): void {
    this.query.value = text;
    this.#imported.value = 0;
    void this.refresh();
  }

  /** Shows a chat. */
  async open(id: string): Promise<void> {
    const { current, onOpen } = this.#options;
    const chat = id === current.chat.id ? undefined : await this.#store.value?.load(id);
    if (chat) await onOpen(chat);
  }

  /** Gives a chat another title. */
  async rename(id: string, title: string): Promise<void> {
    await this.#reporting(async () => {
      const chat = await this.#load(id);
      if (chat) await this.#save([{ ...chat, title }]);
    });
  }

  /** Removes a chat, and offers to restore it. */
  async remove(id: string): Promise<void> {
    await this.#reporting(async () => {
      const chat = await this.#load(id);
      if (chat) await this.#remove([chat], 'Chat deleted.');
    });
  }

  /** Removes all chats if the user is sure, and offers to restore them. */
  async removeAll(): Promise<void> {
    await this.#reporting(async () => {
      const chats = await this.#loadAll();
      const isSure = await confirm({
        title: `Delete ${counted(chats.length, 'chat')}?`,
        text: 'They are removed from this browser. Export them first if you may need them again.',
        action: 'Delete all',
      });
      if (isSure) await this.#remove(chats, `${counted(chats.length, 'chat')} deleted.`);
    });
  }

  /** Saves all chats as a file on the user's machine. */
  async exportAll(): Promise<void> {
    exportChats(await this.#loadAll());
  }

  /** Adds the chats of a file. */
  async importFile(file: File): Promise<void> {
    await this.#reporting(async () => {
      if (file.size > MAX_FILE_BYTES) {
        const [is, limit] = [file.size, MAX_FILE_BYTES].map(size);
        throw new Error(`The file is too large: ${is} of at most ${limit}.`);
      }
      const chats = parseFile(await file.text());
      await this.#save(chats);
      this.#imported.value = chats.length;
    });
  }

  /** Shows why a task failed, if it did. */
  async #reporting(task: () => Promise<void>): Promise<void> {
    this.problem.value = await task().then(() => '', errorText);
  }

  /** Loads a chat with what this page has not saved yet. */
  async #load(id: string): Promise<Chat | undefined> {
    await this.#options.current.flush();
    return this.#store.value?.load(id);
  }

  async #loadAll(): Promise<Chat[]> {
    await this.#options.current.flush();
    return (await this.#store.value?.loadAll()) ?? [];
  }

  async #save(chats: readonly Chat[]): Promise<void> {
    for (const chat of chats) {
      const saved = await this.#store.value?.save(chat);
      if (saved) this.#options.current.adopt(saved);
    }
    await this.refresh();
  }

  async #remove(chats: readonly Chat[], text: string): Promise<void> {
    const { current, onOpen, offerUndo } = this.#options;
    const shown = chats.find(({ id }) => id === current.chat.id);
    if (shown) current.drop();
    try {
      for (const { id } of chats) await this.#store.value?.remove(id);
    } catch (error) {
      if (shown) current.retain();
      throw error;
    }
    if (shown) await onOpen(createChat());
    await this.refresh();
    offerUndo(text, async () => {
      await this.#save(chats);
      if (shown) await onOpen(shown);
    });
  }
}

/** Saves chats as a file on the user's machine. */
export function exportChats(chats: readonly Chat[]): void {
  saveBlob(new Blob([toFile(chats)], { type: 'application/json' }), 'lorikeet-chats.json');
}

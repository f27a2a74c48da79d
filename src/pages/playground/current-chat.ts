// The chat that this tab shows: changes it, saves it soon after every change, and takes over what other tabs changed.
import { computed, type ReadonlySignal, signal } from '@preact/signals';
import type { Change, ChatStore } from './chat-store.ts';
import { type Chat, createChat, joinTurns, pathOf, titleOf } from './chat-tree.ts';

const ITEM = 'lorikeet.chat';
/** A crash of the browser loses at most this. */
const SAVE_MS = 300;

interface CurrentChatOptions {
  /** Whether answers are being written. Turns of other tabs wait until they are not. */
  readonly isBusy: ReadonlySignal<boolean>;
  /** Returns the settings in the form of the address. */
  readonly settings: () => string;
  /** Another tab has removed the chat. */
  readonly onRemoved: () => void;
  /** The list of chats has changed. */
  readonly onSaved: () => void;
}

/** This tab's chat. */
export class CurrentChat {
  readonly #chat = signal(createChat());
  readonly #options: CurrentChatOptions;
  #store: ChatStore | undefined;
  #isUnsaved = false;
  /** Whether the chat was removed. It is then no longer saved. */
  #isRemoved = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isSaving = false;
  /** Resolves when the storage has been read and written. */
  #storing = Promise.resolve();
  /** The message that is typed and not sent. */
  readonly draft = signal('');
  /** Why the chat could not be saved; undefined if it was. */
  readonly problem = signal<unknown>(undefined);
  readonly path = computed(() => pathOf(this.#chat.value));

  constructor(options: CurrentChatOptions) {
    this.#options = options;
  }

  get chat(): Chat {
    return this.#chat.value;
  }

  /** Whether the chat has content that no storage has. */
  get isUnsaved(): boolean {
    return this.#isUnsaved && !this.#isRemoved && titleOf(this.#withTexts()) !== '';
  }

  /** The id of the chat that this tab showed before it was reloaded. */
  static get lastId(): string | undefined {
    return sessionStorage.getItem(ITEM) ?? undefined;
  }

  /** Saves to this store from now on. */
  attach(store: ChatStore): void {
    this.#store = store;
    sessionStorage.setItem(ITEM, this.chat.id);
    store.listen((change) => void this.#inOrder(() => this.#follow(change)));
    if (this.#isUnsaved) this.touch();
  }

  /** Shows another chat from now on. Saves the shown one first. */
  async open(chat: Chat): Promise<void> {
    await this.flush();
    this.#chat.value = chat;
    this.#isUnsaved = false;
    this.#isRemoved = false;
    sessionStorage.setItem(ITEM, chat.id);
  }

  /** Replaces the chat by a changed copy. */
  change(chat: Chat): void {
    this.#chat.value = { ...chat, updatedAt: Date.now() };
    this.touch();
  }

  /** Saves the chat soon. */
  touch(): void {
    this.#isUnsaved = true;
    this.#timer ??= setTimeout(() => void this.flush(), SAVE_MS);
  }

  /** Saves the chat now, if it has changed. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return this.#inOrder(() => this.#save());
  }

  /** Saves the chat, and nothing after that. */
  async close(): Promise<void> {
    await this.flush();
    this.#store = undefined;
  }

  /** Stops saving the chat, because it is being removed. */
  drop(): void {
    this.#isRemoved = true;
  }

  /** Saves the chat again, because it was not removed. */
  retain(): void {
    this.#isRemoved = false;
    this.touch();
  }

  /** Keeps the chat when the page closes. */
  keep(): void {
    if (this.#isRemoved) return;
    const chat = this.#withTexts();
    // A transaction may not end any more when the page closes, and a copy from another tab lacks this tab's draft.
    const isOnWay = this.#isUnsaved || this.#isSaving || this.#options.isBusy.value;
    if (isOnWay || chat.draft !== this.chat.draft) this.#store?.keep(chat);
  }

  /** Takes over a copy that was saved elsewhere. */
  adopt(copy: Chat): void {
    const mine = this.chat;
    if (copy.id !== mine.id) return;
    // While answers are being written, the revision stays, so that the next save joins the turns.
    if (this.#options.isBusy.value) this.#chat.value = { ...mine, title: copy.title };
    else this.#chat.value = this.#isUnsaved ? { ...copy, turns: joinTurns(mine, copy) } : copy;
  }

  #inOrder(task: () => Promise<void>): Promise<void> {
    this.#storing = this.#storing.then(task);
    return this.#storing;
  }

  async #save(): Promise<void> {
    if (!this.#store || !this.#isUnsaved || this.#isRemoved) return;
    const chat = this.#withTexts();
    this.#isUnsaved = false;
    this.#isSaving = true;
    try {
      const saved = await this.#store.save(chat);
      if (saved.turns !== chat.turns) this.adopt(saved);
      else this.#chat.value = { ...this.chat, revision: saved.revision, draft: chat.draft };
      this.problem.value = undefined;
    } catch (error) {
      this.#isUnsaved = true;
      this.problem.value = error;
    }
    this.#isSaving = false;
    this.#options.onSaved();
  }

  #withTexts(): Chat {
    const chat = { ...this.chat, draft: this.draft.value };
    // The settings alone make no chat.
    return titleOf(chat) === '' ? chat : { ...chat, settings: this.#options.settings() };
  }

  async #follow({ id, isRemoved }: Change): Promise<void> {
    if (id !== this.chat.id) return;
    if (isRemoved) {
      this.drop();
      return this.#options.onRemoved();
    }
    const stored = await this.#store?.load(id).catch(() => undefined);
    if (stored) this.adopt(stored);
  }
}

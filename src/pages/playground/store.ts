// The state of the playground: the shown chat, its settings, the list of chats, and the answers that are being generated.
import { signal } from '@preact/signals';
import { currentUser, identified } from '../account.ts';
import { errorText } from '../api.ts';
import type { ApiCall } from '../client-code.ts';
import { confirm } from '../components/confirm.ts';
import { createId } from '../ids.ts';
import { type Answer, type ChatBody, hasContent, hasFailed, isUsable, newAnswer } from './chat.ts';
import { ChatStore } from './chat-store.ts';
import {
  addTurn,
  type Chat,
  chooseTurn,
  createChat,
  joinTurns,
  removeTurn,
  type TurnNode,
  withAnswer,
} from './chat-tree.ts';
import { Chats } from './chats.ts';
import { watchContext } from './context.ts';
import { CurrentChat } from './current-chat.ts';
import { type Place, Runs } from './runs.ts';
import { Settings } from './settings.ts';
import { checkAnswer } from './structured.ts';
import { readText, withFile } from './templates.ts';

/** How often a growing answer is saved. */
const SAVE_MS = 500;

/** The question before a chat is closed that could not be saved. */
const LOSS = {
  title: 'Discard this chat?',
  text: 'It could not be saved. Export it first to keep a copy.',
  action: 'Discard',
};

/** An offer to undo what the user has just done. */
interface Undo {
  readonly text: string;
  readonly act: () => void;
}

/** A turn that is about to be sent. */
interface NewTurn {
  readonly prompt: string;
  readonly answers: readonly Answer[];
  /** The turn whose place it takes, as another version of it. */
  readonly before?: TurnNode | undefined;
}

class Playground {
  readonly undo = signal<Undo>();
  readonly isPlain = signal(false);
  readonly problem = signal('');
  /** The ended answers, for screen readers: single tokens would interrupt each other. */
  readonly spoken = signal('');
  /** Changes when the end of the chat should be shown. */
  readonly shownEnd = signal(0);
  /** Changes when the prompt should get the focus. */
  readonly askedPrompt = signal(0);
  readonly runs = new Runs((place, answer) => this.#change(withAnswer(this.#chat, place, answer)));
  readonly current = new CurrentChat({
    isBusy: this.runs.isBusy,
    settings: () => this.settings.address(),
    onSaved: () => void this.chats.refresh(),
    onRemoved: () => this.#leaveRemoved(),
  });
  readonly settings = new Settings(this.current.draft);
  readonly chats = new Chats({
    current: this.current,
    onOpen: (chat) => this.open(chat),
    offerUndo: (text, act) => this.#offerUndo(text, act),
  });
  readonly path = this.current.path;
  readonly draft = this.current.draft;

  readonly context = watchContext(this);

  /** The tenant whose chats are open. */
  #tenant: string | undefined;
  /** Resolves when the list of models is loaded. */
  #loading: Promise<void>;
  /** Resolves when no answer is being generated. */
  #running = Promise.resolve();

  /** Opens the storage of the user's chats. */
  constructor() {
    this.#loading = this.#load();
    this.#listen();
  }

  #listen(): void {
    addEventListener('pagehide', () => {
      this.runs.showGrown();
      this.current.keep();
    });
    addEventListener('visibilitychange', () => void this.current.flush());
    addEventListener('beforeunload', (event) => {
      if (this.current.isUnsaved && this.current.problem.value !== undefined)
        event.preventDefault();
    });
    addEventListener('signout', (event) => {
      (event as CustomEvent<Promise<void>[]>).detail.push(this.current.close());
    });
    addEventListener('signin', () => {
      this.#loading = this.#load();
    });
  }

  async #load(): Promise<void> {
    this.problem.value = await this.settings.load(this.#openStore()).then(() => '', errorText);
  }

  /**
   * Opens the storage of the user's chats, and shows the chat that this tab showed before, unless a link names other models.
   * Without storage the page works, and says that the chat will not last.
   */
  async #openStore(): Promise<void> {
    await identified;
    const tenant = currentUser()?.id;
    if (tenant === undefined || tenant === this.#tenant) return;
    this.#tenant = tenant;
    const { current, settings, draft } = this;
    try {
      const store = await ChatStore.open(tenant);
      const id = CurrentChat.lastId;
      const isNew = this.path.value.length === 0;
      const last = id !== undefined && isNew ? await store.load(id) : undefined;
      if (last && settings.fitsAddress(last.settings)) {
        await current.open(last);
        if (!settings.isLink) settings.apply(last.settings);
        draft.value ||= last.draft; // the user may have typed already
      }
      current.attach(store);
      this.chats.attach(store);
    } catch (error) {
      current.problem.value = error;
    }
  }

  get #chat(): Chat {
    return this.current.chat;
  }

  #change(chat: Chat): void {
    this.current.change(chat);
  }

  #offerUndo(text: string, act: () => void): void {
    this.undo.value = { text, act };
  }

  /** Undoes what was offered. */
  undoNow(): void {
    const { act } = this.undo.value ?? {};
    this.undo.value = undefined;
    this.askedPrompt.value++;
    act?.();
  }

  /** Starts another chat. */
  async startNew(): Promise<void> {
    await this.open(createChat());
    this.askedPrompt.value++;
  }

  /** Shows another chat instead of the current one, whose answers stop. */
  async open(chat: Chat): Promise<void> {
    const { current } = this;
    this.runs.stop();
    await this.#running;
    await current.flush();
    if (current.isUnsaved && !(await confirm(LOSS))) return;
    await current.open(chat);
    this.settings.apply(chat.settings);
    this.draft.value = chat.draft;
    this.shownEnd.value++;
    void this.chats.refresh();
  }

  /** Leaves the chat that another tab has removed. */
  #leaveRemoved(): void {
    const lost = this.#chat;
    void this.open(createChat());
    this.#offerUndo('This chat was deleted in another tab.', () => {
      void this.open(lost).then(() => this.current.touch());
    });
  }

  /** Takes the message as typed. */
  type(text: string): void {
    this.draft.value = text;
    this.current.touch();
  }

  /** Adds a saved prompt to the message, and offers to take it back. */
  insert(prompt: string, system: string): void {
    const before = [this.draft.value, this.settings.system.value] as const;
    const fill = (message: string, instructions: string) => {
      this.type(message);
      this.settings.system.value = instructions;
    };
    fill([before[0].trimEnd(), prompt].filter(Boolean).join('\n\n'), system || before[1]);
    if (before.some(Boolean)) this.#offerUndo('Prompt inserted.', () => fill(...before));
  }

  /** Adds text files to the message. */
  async attach(files: readonly File[]): Promise<void> {
    try {
      for (const file of files)
        this.type(withFile(this.draft.value, file.name, await readText(file)));
      this.problem.value = '';
    } catch (error) {
      this.problem.value = errorText(error);
    }
    this.askedPrompt.value++;
  }

  /** Sends a prompt as the next turn, or as another version of a turn. */
  async send(text: string, before?: TurnNode): Promise<void> {
    const { settings, runs } = this;
    if ((text === '' && before?.prompt !== '') || runs.isBusy.value) return;
    const fault = settings.fault();
    this.problem.value = fault ?? '';
    if (fault !== undefined) return;
    if (!settings.areModelsChosen.value && (await runs.waitFor(this.#loading))) return;
    if (this.draft.value.trim() === text) this.draft.value = '';
    const models = text === '' ? modelsOf(before!) : settings.models.value;
    await this.#sendTurn({ before, prompt: text, answers: models.map(newAnswer) });
  }

  /** Takes the result of a call. */
  giveResult({ id, column }: Place, index: number, result: string): void {
    const answer = this.#chat.turns.find((turn) => turn.id === id)!.answers[column]!;
    const calls = answer.calls.map((call, i) => (i === index ? { ...call, result } : call));
    this.#change(withAnswer(this.#chat, { id, column }, { calls }));
  }

  /** Sends the results of a turn's calls to the models that made them. */
  async sendResults(turn: TurnNode): Promise<void> {
    if (this.runs.isBusy.value) return;
    const callers = turn.answers.filter(({ calls }) => calls.length > 0);
    await this.#sendTurn({ prompt: '', answers: callers.map(({ model }) => newAnswer(model)) });
  }

  /** Lets a model write the rest of an answer. */
  async continueAnswer({ id, answers }: TurnNode, column: number): Promise<void> {
    if (this.runs.isBusy.value) return;
    const { model, text } = answers[column]!;
    this.#change(withAnswer(this.#chat, { id, column }, { ...newAnswer(model), text }));
    await this.#run(id);
  }

  /** Adds a version of a turn in which an answer has another text, unless that is empty. */
  editAnswer({ prompt, parent, answers }: TurnNode, column: number, text: string): void {
    this.askedPrompt.value++;
    if (text === '') return;
    const edited = answers.map((answer, i) => {
      const change = { text, facts: ['edited'], logprobs: [], state: 'done', problem: '' } as const;
      return i === column
        ? { ...answer, ...change, validity: checkAnswer({ ...answer, text }) }
        : answer;
    });
    this.#change(addTurn(this.#chat, { id: createId(), parent, prompt, answers: edited }));
  }

  /** Generates one answer again, next to the others of its turn. */
  async retryAnswer(turn: TurnNode, column: number): Promise<void> {
    if (this.runs.isBusy.value) return;
    const { id, prompt, answers } = turn;
    const again = newAnswer(answers[column]!.model);
    if (hasContent(answers[column]!)) {
      const others = answers.map((answer, i) => (i === column ? again : answer));
      return this.#sendTurn({ before: turn, prompt, answers: others });
    }
    this.#change(withAnswer(this.#chat, { id, column }, again));
    await this.#run(id);
  }

  /** Adds a turn and generates its answers that have not ended. Failed turns leave the chat. */
  async #sendTurn({ before, ...turn }: NewTurn): Promise<void> {
    this.undo.value = undefined;
    const path = this.path.value.map((step) => step.turn);
    const kept = before ? path.slice(0, path.indexOf(before)) : path;
    const failed = [...kept, ...(before ? [before] : [])].filter(hasFailed);
    const cleaned = failed.reduce((chat, { id }) => removeTurn(chat, id), this.#chat);
    const parent = kept.findLast((one) => !hasFailed(one))?.id ?? '';
    const id = createId();
    this.#change(addTurn(cleaned, { id, parent, ...turn }));
    this.shownEnd.value++;
    await this.#run(id);
  }

  /** Generates the answers of a turn that have not ended, and saves what has arrived while they grow. */
  async #run(id: string): Promise<void> {
    const { runs, settings, current } = this;
    const turns = this.path.value.map(({ turn }) => turn);
    const at = turns.findIndex((turn) => turn.id === id);
    const { prompt, answers } = turns[at]!;
    const open = answers.flatMap(({ state }, column) => (state === 'running' ? [column] : []));
    runs.isBusy.value = true;
    const saver = setInterval(() => {
      runs.showGrown();
      current.touch();
    }, SAVE_MS);
    const ended = open.map((column) => {
      const answer = answers[column]!;
      const request = { column, model: answer.model, prompt };
      const body = settings.toBody(turns.slice(0, at), request);
      const begun = answer.text === '' ? body : continued(body, answer.text);
      return runs.run({ id, column }, answer, begun);
    });
    this.#running = Promise.all(ended).then(() => {});
    await this.#running;
    clearInterval(saver);
    runs.isBusy.value = false;
    current.touch();
    const turn = this.#chat.turns.find((one) => one.id === id)!;
    const fresh = open.map((column) => turn.answers[column]!);
    settings.showRefusals(fresh);
    if (hasFailed(turn)) this.type(this.draft.value || prompt);
    await current.flush();
    this.spoken.value = fresh.map((answer) => `${answer.model}: ${spokenOf(answer)}`).join('\n');
  }

  /** Removes a turn, and offers to restore it. */
  deleteTurn({ id }: TurnNode): void {
    if (this.runs.isBusy.value) return;
    const before = this.#chat;
    this.#change(removeTurn(before, id));
    this.#offerUndo('Turn removed.', () => {
      const chat = this.#chat;
      if (chat.id === before.id) this.#change({ ...chat, turns: joinTurns(before, chat) });
    });
    this.askedPrompt.value++;
  }

  /** Shows a turn instead of the one in its place. */
  choose({ id }: TurnNode): void {
    if (!this.runs.isBusy.value) this.#change(chooseTurn(this.#chat, id));
  }

  /** Returns a link to the settings with the draft or the last prompt. */
  link(): string {
    const text = this.draft.value.trim() || (this.path.value.at(-1)?.turn.prompt ?? '');
    return new URL(this.settings.address(text), location.href).href;
  }

  /** Returns the call for the draft, or for the last turn, as code shows it. */
  asCall(): Pick<ApiCall, 'method' | 'path' | 'body'> {
    const { settings } = this;
    const text = this.draft.value.trim();
    const turns = this.path.value.map(({ turn }) => turn);
    const usable = turns.filter(({ answers }) => answers.some(isUsable));
    const prompt = text || (usable.pop()?.prompt ?? 'Hello!');
    const model = settings.models.value[0]!;
    const [path, body] = settings.isClassifier.value
      ? ['/classify', { input: prompt }]
      : ['/v1/chat/completions', settings.toBody(usable, { column: 0, model, prompt })];
    return { method: 'POST', path, body: { model, ...body } };
  }
}

/** The playground of this page. */
export const store = new Playground();

function modelsOf({ answers }: TurnNode): string[] {
  return answers.map(({ model }) => model);
}

/** Asks for the rest of a text. */
function continued({ messages, ...body }: ChatBody, content: string): ChatBody {
  return {
    ...body,
    messages: [...messages, { role: 'assistant', content }],
    continue_final_message: true,
    add_generation_prompt: false,
  };
}

/** The words that a screen reader says for an ended answer. */
function spokenOf({ text, calls, validity, problem }: Answer): string {
  const called = calls.map((call) => `calls ${call.name} with ${call.arguments}`);
  return [text, ...called, validity?.text, problem].filter(Boolean).join(', ');
}

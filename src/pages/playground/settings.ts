// The settings of the shown chat: models, system prompt and parameters, as typed and in the address.
import { computed, type Signal, signal } from '@preact/signals';
import type { Model, ModelList } from '../../contracts/openai.ts';
import { readModel, requestJson } from '../api.ts';
import {
  type Answer,
  type ChatBody,
  parseAddress,
  type Turn,
  toAddress,
  toMessages,
} from './chat.ts';
import { badEditor, EDITORS, PARAMETER_NAMES, type Typed, toParameters } from './parameters.ts';

/** More answers do not fit side by side, and each one occupies a slot of the server. */
export const MAX_COLUMNS = 4;

/** The settings of the chat on the page. */
export class Settings {
  readonly #draft: Signal<string>;
  /** The models as typed, one for each field. */
  readonly fields = signal<readonly string[]>(['']);
  readonly system = signal('');
  readonly typed = signal<Typed>({});
  readonly listed = signal<readonly Model[]>([]);
  /** The last first model that was read, as far as it could be. */
  readonly known = signal<Partial<Model>>({});
  /** Whether the models are known: from the user, a link, the stored chat or the list. */
  readonly areModelsChosen = signal(false);
  readonly isLoaded = signal(false);
  /** Wide windows have room for the settings next to the chat; on narrow ones they would push it down. */
  readonly isOpen = signal(matchMedia('(min-width: 60rem)').matches);
  /** Why the server refused the text of an editor. */
  readonly refusals = signal<Typed>({});
  /** The editor that gets the focus, because its text is not valid. A new object each time. */
  readonly faulty = signal<{ readonly name: string }>();
  /** The chosen models, one for each column. */
  readonly models = computed(() => {
    const [first = '', ...rest] = this.fields.value;
    return [first || 'base', ...rest.filter(Boolean)];
  });
  /** Whether the first model is a classifier, as far as is known. */
  readonly isClassifier = computed(
    () => this.known.value.id === this.models.value[0] && this.known.value.labels !== undefined,
  );

  /** Takes the settings in the address. `draft` gets the prompt of a link. */
  constructor(draft: Signal<string>) {
    this.#draft = draft;
    addEventListener('hashchange', () => {
      if (!location.hash.includes('=')) return; // the link to the content
      this.#fill(location.search + location.hash);
      void this.show();
    });
    if (this.isLink) this.#fill(location.search + location.hash);
  }

  /** Whether the address contains settings. */
  get isLink(): boolean {
    return location.search !== '' || location.hash.includes('=');
  }

  /** Returns the address of these settings with a prompt. */
  address(prompt = ''): string {
    const { models, system, typed } = this;
    return toAddress({
      models: models.value,
      system: system.value,
      prompt,
      parameters: typed.value,
    });
  }

  /** Whether the address names no models, or the ones of these settings. */
  fitsAddress(settings: string): boolean {
    const named = (address: string) => parseAddress(address, []).models.join();
    return !this.isLink || named(location.search) === named(settings);
  }

  /** Takes over a chat's settings. A new chat has none and keeps those on the page. */
  apply(settings: string): void {
    if (settings === '') return;
    this.#fill(settings);
    void this.show();
  }

  /** Without a prompt, a typed message stays. */
  #fill(address: string): void {
    const link = parseAddress(address, PARAMETER_NAMES);
    this.fields.value = link.models.length === 0 ? [''] : link.models.slice(0, MAX_COLUMNS);
    this.areModelsChosen.value ||= link.models.length > 0;
    this.system.value = link.system;
    this.typed.value = link.parameters;
    if (link.prompt !== '') this.#draft.value = link.prompt;
  }

  /** Shows the settings in the address. */
  showAddress(): void {
    history.replaceState(null, '', this.address());
  }

  /** Shows the settings in the address, and reads the first model. */
  async show(): Promise<void> {
    this.showAddress();
    const name = this.models.value[0]!;
    const model: Partial<Model> = await readModel(name);
    if (this.models.value[0] === name) this.known.value = { ...model, id: name };
  }

  /** Loads the list of models. If none is chosen when `restored` resolves, chooses an adapter and its base. */
  async load(restored: Promise<void>): Promise<void> {
    try {
      const { data } = await requestJson<ModelList>('v1/models');
      await restored;
      this.listed.value = data;
      if (!this.areModelsChosen.value) {
        const base = data.find(({ parent }) => parent === undefined)?.id ?? 'base';
        const adapters = data.filter(({ parent }) => parent !== undefined);
        const adapter = data.find(({ description }) => description) ?? adapters[0];
        this.fields.value = adapter ? [adapter.id, base] : [base];
      }
      this.areModelsChosen.value = true;
      await this.show();
    } finally {
      this.isLoaded.value = true;
    }
  }

  /** Takes the models that the user chose, one for each field. */
  choose(names: readonly string[]): void {
    this.fields.value = names;
    this.areModelsChosen.value = true;
    void this.show();
  }

  /** Takes parameters as typed. */
  type(values: Typed): void {
    this.refusals.value = {};
    const filled = Object.entries({ ...this.typed.value, ...values }).filter(([, one]) => one);
    this.typed.value = Object.fromEntries(filled);
  }

  /** Returns why the fields cannot be sent, after moving the focus to the first one at fault; undefined if they can. */
  fault(): string | undefined {
    const bad = badEditor(this.typed.value);
    if (!bad) return undefined;
    this.isOpen.value = true;
    this.faulty.value = { name: bad.name };
    return `The message was not sent: ${bad.phrase} under Settings is not valid. Correct or clear it.`;
  }

  /** Shows the server's reason next to the editor whose field it refused. */
  showRefusals(answers: readonly Answer[]): void {
    for (const { name } of EDITORS) {
      const refused = answers.find(({ param }) => /^\w+/.exec(param)?.[0] === name);
      if (!refused) continue;
      this.refusals.value = { ...this.refusals.value, [name]: refused.problem };
      this.isOpen.value = true;
    }
  }

  /** The body of a chat request, without the model. */
  toBody(
    before: readonly Turn[],
    request: { readonly column: number; readonly model: string; readonly prompt: string },
  ): ChatBody {
    const messages = toMessages(before, { ...request, system: this.system.value });
    return { messages, ...toParameters(this.typed.value) };
  }
}

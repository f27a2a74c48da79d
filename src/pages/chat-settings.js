// The playground's settings: models, system prompt and parameters, as fields and in the address. Shows what the first model
// is, and example prompts for an empty chat.
import { errorText, readModel, requestJson } from './api.js';
import { parseAddress, toAddress, toMessages } from './chat.js';
import { byId, el, fill, setText, showLoaded, showProblemIn } from './dom.js';
import { ModelFields } from './model-fields.js';
import {
  createParameterFields,
  PARAMETER_NAMES,
  readParameters,
  showDefaults,
  typedParameters,
  writeParameters,
} from './parameters.js';

const prompt = byId('prompt', HTMLTextAreaElement);
const system = byId('system', HTMLTextAreaElement);
/** The classes that are named above an empty chat. */
const MAX_LABELS = 12;

/** The adapters that are described above an empty chat. */
const MAX_DESCRIBED = 3;
const GENERAL_EXAMPLES = [
  'What is the capital of France?',
  'Explain photosynthesis in two sentences.',
  'Write a Python function that reverses a string.',
];

/** The settings of the chat on the page. */
export class ChatSettings {
  #fields;
  #onExample;
  /** The last requested model, and whether it is a classifier. Responses for other models are ignored. */
  #first = { name: '', isClassifier: false };
  /** The models with a description. @type {readonly import('../contracts/openai.ts').Model[]} */
  #described = [];
  /** Whether the models are known: from the user, a link, the stored chat or the list. */
  areModelsChosen = false;

  /** @param {(prompt: string) => void} onExample the user chose an example */
  constructor(onExample) {
    this.#onExample = onExample;
    this.#fields = new ModelFields(() => {
      this.areModelsChosen = true;
      void this.show();
    });
    createParameterFields(() => void this.show());
    addEventListener('hashchange', () => {
      if (!location.hash.includes('=')) return; // the link to the content
      this.#fill(location.search + location.hash);
      void this.show();
    });
    if (this.isLink) this.#fill(location.search + location.hash);
    if (this.areModelsChosen) showLoaded('settings');
  }

  /** The chosen models, one for each column. */
  get models() {
    return this.#fields.models;
  }

  /** Whether the first model is a classifier, as far as is known. */
  get isClassifier() {
    return this.#first.isClassifier;
  }

  /** Whether the address contains settings. */
  get isLink() {
    return location.search !== '' || location.hash.includes('=');
  }

  /** Returns the address of these settings with a prompt. @param {string} text */
  addressWith(text) {
    const { models } = this;
    return toAddress({ models, system: system.value, prompt: text, parameters: typedParameters() });
  }

  /** Takes over a chat's settings. A new chat has none and keeps those on the page. @param {string} address */
  apply(address) {
    if (address === '') return;
    this.#fill(address);
    void this.show();
  }

  /** Fills the fields; without a prompt, a typed message stays. @param {string} address */
  #fill(address) {
    const link = parseAddress(address, PARAMETER_NAMES);
    this.#fields.models = link.models;
    this.areModelsChosen ||= link.models.length > 0;
    system.value = link.system;
    writeParameters(link.parameters);
    if (link.prompt !== '') prompt.value = link.prompt;
  }

  /** Loads the list of models. If none is chosen when `restored` resolves, chooses an adapter and its base. @param {Promise<void>} restored */
  async load(restored) {
    try {
      /** @type {import('../contracts/openai.ts').ModelList} */
      const { data } = await requestJson('v1/models');
      await restored;
      this.#fields.setItems(
        data.map(({ id, parent, owned_by: owner }) => ({
          value: id,
          note: parent === undefined ? 'base' : owner,
        })),
      );
      this.#described = data.filter(({ description }) => description);
      if (!this.areModelsChosen) {
        const base = data.find(({ parent }) => parent === undefined)?.id ?? 'base';
        const adapter = this.#described[0] ?? data.find(({ parent }) => parent !== undefined);
        this.#fields.models = adapter ? [adapter.id, base] : [base];
      }
      this.areModelsChosen = true;
      showProblemIn(byId('problem'), '');
      await this.show();
    } catch (error) {
      showProblemIn(byId('problem'), errorText(error));
    }
    for (const id of ['settings', 'empty']) showLoaded(id);
  }

  /** Shows the settings in the address, and what fits them on the page. Resolves when the model's own text is shown, too. */
  async show() {
    const { models } = this;
    history.replaceState(null, '', this.addressWith(''));
    setText(byId('chosen'), models.join(', '));
    setText(
      byId('lead'),
      models.length > 1
        ? 'Ask an adapter and its base the same question, and see what the adapter has learned.'
        : 'Ask something, or start with one of these.',
    );
    await this.#showModel(/** @type {string} */ (models[0]));
  }

  /** @param {readonly string[]} texts */
  #showExamples(texts) {
    const buttons = texts.map((text) =>
      el('button.example', { onclick: () => this.#onExample(text) }, text),
    );
    fill(byId('examples'), ...buttons);
  }

  /** Describes the chosen model and others. @param {string} name @param {string | undefined} description */
  #showDescriptions(name, description) {
    const chosen = description ? [{ id: name, description }] : [];
    const all = [...chosen, ...this.#described.filter(({ id }) => id !== name)];
    const items = all
      .slice(0, MAX_DESCRIBED)
      .map(({ id, description }) => el('li', el('strong', id), ` ${description}`));
    fill(byId('described'), ...items);
  }

  /** Shows the defaults of the first model, or its classes if it is a classifier. @param {string} name */
  async #showModel(name) {
    this.#first = { name, isClassifier: false };
    const model = await readModel(name);
    if (this.#first.name !== name) return;
    const { labels, examples = [], description } = model;
    this.#first.isClassifier = labels !== undefined;
    showDefaults(model);
    this.#showExamples(examples.length > 0 || labels ? examples : GENERAL_EXAMPLES);
    this.#showDescriptions(name, description);
    prompt.placeholder = labels ? 'Text to classify' : 'Message';
    if (!labels) return;
    const names = labels.slice(0, MAX_LABELS).join(', ');
    const more = labels.length > MAX_LABELS ? `, and ${labels.length - MAX_LABELS} more` : '';
    setText(byId('lead'), `${name} sorts a text into a class${names && `: ${names}${more}`}.`);
  }

  /**
   * The body of a chat request, without the model.
   * @param {readonly import('./chat.js').Turn[]} before
   * @param {{ column: number, model: string, prompt: string }} request
   */
  toBody(before, request) {
    const messages = toMessages(before, { ...request, system: system.value });
    return { messages, ...readParameters() };
  }
}

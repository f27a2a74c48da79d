// One model's answer to one turn: streams it, shows it, and shows its speed and origin at the end.
import { ApiError, errorText, isAbort, readEventStream, readModel, request } from './api.js';
import { likelyClasses, newAnswer } from './chat.js';
import { el, fill, setText, showProblemIn } from './dom.js';
import { counted, duration } from './format.js';
import { MarkdownView } from './markdown.js';
import { watchRequest } from './request-state.js';
import { addCallDeltas, argumentsOf, checkAnswer, isJsonFormat } from './structured.js';
import { createTokenView, shareRow } from './token-view.js';
import { copyButton } from './widgets.js';

/** @typedef {import('./chat.js').Answer} Answer */

/** @type {Readonly<Record<string, string>>} */
const TIERS = { slot: 'an adapter slot', ram: 'memory', disk: 'disk', store: 'the store' };
/** @type {Readonly<Record<string, string>>} */
const FINISH_REASONS = {
  stop: 'finished',
  length: 'reached max tokens',
  tool_calls: 'waits for results',
};

/** An answer on the page. */
export class AnswerView {
  /** @type {AbortController | undefined} */
  #running;
  #text = el('div.text');
  #calls = el('div.calls');
  #classes = el('div.alternatives', { hidden: true });
  #problem = el('p.problem', { role: 'alert', hidden: true });
  #validity = el('p.validity', { hidden: true });
  #facts = el('p.facts');
  #actions = el('div.row');
  #onRetry;
  #isPlain;
  /** The animation frame that will show the received text. */
  #frame = 0;
  /** @type {(text: string) => void} */
  #showText = () => {};

  /**
   * @param {Answer} answer updated while it streams
   * @param {{ isPlain: boolean, onRetry: () => void }} options
   */
  constructor(answer, { isPlain, onRetry }) {
    this.answer = answer;
    this.#onRetry = onRetry;
    this.#isPlain = isPlain;
    this.element = el(
      'article.answer',
      { 'aria-label': `Answer of ${answer.model}` },
      el('div.answer-head', el('h3', answer.model), this.#actions),
      this.#text,
      this.#calls,
      this.#classes,
      this.#validity,
      this.#problem,
      this.#facts,
    );
    this.setPlain(isPlain);
    this.#showState();
  }

  /** Switches between plain text and Markdown. @param {boolean} isPlain */
  setPlain(isPlain) {
    this.#isPlain = isPlain;
    const { isJson } = this.answer;
    fill(this.#text);
    this.#text.classList.toggle('plain', isPlain || isJson);
    this.#text.classList.toggle('json', isJson);
    const markdown = new MarkdownView(this.#text);
    this.#showText =
      isPlain || isJson ? (text) => setText(this.#text, text) : (text) => markdown.show(text);
    this.#showContent();
  }

  stop() {
    this.#running?.abort();
  }

  /** Streams the answer. Resolves when it has ended, failed or was stopped. @param {import('./chat.js').ChatBody} body */
  async run(body) {
    const { answer } = this;
    Object.assign(answer, newAnswer(answer.model));
    this.#running = new AbortController();
    this.#showState();
    try {
      const { signal } = this.#running;
      const { labels, request_defaults: defaults } = await readModel(answer.model);
      answer.isJson = !labels && isJsonFormat(body['response_format'] ?? defaults?.response_format);
      this.setPlain(this.#isPlain);
      const facts = labels
        ? await this.#classify(body, labels, signal)
        : await this.#stream(body, signal);
      Object.assign(answer, { state: 'done', facts, validity: checkAnswer(answer) });
    } catch (error) {
      if (isAbort(error)) Object.assign(answer, { state: 'stopped', facts: ['stopped'] });
      else {
        const param = (error instanceof ApiError && error.param) || '';
        Object.assign(answer, { state: 'failed', problem: errorText(error), param });
      }
    }
    cancelAnimationFrame(this.#frame);
    this.#showContent();
    this.#showState();
  }

  /**
   * Sorts the prompt into a class. A classifier sees no earlier turns.
   * @param {import('./chat.js').ChatBody} body
   * @param {readonly string[]} labels
   * @param {AbortSignal} signal
   * @returns {Promise<string[]>} facts
   */
  async #classify({ messages }, labels, signal) {
    const { answer } = this;
    const json = { model: answer.model, input: messages.at(-1)?.content };
    const startMs = performance.now();
    const response = await request('classify', { json, signal });
    /** @type {import('../contracts/openai.ts').ClassificationList} */
    const { data } = await response.json();
    const [result] = data;
    answer.classes = result ? likelyClasses(result, labels) : [];
    answer.text = answer.classes[0]?.label ?? '';
    return [
      counted(result?.num_classes ?? 0, 'class', 'classes'),
      `after ${duration((performance.now() - startMs) / 1000)}`,
      ...originOf(response.headers),
    ];
  }

  /** @param {import('./chat.js').ChatBody} body @param {AbortSignal} signal @returns {Promise<string[]>} facts */
  async #stream(body, signal) {
    const { answer } = this;
    const stream = { stream: true, stream_options: { include_usage: true } };
    const json = { ...body, model: answer.model, ...stream };
    const startMs = performance.now();
    const watch = watchRequest((text) => setText(this.#facts, text));
    try {
      const { headers } = watch;
      const response = await request('v1/chat/completions', { json, headers, signal });
      return await this.#read(response, { startMs, onFirst: watch.stop });
    } finally {
      watch.stop();
    }
  }

  /**
   * Reads a stream into the answer.
   * @param {Response} response
   * @param {{ startMs: number, onFirst: () => void }} options
   * @returns {Promise<string[]>} facts
   */
  async #read(response, { startMs, onFirst }) {
    const { answer } = this;
    let firstMs = 0;
    let reason = '';
    let tokens = 0;
    for await (const { choices, usage } of readEventStream(/** @type {any} */ (response.body))) {
      const { content: piece, tool_calls: calls } = choices[0]?.delta ?? {};
      if (piece || calls) {
        if (firstMs === 0) this.#showFirst(onFirst);
        firstMs ||= performance.now();
        answer.text += piece ?? '';
        answer.calls = addCallDeltas(answer.calls, calls ?? []);
        this.#showContentSoon();
      }
      for (const token of choices[0]?.logprobs?.content ?? []) answer.logprobs.push(token);
      reason = choices[0]?.finish_reason ?? reason;
      tokens = usage?.completion_tokens ?? tokens;
    }
    const seconds = (performance.now() - firstMs) / 1000;
    return [
      counted(tokens, 'token'),
      ...(firstMs === 0 ? [] : [`first token after ${duration((firstMs - startMs) / 1000)}`]),
      ...(tokens > 1 && firstMs > 0 ? [`${Math.round((tokens - 1) / seconds)} tokens/s`] : []),
      FINISH_REASONS[reason] ?? reason,
      ...originOf(response.headers),
    ];
  }

  /** The answer begins, so it waits no more. @param {() => void} onFirst */
  #showFirst(onFirst) {
    onFirst();
    setText(this.#facts, '');
  }

  /** Shows text and calls once per frame, because tokens can come faster than the screen refreshes. */
  #showContentSoon() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#showContent());
  }

  #showContent() {
    const { text, calls, classes } = this.answer;
    this.#showText(text);
    this.#classes.hidden = classes.length === 0;
    const rows = classes.map(({ label, share }, i) => shareRow(label, share, i === 0));
    fill(this.#classes, ...rows);
    this.#text.hidden = text === '' && calls.length > 0;
    fill(
      this.#calls,
      ...calls.map((call) =>
        el(
          'figure.call',
          el('figcaption', 'Call of ', el('code', call.name)),
          el('pre', argumentsOf(call)),
        ),
      ),
    );
  }

  #showState() {
    const { state, text, calls, problem, facts, validity, logprobs } = this.answer;
    if (state === 'running') this.element.setAttribute('aria-busy', 'true');
    else this.element.removeAttribute('aria-busy');
    this.element.classList.toggle('failed', state === 'failed');
    showProblemIn(this.#problem, problem);
    const isEmpty = state === 'done' && text === '' && calls.length === 0;
    this.#validity.hidden = !validity;
    this.#validity.classList.toggle('bad', validity?.isValid === false);
    setText(this.#validity, validity?.text ?? '');
    setText(this.#facts, [...(isEmpty ? ['an empty answer'] : []), ...facts].join(' · '));
    fill(
      this.#actions,
      state === 'running' && this.#button('Stop', () => this.stop()),
      state === 'failed' && this.#button('Retry', this.#onRetry),
      logprobs.length > 0 && state !== 'running' && this.#tokensButton(),
      text !== '' && state !== 'running' && copyButton(() => this.answer.text, 'the answer'),
    );
  }

  /** @param {string} label @param {() => void} onclick */
  #button(label, onclick) {
    const name = `${label}: ${this.answer.model}`;
    return el('button.quiet.small', { 'aria-label': name, onclick }, label);
  }

  /** Creates the button that switches between text and tokens. */
  #tokensButton() {
    const button = this.#button('Tokens', () => {
      const isShown = this.#text.nextElementSibling?.className === 'token-view';
      if (isShown) this.#text.nextElementSibling?.remove();
      else this.#text.after(createTokenView(this.answer.logprobs));
      this.#text.hidden = !isShown;
      button.setAttribute('aria-pressed', String(!isShown));
    });
    button.setAttribute('aria-pressed', 'false');
    return button;
  }
}

/** The version that answered, and the tier that its adapter came from. @param {Headers} headers */
function originOf(headers) {
  const version = headers.get('x-lorikeet-version');
  const tier = headers.get('x-lorikeet-tier');
  return [...(version ? [version] : []), ...(tier ? [`adapter from ${TIERS[tier] ?? tier}`] : [])];
}

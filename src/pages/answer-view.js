// One model's answer to one turn: streams it, shows it, and shows its speed and origin at the end.
import { errorText, isAbort, readEventStream, request } from './api.js';
import { el, fill, setText, showProblemIn } from './dom.js';
import { counted, duration } from './format.js';
import { MarkdownView } from './markdown.js';
import { createTokenView } from './token-view.js';
import { copyButton } from './widgets.js';

/** @typedef {import('./chat.js').Answer} Answer */

/** @type {Readonly<Record<string, string>>} */
const TIERS = { slot: 'an adapter slot', ram: 'memory', disk: 'disk', store: 'the store' };
/** @type {Readonly<Record<string, string>>} */
const FINISH_REASONS = { stop: 'finished', length: 'reached max tokens' };

/** An answer on the page. */
export class AnswerView {
  /** @type {AbortController | undefined} */
  #running;
  #text = el('div.text');
  #problem = el('p.problem', { role: 'alert', hidden: true });
  #facts = el('p.facts');
  #actions = el('div.row');
  #onRetry;
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
    this.element = el(
      'article.answer',
      { 'aria-label': `Answer of ${answer.model}` },
      el('div.answer-head', el('h3', answer.model), this.#actions),
      this.#text,
      this.#problem,
      this.#facts,
    );
    this.setPlain(isPlain);
    this.#showState();
  }

  /** Switches between plain text and Markdown. @param {boolean} isPlain */
  setPlain(isPlain) {
    fill(this.#text);
    this.#text.classList.toggle('plain', isPlain);
    const markdown = new MarkdownView(this.#text);
    this.#showText = isPlain ? (text) => setText(this.#text, text) : (text) => markdown.show(text);
    this.#showText(this.answer.text);
  }

  stop() {
    this.#running?.abort();
  }

  /** Streams the answer. Resolves when it has ended, failed or was stopped. @param {Readonly<Record<string, unknown>>} body */
  async run(body) {
    const { answer } = this;
    Object.assign(answer, { text: '', state: 'running', facts: [], problem: '', logprobs: [] });
    this.#running = new AbortController();
    this.#showText('');
    this.#showState();
    try {
      const facts = await this.#stream(body, this.#running.signal);
      Object.assign(answer, { state: 'done', facts });
    } catch (error) {
      if (isAbort(error)) Object.assign(answer, { state: 'stopped', facts: ['stopped'] });
      else Object.assign(answer, { state: 'failed', problem: errorText(error) });
    }
    cancelAnimationFrame(this.#frame);
    this.#showText(answer.text);
    this.#showState();
  }

  /** @param {Readonly<Record<string, unknown>>} body @param {AbortSignal} signal @returns {Promise<string[]>} facts */
  async #stream(body, signal) {
    const { answer } = this;
    const stream = { stream: true, stream_options: { include_usage: true } };
    const json = { ...body, model: answer.model, ...stream };
    const startMs = performance.now();
    const response = await request('v1/chat/completions', { json, signal });
    let firstMs = 0;
    let reason = '';
    let tokens = 0;
    for await (const { choices, usage } of readEventStream(/** @type {any} */ (response.body))) {
      const piece = choices[0]?.delta.content;
      if (piece) {
        firstMs ||= performance.now();
        answer.text += piece;
        this.#showTextSoon();
      }
      answer.logprobs.push(...(choices[0]?.logprobs?.content ?? []));
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

  /** Shows the text once per frame, because tokens can come faster than the screen refreshes. */
  #showTextSoon() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#showText(this.answer.text));
  }

  #showState() {
    const { state, text, problem, facts, logprobs } = this.answer;
    if (state === 'running') this.element.setAttribute('aria-busy', 'true');
    else this.element.removeAttribute('aria-busy');
    this.element.classList.toggle('failed', state === 'failed');
    showProblemIn(this.#problem, problem);
    const isEmpty = state === 'done' && text === '';
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

// One model's answer to one turn: its stream, its text as it comes, and what is known of it in the end.
import { errorText, isAbort, request } from './api.js';
import { el, say } from './dom.js';
import { counted, duration } from './format.js';
import { readFrames } from './sse.js';

/** @typedef {{ role: 'system' | 'user' | 'assistant', content: string }} Message */

/** @type {Readonly<Record<string, string>>} */
const TIERS = { slot: 'its slot', ram: 'memory', disk: 'disk', store: 'the store' };
/** @type {Readonly<Record<string, string>>} */
const ENDS = { stop: 'ended by itself', length: 'cut at the limit' };

export class Lane {
  /** As far as it came. */
  text = '';
  #box;
  #text;
  #facts;
  /** @type {string[]} */
  #known = [];

  /** @param {string} model */
  constructor(model) {
    this.model = model;
    this.#text = el('div', { className: 'text' });
    this.#facts = el('p', { className: 'facts' });
    this.#box = el(
      'article',
      { className: 'answer', 'aria-label': `Answer of ${model}` },
      el('h3', {}, model),
      this.#text,
      this.#facts,
    );
  }

  get element() {
    return this.#box;
  }

  /**
   * Streams the answer; what goes wrong is shown in its place. Resolves at the end, stopped or not.
   * @param {Readonly<Record<string, unknown>>} body
   * @param {AbortSignal} signal
   */
  async run(body, signal) {
    this.#box.setAttribute('aria-busy', 'true');
    try {
      await this.#stream(body, signal);
    } catch (error) {
      if (isAbort(error)) this.#known.push('stopped');
      else this.#box.append(el('p', { className: 'problem', role: 'alert' }, errorText(error)));
    } finally {
      this.#box.removeAttribute('aria-busy');
      say(this.#facts, this.#known.join(' · '));
    }
  }

  /** @param {Readonly<Record<string, unknown>>} body @param {AbortSignal} signal */
  async #stream(body, signal) {
    const json = {
      ...body,
      model: this.model,
      stream: true,
      stream_options: { include_usage: true },
    };
    const startMs = performance.now();
    const response = await request('v1/chat/completions', { json, signal });
    this.#known.push(...origin(response.headers));
    const stream = /** @type {ReadableStream<Uint8Array>} */ (response.body);
    const node = document.createTextNode('');
    this.#text.append(node);
    let firstMs = 0;
    let reason = '';
    for await (const { choices, usage } of readFrames(stream)) {
      const piece = choices[0]?.delta.content;
      if (piece) {
        firstMs ||= performance.now();
        this.text += piece;
        node.appendData(piece);
      }
      reason = choices[0]?.finish_reason ?? reason;
      if (usage) this.#tell(usage.completion_tokens, { startMs, firstMs });
    }
    this.#known.push(ENDS[reason] ?? reason);
  }

  /** @param {number} tokens @param {{ startMs: number, firstMs: number }} times */
  #tell(tokens, { startMs, firstMs }) {
    this.#known.push(counted(tokens, 'token'));
    if (firstMs === 0) return;
    this.#known.push(`first after ${duration((firstMs - startMs) / 1000)}`);
    const seconds = (performance.now() - firstMs) / 1000;
    if (tokens > 1 && seconds > 0)
      this.#known.push(`${Math.round((tokens - 1) / seconds)} tokens/s`);
  }
}

/** Which version answered, and where it was found. @param {Headers} headers */
function origin(headers) {
  const version = headers.get('x-lorikeet-version');
  const tier = headers.get('x-lorikeet-tier');
  return [...(version ? [version] : []), ...(tier ? [`adapter from ${TIERS[tier] ?? tier}`] : [])];
}

// The samples of a job that learns from rewards: of one step some prompts, with their completions from the best to the worst.
import { errorText, isAbort, requestJson } from './api.js';
import { byId, el, fill, keepFocus, setText } from './dom.js';
import { count, counted, figure } from './format.js';
import { faultText } from './grader.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJobSamples} Samples */
/** @typedef {Samples['prompts'][number]} Prompt */
/** @typedef {Prompt['completions'][number]} Completion */

/** Browses the samples of one job. */
export class SampleBrowser {
  #id;
  #slider = byId('sample-step', HTMLInputElement);
  /** The step that the user has chosen; undefined: the newest. @type {number | undefined} */
  #chosen;
  /** The newest step with samples. */
  #newest = 0;
  /** @type {Samples | undefined} */
  #shown;
  #reading = new AbortController();
  #listeners = new AbortController();

  /** @param {string} jobId */
  constructor(jobId) {
    this.#id = jobId;
    const { signal } = this.#listeners;
    this.#slider.addEventListener('input', () => void this.#choose(this.#slider.valueAsNumber), {
      signal,
    });
    byId('sample-earlier').addEventListener('click', () => void this.#earlier(), { signal });
    byId('sample-later').addEventListener('click', () => void this.#later(), { signal });
    byId('samples-section').hidden = true;
    fill(byId('samples'));
  }

  /** Stops listening to the controls, which the next job's samples use. */
  leave() {
    this.#listeners.abort();
    this.#reading.abort();
  }

  /** Reads the newest samples, and shows them unless the user has chosen a step. */
  async update() {
    const newest = await this.#read(Number.POSITIVE_INFINITY);
    this.#newest = newest?.step ?? 0;
    if (this.#chosen === undefined) this.#show(newest);
    this.#showControls();
  }

  /** Returns the samples of the newest recorded step up to this one. @param {number} step @param {AbortSignal} [signal] @returns {Promise<Samples | undefined>} */
  async #read(step, signal) {
    const after = Number.isFinite(step) ? `&after=${step + 1}` : '';
    const path = `v1/fine_tuning/jobs/${encodeURIComponent(this.#id)}/samples?limit=1${after}`;
    /** @type {{ data: Samples[] }} */
    const { data } = await requestJson(path, { signal });
    return data[0];
  }

  /** @param {number} step */
  async #choose(step) {
    this.#chosen = step < this.#newest ? step : undefined;
    this.#reading.abort();
    this.#reading = new AbortController();
    try {
      this.#show(await this.#read(step, this.#reading.signal));
    } catch (error) {
      if (!isAbort(error)) setText(byId('sample-label'), errorText(error));
      return;
    }
    this.#showControls();
  }

  async #earlier() {
    if (this.#shown) await this.#choose(this.#shown.step - 1);
  }

  /** Looks for the next step further and further away, because only every n-th step of a long job is recorded. */
  async #later() {
    const from = this.#shown?.step ?? 0;
    for (let gap = 1; this.#shown?.step === from && from < this.#newest; gap *= 2) {
      await this.#choose(Math.min(from + gap, this.#newest));
    }
  }

  #showControls() {
    const { step = 0 } = this.#shown ?? {};
    this.#slider.max = String(Math.max(1, this.#newest));
    this.#slider.value = String(step);
    this.#slider.setAttribute('aria-valuetext', `Step ${step}`);
    this.#slider.disabled = this.#newest <= 1;
    byId('sample-earlier', HTMLButtonElement).disabled = step <= 1;
    byId('sample-later', HTMLButtonElement).disabled = step >= this.#newest;
    if (document.activeElement?.matches('.stepper :disabled')) this.#slider.focus();
    const isFollowing = this.#chosen === undefined && step > 0;
    const newest = isFollowing ? ', the newest' : ` of ${count(this.#newest)}`;
    setText(byId('sample-label'), step === 0 ? 'No samples yet' : `Step ${count(step)}${newest}`);
  }

  /** @param {Samples | undefined} samples */
  #show(samples) {
    const isSame = samples?.step === this.#shown?.step;
    this.#shown = samples;
    byId('samples-section').hidden = false;
    if (isSame) return;
    const area = byId('samples');
    const open = [...area.querySelectorAll('details')].map((details) => details.open);
    const parts = (samples?.prompts ?? []).map((prompt, i) =>
      toPrompt(prompt, i, open[i] ?? i === 0),
    );
    keepFocus(
      area,
      () => fill(area, ...parts),
      () => this.#slider,
    );
  }
}

/** @param {Prompt} prompt @param {number} index @param {boolean} open */
function toPrompt({ text, completions }, index, open) {
  const rewards = completions.map(({ reward }) => reward);
  const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length;
  const sorted = rewards.toSorted((a, b) => a - b);
  const range = `${figure(sorted[0] ?? 0)} to ${figure(sorted.at(-1) ?? 0)}`;
  return el(
    'details.more',
    { open },
    el(
      'summary',
      { id: `sample-prompt-${index}` },
      `Prompt ${index + 1}: `,
      el('strong', `mean reward ${figure(mean)}`),
      el('span.help', ` ${range}`),
    ),
    el('pre.example', { tabIndex: 0, role: 'group', 'aria-label': `Prompt ${index + 1}` }, text),
    el('ol.samples', ...merged(completions).map(toCompletion)),
  );
}

/** Equal completions become one with their number. The best come first. @param {readonly Completion[]} completions */
function merged(completions) {
  /** @type {Map<string, { completion: Completion, times: number }>} */
  const byContent = new Map();
  for (const completion of completions) {
    const key = JSON.stringify(completion);
    const times = (byContent.get(key)?.times ?? 0) + 1;
    byContent.set(key, { completion, times });
  }
  return [...byContent.values()].sort((a, b) => b.completion.reward - a.completion.reward);
}

/** @param {{ completion: Completion, times: number }} sample */
function toCompletion({ completion, times }) {
  const { text, tokens, finish, reward, parts, error } = completion;
  const scores = Object.entries(parts);
  const facts = [
    ...(scores.length > 1 ? scores.map(([name, score]) => `${name} ${figure(score)}`) : []),
    counted(tokens, 'token') + (finish === 'length' ? ', cut off' : ''),
    ...(times > 1 ? [`${times} times`] : []),
  ];
  return el(
    'li',
    el('strong', figure(reward)),
    el(
      'div',
      el(
        'pre',
        { tabIndex: 0, role: 'group', 'aria-label': `Reward ${figure(reward)}` },
        text || ' ',
      ),
      el('span.help', facts.join(' · ')),
      error !== undefined && el('span.problem', faultText(error)),
    ),
  );
}

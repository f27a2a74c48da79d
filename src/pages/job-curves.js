// A job's events as curves and notes: steps in order, each once. Pure.

/** @typedef {import('../contracts/openai.ts').FineTuningJobEvent} JobEvent */
/** @typedef {Readonly<Record<string, unknown>>} Metrics */

export class Told {
  /** By id. @type {Map<string, JobEvent>} */
  #events = new Map();
  /** By step; the server tells each once. @type {Map<number, Metrics>} */
  #steps = new Map();

  /** @param {readonly JobEvent[]} events in any order */
  add(events) {
    for (const event of events) {
      this.#events.set(event.id, event);
      const { step } = event.data;
      if (event.type === 'metrics' && typeof step === 'number') this.#steps.set(step, event.data);
    }
  }

  /** @param {string} id */
  has(id) {
    return this.#events.has(id);
  }

  get count() {
    return this.#events.size;
  }

  /** Newest first: their ids grow. @returns {JobEvent[]} */
  events() {
    return [...this.#events.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  /** Steps, then a curve for each key; null: not measured. @param {readonly string[]} keys */
  points(keys) {
    const steps = [...this.#steps].sort(([a], [b]) => a - b);
    const curves = keys.map((key) =>
      steps.map(([, metrics]) => {
        const value = metrics[key];
        return typeof value === 'number' && Number.isFinite(value) ? value : null;
      }),
    );
    return /** @type {import('./chart.js').Points} */ ([steps.map(([step]) => step), ...curves]);
  }

  /** Of the newest step. @returns {Metrics | undefined} */
  last() {
    return this.#steps.get(Math.max(...this.#steps.keys()));
  }

  /** Of one step. @param {number} step @returns {Metrics | undefined} */
  at(step) {
    return this.#steps.get(step);
  }

  /** Of the newest step that was followed by a validation. @returns {Metrics | undefined} */
  lastValidated() {
    const steps = [...this.#steps].filter(([, { full_valid_loss: loss }]) => loss !== undefined);
    return steps.sort(([a], [b]) => b - a)[0]?.[1];
  }

  /** What was warned of, each once, the newest first. */
  warnings() {
    const warned = this.events().filter(({ level }) => level === 'warn');
    const newest = new Map(
      warned.toReversed().map((event) => [String(event.data['code'] ?? event.message), event]),
    );
    return [...newest.values()].reverse();
  }
}

/**
 * One curve of each job over the steps of all.
 * @param {readonly Told[]} told
 * @param {string} key
 * @returns {import('./chart.js').Points}
 */
export function overlay(told, key) {
  const curves = told.map((one) => {
    const [steps, values] = one.points([key]);
    return new Map(steps.map((step, i) => [step, values?.[i] ?? null]));
  });
  const steps = [...new Set(curves.flatMap((curve) => [...curve.keys()]))].sort((a, b) => a - b);
  return [steps, ...curves.map((curve) => steps.map((step) => curve.get(step) ?? null))];
}

// Parses Prometheus's text format, as /metrics has it.

/** @typedef {{ labels: Readonly<Record<string, string>>, value: number }} Sample */
/** Samples by metric name. @typedef {ReadonlyMap<string, readonly Sample[]>} Samples */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
/** @type {Readonly<Record<string, string>>} */
const ESCAPES = { n: '\n', '"': '"', '\\': '\\' };

/** Parses the answer of /metrics. @param {string} text @returns {Samples} */
export function parsePrometheus(text) {
  /** @type {Map<string, Sample[]>} */
  const samples = new Map();
  for (const line of text.split('\n')) {
    const [, name, labels = '', value] = LINE.exec(line) ?? [];
    if (name === undefined) continue; // a comment
    const sample = {
      labels: parseLabels(labels),
      value: Number(value?.replace('Inf', 'Infinity')),
    };
    const others = samples.get(name);
    if (others) others.push(sample);
    else samples.set(name, [sample]);
  }
  return samples;
}

/** @param {string} text */
function parseLabels(text) {
  return Object.fromEntries(
    [...text.matchAll(LABEL)].map(([, name, value = '']) => [
      name,
      value.replace(/\\(.)/g, (_, char) => ESCAPES[char] ?? char),
    ]),
  );
}

/**
 * Sums all samples that have these labels; undefined if there are none.
 * @param {Samples} samples
 * @param {string} name
 * @param {Readonly<Record<string, string>>} [labels]
 */
export function total(samples, name, labels = {}) {
  const wanted = Object.entries(labels);
  const matches = (samples.get(name) ?? []).filter((sample) =>
    wanted.every(([label, value]) => sample.labels[label] === value),
  );
  return matches.length === 0 ? undefined : matches.reduce((sum, { value }) => sum + value, 0);
}

/**
 * Estimates a quantile of a histogram between two readings, as Prometheus does: values are spread evenly in a bucket.
 * @param {{ name: string, before: Samples | undefined, after: Samples, quantile: number }} options before: absent for everything
 *   since the start
 * @returns {number | undefined} undefined if nothing was counted
 */
export function quantileBetween({ name, before, after, quantile }) {
  const counts = bucketsOf(after, name);
  const earlier = before ? bucketsOf(before, name) : new Map();
  const buckets = [...counts]
    .map(([bound, value]) => ({ bound, value: value - (earlier.get(bound) ?? 0) }))
    .sort((a, b) => a.bound - b.bound);
  const all = buckets.at(-1)?.value ?? 0;
  if (all <= 0) return undefined;
  const rank = quantile * all;
  const at = buckets.findIndex(({ value }) => value >= rank);
  const { bound = 0, value = 0 } = buckets[at] ?? {};
  const below = buckets[at - 1] ?? { bound: 0, value: 0 };
  if (bound === Number.POSITIVE_INFINITY) return below.bound;
  const share = value === below.value ? 1 : (rank - below.value) / (value - below.value);
  return below.bound + (bound - below.bound) * share;
}

/** Returns the cumulative counts by upper bound. @param {Samples} samples @param {string} name */
function bucketsOf(samples, name) {
  /** @type {Map<number, number>} */
  const buckets = new Map();
  for (const { labels, value } of samples.get(`${name}_bucket`) ?? []) {
    const bound = Number(labels['le']?.replace('+Inf', 'Infinity'));
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  return buckets;
}

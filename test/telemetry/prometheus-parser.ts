// Reads Prometheus's text format strictly: what the text must be, written apart from the writer. Throws on what the
// format forbids: a sample before its TYPE, a family in two places, a series twice, buckets that fall.

interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface ParsedFamily {
  type: string;
  help: string;
  samples: Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;

export function parsePrometheusText(text: string): Map<string, ParsedFamily> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, ParsedFamily>();
  const seen = new Set<string>();
  let current: [string, ParsedFamily] | undefined;
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment?.[1] === 'HELP') {
      if (families.has(comment[2]!)) throw new Error(`${comment[2]} is in two places`);
      const family = { type: '', help: comment[3]!, samples: [] };
      families.set(comment[2]!, family);
      current = [comment[2]!, family];
    } else if (comment) {
      if (!current || current[0] !== comment[2]) throw new Error(`${line}: misplaced`);
      current[1].type = comment[3]!;
    } else {
      const sample = parseSample(line);
      if (!current || !belongs(sample.name, current)) throw new Error(`misplaced: ${line}`);
      const key = JSON.stringify([sample.name, Object.entries(sample.labels).sort()]);
      if (seen.has(key)) throw new Error(`twice: ${line}`);
      seen.add(key);
      current[1].samples.push(sample);
    }
  }
  for (const [name, family] of families)
    if (family.type === 'histogram') checkBuckets(name, family);
  return families;
}

function parseSample(line: string): Sample {
  const match = /^([^{ ]+)(?:\{(.*)\})? (\S+)$/.exec(line);
  if (!match || !NAME.test(match[1]!)) throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  const inner = match[2] ?? '';
  for (LABEL.lastIndex = 0; LABEL.lastIndex < inner.length; ) {
    const label = LABEL.exec(inner);
    if (!label) throw new Error(`no labels: ${line}`);
    labels[label[1]!] = label[2]!.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
  }
  const value = match[3] === '+Inf' ? Number.POSITIVE_INFINITY : Number(match[3]);
  if (Number.isNaN(value)) throw new Error(`no number: ${line}`);
  return { name: match[1]!, labels, value };
}

function belongs(name: string, [family, { type }]: [string, ParsedFamily]): boolean {
  if (type !== 'histogram') return name === family;
  return [`${family}_bucket`, `${family}_sum`, `${family}_count`].includes(name);
}

function checkBuckets(name: string, { samples }: ParsedFamily): void {
  const series = new Map<string, number[]>();
  for (const { name: own, labels, value } of samples) {
    const { le, ...rest } = labels;
    const key = JSON.stringify(rest);
    const values = series.get(key) ?? [];
    series.set(key, values);
    if (own === `${name}_sum`) continue;
    if (own.endsWith('_bucket') && le === undefined)
      throw new Error(`${name}: a bucket has no bound`);
    if (value < (values.at(-1) ?? 0)) throw new Error(`${name}: buckets fall`);
    values.push(value); // the count comes last and equals the bucket of infinity
  }
  for (const values of series.values()) {
    if (values.at(-1) !== values.at(-2))
      throw new Error(`${name}: the count is not the last bucket`);
  }
}

// `npm run bench:schemas -- DIR`: MaskBench, real schemas with valid and invalid instances. DIR is `maskbench/data` of a checkout
// of github.com/guidance-ai/jsonschemabench. A schema passes if every valid instance can be written and no invalid one can.
// Prints the table next to MaskBench's own results of other engines, and the reasons of refusals. Arguments:
// --model DIR (its tokenizer; default: the toy base's)  --every N (each Nth schema)  --closed (undeclared properties are left
// out, as without `lorikeet.additional_properties`)  --quick (byte by byte, without masks)  --out FILE (one line per schema; a
// run that was stopped continues there)  --minutes N (stops then, after a random part of the schemas)
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { CompiledConstraint, Constraint } from '../../src/contracts/generation.ts';
import { found } from '../../src/grammar/automaton.ts';
import { automatonOf, compileConstraint } from '../../src/grammar/constraint.ts';
import { GrammarError } from '../../src/grammar/grammar-error.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { type Instance, parseCase } from './maskbench-case.ts';
import { processorLine } from './processor.ts';
import { quantile } from './quantile.ts';

const TOY = path.dirname(fileURLToPath(import.meta.resolve('#models/toy/lorikeet.json')));

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', default: TOY },
    every: { type: 'string', default: '1' },
    closed: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    out: { type: 'string' },
    minutes: { type: 'string' },
  },
});

/** MaskBench's results of 2025-03-27: passed, refused, with a rejected valid instance, with an accepted invalid one. */
const PEERS: Readonly<Record<string, readonly number[]>> = {
  'LLGuidance 0.7.10': [8909, 2377, 20, 0],
  'XGrammar 0.1.17': [8122, 90, 1408, 1368],
  'Outlines 0.2.3': [7050, 1773, 1415, 822],
  'llama.cpp (0.3.8)': [6505, 1301, 2850, 649],
};
/** The server's limit, after which a constraint is refused. */
const DEADLINE_MS = 4000;

interface Outcome {
  readonly name: string;
  readonly kind: 'passed' | 'refused' | 'rejected' | 'accepted';
  readonly detail?: string;
  readonly compileMs?: number;
}

const [folder] = positionals;
if (folder === undefined) throw new Error('Name the folder maskbench/data of a checkout.');
const tokenizer = await loadTokenizer(options.model);
if (!tokenizer) throw new Error(`${options.model} has no tokenizer.`);
const grammars = new Grammars(tokenizer, tokenizer.vocabSize);
/** The time of each mask: of a new schema, and of a text that was written before. */
const maskMs = { first: [] as number[], again: [] as number[] };

/** Whether an instance can be written. Measures its masks. */
function canWrite(compiled: CompiledConstraint, { text }: Instance): boolean {
  if (options.quick) return writable(compiled, text) > text.length;
  return followMasks(compiled, text, maskMs.first) && followMasks(compiled, text, maskMs.again);
}

function followMasks(compiled: CompiledConstraint, text: string, times: number[]): boolean {
  const matcher = grammars.createMatcher(compiled);
  for (const id of tokenizer!.encodeInside(text)) {
    const before = process.cpuUsage();
    const allowed = matcher.allowed();
    const { user, system } = process.cpuUsage(before);
    times.push((user + system) / 1000);
    if (((allowed[id >> 5]! >>> (id & 31)) & 1) === 0) return false;
    matcher.accept(id);
  }
  return matcher.canEnd;
}

/** Returns the length of the longest part of a text that can be written; more than its length if it may end there. */
function writable(compiled: CompiledConstraint, text: string): number {
  const automaton = automatonOf(compiled);
  let state = automaton.start;
  let length = 0;
  for (const character of text) {
    const next = found(automaton.stepAll(state, Buffer.from(character), { visits: 0 }));
    if (!next) return length;
    state = next;
    length += character.length;
  }
  return state.canEnd ? length + 1 : length;
}

function judge(name: string): Outcome {
  const { schema, instances } = parseCase(readFileSync(path.join(folder!, name), 'utf8'));
  const constraint: Constraint = options.closed
    ? { kind: 'json_schema', schema }
    : { kind: 'json_schema', schema, isOpen: true, isUnordered: true, isUntyped: true };
  const before = process.cpuUsage();
  try {
    const compiled = compileConstraint(constraint);
    // CPU time, because other work on the machine would dominate the tail.
    const { user, system } = process.cpuUsage(before);
    const compileMs = (user + system) / 1000;
    if (compileMs > DEADLINE_MS) return { name, kind: 'refused', detail: 'takes too long' };
    const wrong = (isValid: boolean) =>
      instances.findIndex((one) => one.isValid === isValid && canWrite(compiled, one) !== isValid);
    const [rejected, accepted] = [wrong(true), wrong(false)];
    if (accepted >= 0) return { name, kind: 'accepted', detail: `#${accepted}`, compileMs };
    if (rejected >= 0) {
      const { text } = instances[rejected]!;
      const length = writable(compiled, text);
      const detail = `#${rejected} ${text.slice(0, length)} >>> ${text.slice(length)}`;
      return { name, kind: 'rejected', detail, compileMs };
    }
    return { name, kind: 'passed', compileMs };
  } catch (error) {
    if (!(error instanceof GrammarError)) throw new Error(name, { cause: error });
    return { name, kind: 'refused', detail: `${error.path} ${error.message}` };
  }
}

/** The reason of a refusal: its keyword and its message, without the place. */
function reasonOf(detail = ''): string {
  const [place = '', ...message] = detail.split(' ');
  const keyword = place.split('/').findLast((part) => /^[$a-zA-Z]/.test(part)) ?? place;
  return `${keyword}: ${message.join(' ').replaceAll(/\d+|"[^"]*"/g, '…')}`;
}

function quantiles(values: readonly number[]): string {
  if (values.length === 0) return 'not measured';
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const shares = [0.5, 0.95, 0.99, 1].map((share) => quantile(values, share));
  return [mean, ...shares].map((value) => value.toFixed(2)).join(' | ');
}

const all = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .sort()
  .filter((_, i) => i % Number(options.every) === 0);
/** In this order, any first part of the schemas is a random one. */
const rank = (name: string) => createHash('sha256').update(name).digest('hex');
const names = all
  .map((name) => [rank(name), name])
  .sort()
  .map(([, name]) => name!);
const before =
  options.out && existsSync(options.out) ? readFileSync(options.out, 'utf8').split('\n') : [];
const outcomes = before.filter(Boolean).map((line) => JSON.parse(line) as Outcome);
const isKnown = new Set(outcomes.map(({ name }) => name));
const deadline = Date.now() + Number(options.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
for (const name of names.filter((one) => !isKnown.has(one))) {
  if (Date.now() > deadline) break;
  const outcome = judge(name);
  outcomes.push(outcome);
  if (options.out) appendFileSync(options.out, `${JSON.stringify(outcome)}\n`);
}
const count = (kind: Outcome['kind']) => outcomes.filter((outcome) => outcome.kind === kind).length;
const ours = [count('passed'), count('refused'), count('rejected'), count('accepted')];
const reasons = new Map<string, number>();
for (const { kind, detail } of outcomes) {
  if (kind !== 'refused') continue;
  const reason = reasonOf(detail);
  reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
}
const compileMs = outcomes.flatMap((outcome) => outcome.compileMs ?? []);
const lines = [
  `${processorLine()}, ${outcomes.length} of ${names.length} schemas`,
  '',
  '| engine | passed | refused | a valid instance rejected | an invalid one accepted |',
  '|---|---:|---:|---:|---:|',
  ...[['lorikeet', ours] as const, ...Object.entries(PEERS)].map(
    ([engine, counts]) =>
      `| ${engine} | ${counts.map((n) => n.toLocaleString('en')).join(' | ')} |`,
  ),
  '',
  '| ms of CPU time | mean | p50 | p95 | p99 | max |',
  '|---|---:|---:|---:|---:|---:|',
  `| compile | ${quantiles(compileMs)} |`,
  `| mask | ${quantiles(maskMs.first)} |`,
  `| mask of a text written before | ${quantiles(maskMs.again)} |`,
  '',
  '| reason of a refusal | schemas |',
  '|---|---:|',
  ...[...reasons].sort(([, a], [, b]) => b - a).map(([reason, n]) => `| ${reason} | ${n} |`),
];
process.stdout.write(`${lines.join('\n')}\n`);

// Shows a job's plan: figures, warnings and the first examples. If the file has invalid lines, shows those instead.
import { definitions, el, fill, problemText } from './dom.js';
import { count, counted, durationRange, figure, percent, size } from './format.js';

/** @typedef {import('../contracts/management-api.ts').FineTuningPlan} Plan */
/** @typedef {{ number: number, fault: string, text: string }} InvalidLine */

/** @type {Readonly<Record<string, string>>} */
const METHODS = { qlora: 'QLoRA', lora: 'LoRA', full: 'Full fine-tuning' };

/** A batch may have 256 examples. */
const MAX_EXAMPLES = 4;
/** A classifier may have 1,024 classes. */
const MAX_CLASSES = 20;
/** The characters shown of a long line. */
const MAX_LINE = 400;
const LINE_FAULT = /Line (\d+): ([\s\S]*?)(?=\.? Line \d+: |\.?$)/g;

/** Shows a plan. @param {HTMLElement} parent @param {Plan} plan */
export function showPlan(parent, plan) {
  const { first_batch: examples, warnings, labels } = plan;
  fill(
    parent,
    el(
      'p.lead',
      `${counted(plan.examples, 'example')}, all lines valid. `,
      el('strong', timeText(plan)),
      ` and ${size(plan.memory_bytes)} of memory.`,
    ),
    el('dl.pairs', ...definitions(toFigures(plan))),
    warnings.length > 0 && el('h3', 'Before you start'),
    ...warnings.map(({ message }) => el('p.warning', message)),
    examples.length > 0 &&
      el(
        'h3',
        isRewarded(plan) ? 'The first prompts' : 'What the model learns from the first examples',
      ),
    ...examples.slice(0, MAX_EXAMPLES).map(toExample),
    examples.length > 0 &&
      !isRewarded(plan) &&
      (labels
        ? el('p.help', 'The model learns the ', el('mark', 'marked'), ' class of each text.')
        : el(
            'p.help',
            'The model is trained on ',
            el('mark', 'marked'),
            ' tokens. The rest is context.',
          )),
  );
  scrollToMarks(parent);
}

/** Whether the examples are prompts, of which the model learns nothing by themselves. @param {Plan} plan */
function isRewarded({ hyperparameters }) {
  return hyperparameters.compute_multiplier !== undefined;
}

/** @param {Plan} plan */
function timeText({ seconds_range: [from = 0, to = 0] }) {
  const text = durationRange(from, to);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Scrolls long examples to the first marked token. @param {HTMLElement} parent */
function scrollToMarks(parent) {
  for (const example of parent.querySelectorAll('pre')) {
    const mark = example.querySelector('mark');
    if (mark) example.scrollTop = mark.offsetTop - example.clientHeight / 2;
  }
}

/** @param {Plan} plan */
function toFigures(plan) {
  const { truncated, duplicates, validation_examples: validation, labels } = plan;
  const method = METHODS[plan.method] ?? plan.method;
  /** @type {[name: string, text: string][]} */
  const figures = [
    ['Steps', `${count(plan.total_steps)}, ${count(plan.steps_per_epoch)} per epoch`],
    [
      'Tokens',
      labels
        ? `${count(plan.tokens)} per epoch`
        : isRewarded(plan)
          ? `${count(plan.tokens)} in the prompts of an epoch`
          : `${count(plan.tokens)} per epoch, ${percent(1 - plan.masked_share)} of them trained on`,
    ],
    ['Max length', counted(plan.max_length, 'token')],
  ];
  if (labels) figures.push(['Classes', classesText(labels)]);
  if (truncated > 0) figures.push(['Truncated', counted(truncated, 'example')]);
  if (duplicates > 0) figures.push(['Duplicates', counted(duplicates, 'example')]);
  figures.push(
    ['Validation', validation > 0 ? counted(validation, 'example') : 'none'],
    ['Method', `${method}, ${count(plan.trained_parameters)} trainable parameters`],
    ['Arithmetic', plan.compute],
    ['Learning rate', `${figure(plan.learning_rate)} at its peak`],
  );
  return figures;
}

/** @param {readonly string[]} labels */
function classesText(labels) {
  const more =
    labels.length > MAX_CLASSES ? `, and ${count(labels.length - MAX_CLASSES)} more` : '';
  return `${count(labels.length)}: ${labels.slice(0, MAX_CLASSES).join(', ')}${more}`;
}

/** @param {Plan['first_batch'][number]} example */
function toExample({ text, spans, label, side }) {
  const parts = spans.map(({ start, end, is_learned: isLearned }) => {
    const part = text.slice(start, end);
    return isLearned ? el('mark', part) : part;
  });
  const name = side === undefined ? 'An example' : SIDES[side];
  return el(
    'pre.example',
    { tabIndex: 0, role: 'group', 'aria-label': name },
    ...heading(side),
    ...parts,
    label !== undefined && ' → ',
    label !== undefined && el('mark', label),
  );
}

/** @type {Readonly<Record<NonNullable<Plan['first_batch'][number]['side']>, string>>} */
const SIDES = { preferred: 'Preferred', non_preferred: 'Non-preferred' };

/** @param {Plan['first_batch'][number]['side']} side of a pair */
function heading(side) {
  return side === undefined ? [] : [el('strong', `${SIDES[side]}\n`)];
}

/**
 * Shows why a job cannot be planned.
 * @param {HTMLElement} parent
 * @param {{ message: string, lines: readonly InvalidLine[] }} fault
 */
export function showFault(parent, { message, lines }) {
  fill(
    parent,
    problemText(message),
    lines.length > 0 &&
      el(
        'ol.bad-lines',
        ...lines.map(({ number, fault, text }) =>
          el(
            'li',
            el('strong', `Line ${count(number)}`),
            ` ${fault}`,
            el('pre', { tabIndex: 0, role: 'group', 'aria-label': `Line ${number}` }, text || ' '),
          ),
        ),
      ),
    lines.length > 0 && el('p.help', 'Correct the file and choose it again.'),
  );
}

/**
 * Splits the server's message about a file.
 * @param {string} message such as `… Line 2: is not JSON. Line 5: completion: is missing.`
 * @returns {{ rest: string, faults: Map<number, string> }} the text before the first line, and faults by line number
 */
export function parseLineFaults(message) {
  const faults = new Map(
    [...message.matchAll(LINE_FAULT)].map(([, number, fault = '']) => [Number(number), fault]),
  );
  const start = message.search(/Line \d+: /);
  return { rest: start < 0 ? message : message.slice(0, start).trim(), faults };
}

/**
 * Reads invalid lines from the file. It is read as a stream, since it may not fit into memory.
 * @param {Blob} file
 * @param {ReadonlyMap<number, string>} faults by line number, from 1
 * @returns {Promise<InvalidLine[]>}
 */
export async function readInvalidLines(file, faults) {
  const last = [...faults.keys()].reduce((a, b) => Math.max(a, b), 0);
  /** @type {InvalidLine[]} */
  const lines = [];
  let number = 1;
  let text = '';
  /** @param {string} piece of the current line */
  const add = (piece) => {
    if (faults.has(number) && text.length <= MAX_LINE) text += piece.slice(0, MAX_LINE + 1);
  };
  const end = () => {
    const fault = faults.get(number);
    if (fault !== undefined) lines.push({ number, fault, text: shorten(text) });
    number++;
    text = '';
  };
  const reader = file.stream().getReader();
  const decoder = new TextDecoder();
  while (number <= last) {
    const { done, value } = await reader.read();
    if (done) break;
    const pieces = decoder.decode(value, { stream: true }).split('\n');
    for (const [i, piece] of pieces.entries()) {
      if (i > 0) end();
      if (number > last) break;
      add(piece);
    }
  }
  if (number <= last) end();
  await reader.cancel();
  return lines;
}

/** @param {string} text */
function shorten(text) {
  const line = text.replace(/\r$/, '');
  return line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line;
}

// What a job would do, or why it cannot: figures, warnings, the first examples with what is learned of them, bad lines.
import { el, fill } from './dom.js';
import { count, counted, durationRange, figure, percent, size } from './format.js';

/** @typedef {import('../contracts/openai.ts').FineTuningPlan} Plan */

/** @type {Readonly<Record<string, string>>} */
const METHODS = { qlora: 'QLoRA', lora: 'LoRA', full: 'Full fine-tuning' };

/** A batch may have 256 examples: these tell enough. */
const MAX_EXAMPLES = 4;

/** @param {HTMLElement} place @param {Plan} plan */
export function showPlan(place, plan) {
  const { first_batch: examples, warnings } = plan;
  fill(
    place,
    el(
      'p',
      { className: 'lead' },
      `${counted(plan.examples, 'example')}, all lines valid. `,
      el('strong', {}, timeText(plan)),
      ` and ${size(plan.memory_bytes)} of memory.`,
    ),
    el(
      'dl',
      { className: 'pairs' },
      ...toFigures(plan).flatMap(([name, text]) => pair(name, text)),
    ),
    warnings.length > 0 && el('h3', {}, 'Before you start'),
    ...warnings.map(({ message }) => el('p', { className: 'warning' }, message)),
    examples.length > 0 && el('h3', {}, 'What the model learns from the first examples'),
    ...examples.slice(0, MAX_EXAMPLES).map(toExample),
    examples.length > 0 &&
      el(
        'p',
        { className: 'help' },
        el('mark', {}, 'Marked'),
        ' tokens are trained on; the rest is context.',
      ),
  );
  showMarks(place);
}

/** @param {Plan} plan */
function timeText({ seconds_range: [from = 0, to = 0] }) {
  const text = durationRange(from, to);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Scrolls long examples to the first thing that is learned. @param {HTMLElement} place */
function showMarks(place) {
  for (const example of place.querySelectorAll('pre')) {
    const mark = example.querySelector('mark');
    if (mark) example.scrollTop = mark.offsetTop - example.clientHeight / 2;
  }
}

/** @param {Plan} plan @returns {(readonly [name: string, text: string])[]} */
function toFigures(plan) {
  const { truncated, duplicates, validation_examples: validation } = plan;
  return [
    ['Steps', `${count(plan.total_steps)}, ${count(plan.steps_per_epoch)} per epoch`],
    [
      'Tokens',
      `${count(plan.tokens)} per epoch, ${percent(1 - plan.masked_share)} of them trained on`,
    ],
    ['Max length', counted(plan.max_length, 'token')],
    ...(truncated > 0 ? [/** @type {const} */ (['Truncated', counted(truncated, 'example')])] : []),
    ...(duplicates > 0
      ? [/** @type {const} */ (['Duplicates', counted(duplicates, 'example')])]
      : []),
    ['Validation', validation > 0 ? counted(validation, 'example') : 'none'],
    [
      'Method',
      `${METHODS[plan.method] ?? plan.method}, ${count(plan.trained_parameters)} trainable parameters`,
    ],
    ['Learning rate', `${figure(plan.learning_rate)} at its peak`],
  ];
}

/** @param {string} name @param {string} text */
function pair(name, text) {
  return [el('dt', {}, name), el('dd', {}, text)];
}

/** @param {Plan['first_batch'][number]} example */
function toExample({ text, spans }) {
  const parts = spans.map(({ start, end, is_learned: isLearned }) => {
    const part = text.slice(start, end);
    return isLearned ? el('mark', {}, part) : part;
  });
  return el(
    'pre',
    { className: 'example', tabIndex: 0, role: 'group', 'aria-label': 'An example' },
    ...parts,
  );
}

/**
 * @param {HTMLElement} place
 * @param {{ message: string, lines: readonly import('./bad-lines.js').BadLine[] }} fault
 */
export function showFault(place, { message, lines }) {
  fill(
    place,
    el('p', { className: 'problem', role: 'alert' }, message),
    lines.length > 0 &&
      el(
        'ol',
        { className: 'bad-lines' },
        ...lines.map(({ number, fault, text }) =>
          el(
            'li',
            {},
            el('strong', {}, `Line ${count(number)}`),
            ` ${fault}`,
            el('pre', { tabIndex: 0, role: 'group', 'aria-label': `Line ${number}` }, text || ' '),
          ),
        ),
      ),
    lines.length > 0 && el('p', { className: 'help' }, 'Correct the file and choose it again.'),
  );
}

// What there is of a job to try, to download and to know: its model and checkpoints, its evaluation, its facts.
import { request, requestJson } from './api.js';
import { byId, el, fill, say } from './dom.js';
import { count, counted, dateAndTime, duration, figure } from './format.js';

/** @typedef {import('../openai.ts').FineTuningJob} Job */
/** @typedef {import('../openai.ts').FineTuningJobCheckpoint} Checkpoint */

/** @type {Readonly<Record<string, string>>} */
const GATES = {
  finite: 'All its numbers are finite',
  weights: 'Its weights are bounded',
  applied: 'It changes what the base says',
  validation: 'It is better than the base on the validation file',
  generation: 'It writes an answer',
  forgetting: 'It keeps what the base knew',
};

/** @param {Job} job @param {readonly Checkpoint[]} checkpoints newest first */
export function showResults(job, checkpoints) {
  const { fine_tuned_model: model, result_files: files } = job;
  const others = checkpoints.filter(({ fine_tuned_model_checkpoint: name }) => name !== model);
  const rows = [
    ...(model === null ? [] : [tryRow(model, { name: 'The result', job, isFirst: true })]),
    ...others.map(({ fine_tuned_model_checkpoint: name, step_number: step, metrics }) => {
      const loss = metrics['full_valid_loss'] ?? metrics['train_loss'];
      const note = loss === undefined ? '' : `, loss ${figure(loss)}`;
      return tryRow(name, { name: `Step ${count(step)}${note}`, job, isFirst: false });
    }),
    ...files.map((id) => downloadRow(id)),
  ];
  const place = byId('results');
  const key = JSON.stringify([model, others.map(({ id }) => id), files]);
  if (place.dataset['shown'] === key && place.children.length > 0) return; // a focus in it stays
  place.dataset['shown'] = key;
  fill(place, ...rows);
  say(
    byId('results-help'),
    rows.length === 0
      ? 'A checkpoint can be tried as soon as there is one, at the end of each epoch.'
      : '',
  );
}

/** @param {string} model @param {{ name: string, job: Job, isFirst: boolean }} options */
function tryRow(model, { name, job, isFirst }) {
  const query = new URLSearchParams({ model, beside: job.model });
  return el(
    'li',
    {},
    el('div', {}, el('strong', {}, name), el('code', {}, model)),
    el(
      'a',
      {
        className: isFirst ? 'button' : 'button small',
        href: `./?${query}`,
        'aria-label': `Try it: ${name}`,
      },
      'Try it',
    ),
  );
}

/** A link cannot carry a key: the file is fetched, and given to the browser. @param {string} id */
function downloadRow(id) {
  const name = `${id}.csv`;
  const save = async () => {
    const blob = await (await request(`v1/files/${id}/content`)).blob();
    const link = el('a', { href: URL.createObjectURL(blob), download: name });
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return el(
    'li',
    {},
    el('div', {}, el('strong', {}, 'All steps as a table'), el('code', {}, name)),
    el('button', { type: 'button', className: 'small', onclick: save }, 'Download'),
  );
}

/** @param {Job} job */
export function showGates({ lorikeet }) {
  const card = /** @type {Partial<import('../training.ts').EvaluationCard> | undefined} */ (
    lorikeet['evaluation']
  );
  byId('card-section').hidden = !card?.gates;
  fill(
    byId('gates'),
    ...(card?.gates ?? []).map(({ gate, passed, value, limit }) =>
      el(
        'li',
        { className: passed ? 'passed' : 'refused' },
        el('strong', {}, passed ? 'Passed' : 'Refused'),
        ` ${GATES[gate] ?? gate}`,
        el('span', { className: 'help' }, ` ${figure(value)}, limit ${figure(limit)}`),
      ),
    ),
    ...(card?.skipped ?? []).map(({ gate, reason }) =>
      el(
        'li',
        {},
        el('strong', {}, 'Skipped'),
        ` ${GATES[gate] ?? gate}`,
        el('span', { className: 'help' }, ` ${reason}`),
      ),
    ),
  );
}

/** File id → the name that it was uploaded under; of one that is gone, its id. @type {Map<string, string>} */
const fileNames = new Map();

/** Asks once for each. @param {Job} job */
async function learnFileNames({ training_file: training, validation_file: validation }) {
  for (const id of [training, validation]) {
    if (id === null || fileNames.has(id)) continue;
    fileNames.set(id, id);
    /** @type {{ filename: string }} */
    const { filename } = await requestJson(`v1/files/${id}`).catch(() => ({ filename: id }));
    fileNames.set(id, filename);
  }
}

/** @param {string | null} id */
function fileName(id) {
  return id === null ? undefined : (fileNames.get(id) ?? id);
}

/** @param {Job} job */
export async function showFacts(job) {
  await learnFileNames(job);
  const { hyperparameters, lorikeet, finished_at: finishedS, trained_tokens: tokens } = job;
  const planned = lorikeet['planned_seconds'];
  /** @type {(readonly [name: string, value: unknown])[]} */
  const facts = [
    ['Job', job.id],
    ['Adapter', lorikeet['adapter']],
    ['Starts from', job.model],
    ['Training file', fileName(job.training_file)],
    ['Validation file', fileName(job.validation_file)],
    ['Epochs', hyperparameters.n_epochs],
    ['Examples a step', hyperparameters.batch_size],
    ['Rate multiplier', hyperparameters.learning_rate_multiplier],
    ['Rank', lorikeet['rank']],
    ['Seed', job.seed],
    ['Created', dateAndTime(job.created_at)],
    ['Planned', typeof planned === 'number' ? duration(planned) : undefined],
    ['Ended', finishedS === null ? undefined : dateAndTime(finishedS)],
    ['Trained', tokens === null ? undefined : counted(tokens, 'token')],
  ];
  fill(
    byId('job-facts'),
    ...facts
      .filter(([, value]) => value !== undefined && value !== null)
      .flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value))]),
  );
}

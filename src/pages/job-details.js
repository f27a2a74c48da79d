// What a job was checked for and made of: its gates, its files and settings.
import { requestJson } from './api.js';
import { byId, el, fill } from './dom.js';
import { counted, dateAndTime, figure } from './format.js';

/** @typedef {import('../contracts/openai.ts').FineTuningJob} Job */

/** @type {Readonly<Record<string, string>>} */
const GATES = {
  finite: 'All weights are finite',
  weights: 'The weights are bounded',
  applied: 'It changes the base’s output',
  validation: 'It beats the base on the validation file',
  generation: 'It writes answers',
  forgetting: 'It keeps what the base knew',
};

/** @param {Job} job */
export function showGates({ lorikeet }) {
  const card =
    /** @type {Partial<import('../contracts/training.ts').EvaluationCard> | undefined} */ (
      lorikeet['evaluation']
    );
  byId('card-section').hidden = !card?.gates;
  fill(
    byId('gates'),
    ...(card?.gates ?? []).map(({ gate, passed, value, limit, relation }) =>
      el(
        'li',
        { className: passed ? 'passed' : 'refused' },
        el('strong', {}, passed ? 'Passed' : 'Failed'),
        ` ${GATES[gate] ?? gate}`,
        el(
          'span',
          { className: 'help' },
          ` ${figure(value)} (must be ${relation} ${figure(limit)})`,
        ),
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
  /** @type {(readonly [name: string, value: unknown])[]} */
  const facts = [
    ['Job ID', job.id],
    ['Adapter', lorikeet['adapter']],
    ['Base model', job.model],
    ['Training file', fileName(job.training_file)],
    ['Validation file', fileName(job.validation_file)],
    ['Epochs', hyperparameters.n_epochs],
    ['Batch size', hyperparameters.batch_size],
    ['Learning rate multiplier', hyperparameters.learning_rate_multiplier],
    ['LoRA rank', lorikeet['rank']],
    ['LoRA alpha', lorikeet['alpha']],
    ['LoRA dropout', lorikeet['dropout']],
    ['Seed', job.seed],
    ['Created', dateAndTime(job.created_at)],
    ['Finished', finishedS === null ? undefined : dateAndTime(finishedS)],
    ['Trained', tokens === null ? undefined : counted(tokens, 'token')],
  ];
  fill(
    byId('job-facts'),
    ...facts
      .filter(([, value]) => value !== undefined && value !== null)
      .flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value))]),
  );
}

// Says what to try after a job that failed, with numbers made from its own settings. Pure: touches no element.
import { evaluationOf, hyperparametersOf } from './job-facts.js';
import { FORM_FIELDS } from './tables.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */

/**
 * A next step after a failure.
 * @typedef {object} Advice
 * @property {string} text
 * @property {Readonly<Record<string, string>>} changes of fields of the form, for a job that tries it; empty: none helps
 */

/** Lower enough to make a difference, and high enough to learn. */
const RATE_FACTOR = 0.3;
const MAX_EPOCHS = FORM_FIELDS.find(({ id }) => id === 'n_epochs')?.max ?? 1;

/** By the error's code. @type {Readonly<Record<string, (job: Job) => Advice>>} */
const BY_CODE = {
  non_finite_loss: (job) => lowerRate(job, 'The loss exploded'),
  out_of_memory: lessMemory,
  gate_failed: passGate,
  nothing_to_learn: () => ({
    text: 'No row has an answer within the length limit. Shorten the prompts, and upload the file again.',
    changes: {},
  }),
  invalid_training_file: () => ({
    text: 'Correct the lines that the message names, and upload the file again.',
    changes: {},
  }),
  invalid_n_examples: () => ({ text: 'Add rows until there are at least ten.', changes: {} }),
  grader_fails: () => ({
    text: 'The grader fails on every completion. Try it on a row of the file, and correct what it names.',
    changes: {},
  }),
  reward_constant: () => ({
    text: 'The grader does not tell the completions apart. Let it give partial credit, for example by how alike two texts are, or start from an adapter that sometimes succeeds.',
    changes: {},
  }),
  trainer_lost: () => ({
    text: 'The trainer ended without a reason. The last events say what it did; start the job again once the machine has room.',
    changes: {},
  }),
};

/** By the gate that failed. @type {Readonly<Record<string, (job: Job) => Advice>>} */
const BY_GATE = {
  finite: (job) => lowerRate(job, 'Some weights are not finite'),
  weights: (job) => lowerRate(job, 'Some weights are too large'),
  forgetting: (job) => lowerRate(job, 'The adapter has forgotten what the base knew'),
  generation: (job) => lowerRate(job, 'The adapter no longer writes answers'),
  applied: raiseRate,
  validation: (job) => moreEpochs(job, 'The adapter does not beat its base on the validation rows'),
};

/** Returns what to try; undefined if the job has not failed, or nobody knows. @param {Job} job @returns {Advice | undefined} */
export function adviceFor(job) {
  return job.error ? BY_CODE[job.error.code]?.(job) : undefined;
}

/** @param {Job} job @returns {Advice} */
function passGate(job) {
  const { gates } =
    /** @type {Partial<import('../contracts/evaluation-card.ts').EvaluationCard>} */ (
      evaluationOf(job)
    );
  const failed = gates?.find(({ passed }) => !passed);
  const advise = failed && BY_GATE[failed.gate];
  return advise
    ? advise(job)
    : { text: 'Add rows that show what the adapter should do.', changes: {} };
}

/** @param {Job} job @param {string} cause @returns {Advice} */
function lowerRate(job, cause) {
  const name = 'learning_rate_multiplier';
  const now = numberOf(hyperparametersOf(job)[name], 1);
  const next = Number((now * RATE_FACTOR).toPrecision(2));
  return {
    text: `${cause}: lower the learning rate multiplier from ${now} to ${next}.`,
    changes: { [name]: String(next) },
  };
}

/** @param {Job} job @returns {Advice} */
function raiseRate(job) {
  const name = 'learning_rate_multiplier';
  const now = numberOf(hyperparametersOf(job)[name], 1);
  const next = Math.max(1, Number((now / RATE_FACTOR).toPrecision(2)));
  return {
    text: `The adapter changes too little: raise the learning rate multiplier from ${now} to ${next}.`,
    changes: { [name]: String(next) },
  };
}

/** @param {Job} job @param {string} cause @returns {Advice} */
function moreEpochs(job, cause) {
  const now = numberOf(hyperparametersOf(job).n_epochs, 3);
  const next = Math.min(MAX_EPOCHS, now * 2);
  return {
    text: `${cause}: add rows, or train for ${next} epochs instead of ${now}.`,
    changes: { n_epochs: String(next) },
  };
}

/** @param {Job} job @returns {Advice} */
function lessMemory(job) {
  const batch = numberOf(hyperparametersOf(job).batch_size, 8);
  if (batch > 1) {
    const next = Math.floor(batch / 2);
    return {
      text: `The trainer ran out of memory: lower the batch size from ${batch} to ${next}.`,
      changes: { batch_size: String(next) },
    };
  }
  const rank = numberOf(job.lorikeet.rank, 16);
  const next = Math.max(1, Math.floor(rank / 2));
  return {
    text: `The trainer ran out of memory: lower the LoRA rank from ${rank} to ${next}, or shorten the rows.`,
    changes: { rank: String(next) },
  };
}

/** @param {unknown} value @param {number} otherwise */
function numberOf(value, otherwise) {
  return typeof value === 'number' ? value : otherwise;
}

// Says what to try after a job that failed, with numbers made from its own settings. Pure: touches no element.
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import { FORM_FIELDS } from '../tables.ts';
import { evaluationOf, hyperparametersOf } from './facts.ts';

/** A next step after a failure. */
export interface Advice {
  readonly text: string;
  /** Changes of fields of the form, for a job that tries it; empty: none helps. */
  readonly changes: Readonly<Record<string, string>>;
}

type AdviceTable = Readonly<Record<string, (job: FineTuningJob) => Advice>>;

/** Lower enough to make a difference, and high enough to learn. */
const RATE_FACTOR = 0.3;
const MAX_EPOCHS = FORM_FIELDS.find(({ id }) => id === 'n_epochs')?.max ?? 1;

/** Advice that no field of the form follows, by the error's code. */
const TEXTS: Readonly<Record<string, string>> = {
  nothing_to_learn:
    'No row has an answer within the length limit. Shorten the prompts, and upload the file again.',
  invalid_training_file: 'Correct the lines that the message names, and upload the file again.',
  invalid_n_examples: 'Add rows until there are at least ten.',
  grader_fails:
    'The grader fails on every completion. Try it on a row of the file, and correct what it names.',
  reward_constant:
    'The grader does not tell the completions apart. Let it give partial credit, for example by how alike two texts are, or start from an adapter that sometimes succeeds.',
  trainer_lost:
    'The trainer ended without a reason. The last events say what it did; start the job again once the machine has room.',
};

/** Advice with changes, by the error's code. */
const BY_CODE: AdviceTable = {
  non_finite_loss: (job) => lowerRate(job, 'The loss exploded'),
  out_of_memory: lessMemory,
  gate_failed: passGate,
};

/** By the gate that failed. */
const BY_GATE: AdviceTable = {
  finite: (job) => lowerRate(job, 'Some weights are not finite'),
  weights: (job) => lowerRate(job, 'Some weights are too large'),
  forgetting: (job) => lowerRate(job, 'The adapter has forgotten what the base knew'),
  generation: (job) => lowerRate(job, 'The adapter no longer writes answers'),
  applied: raiseRate,
  validation: (job) => moreEpochs(job, 'The adapter does not beat its base on the validation rows'),
};

/** The meaning of the file system's errors. */
const FILE_FAULTS: Readonly<Record<string, string>> = {
  ENOENT: 'is missing on the server',
  EACCES: 'may not be read or written by the server',
  EPERM: 'may not be read or written by the server',
  ENOSPC: 'does not fit on the disk of the server',
};

/** Returns a message in words: without the texts of the file system, such as `ENOENT: …, open '/…/rows.jsonl'`. */
export function inWords(message: string): string {
  return message.replace(
    /\b(E[A-Z]{2,}): [^,']+(?:, \w+)?(?: '([^']*)')?(?: -> '[^']*')?/g,
    (_, code: string, path = '') => {
      const name = path.split('/').at(-1);
      const file = name ? `The file ${name}` : 'A file';
      return `${file} ${FILE_FAULTS[code] ?? 'cannot be read or written'} (${code}).`;
    },
  );
}

/** Returns what to try; undefined if the job has not failed, or nobody knows. */
export function adviceFor(job: FineTuningJob): Advice | undefined {
  const { code = '' } = job.error ?? {};
  const text = TEXTS[code];
  return text === undefined ? BY_CODE[code]?.(job) : { text, changes: {} };
}

function passGate(job: FineTuningJob): Advice {
  const { gates } = evaluationOf(job);
  const failed = gates?.find(({ passed }) => !passed);
  const advice = failed && BY_GATE[failed.gate]?.(job);
  return advice ?? { text: 'Add rows that show what the adapter should do.', changes: {} };
}

function lowerRate(job: FineTuningJob, cause: string): Advice {
  const now = rateOf(job);
  const next = Number((now * RATE_FACTOR).toPrecision(2));
  const text = `${cause}: lower the learning rate multiplier from ${now} to ${next}.`;
  return advise(text, 'learning_rate_multiplier', next);
}

function raiseRate(job: FineTuningJob): Advice {
  const now = rateOf(job);
  const next = Math.max(1, Number((now / RATE_FACTOR).toPrecision(2)));
  const text = `The adapter changes too little: raise the learning rate multiplier from ${now} to ${next}.`;
  return advise(text, 'learning_rate_multiplier', next);
}

function moreEpochs(job: FineTuningJob, cause: string): Advice {
  const now = numberOf(hyperparametersOf(job).n_epochs, 3);
  const next = Math.min(MAX_EPOCHS, now * 2);
  const text = `${cause}: add rows, or train for ${next} epochs instead of ${now}.`;
  return advise(text, 'n_epochs', next);
}

function lessMemory(job: FineTuningJob): Advice {
  const cause = 'The trainer ran out of memory';
  const batch = numberOf(hyperparametersOf(job).batch_size, 8);
  if (batch > 1) {
    const next = Math.floor(batch / 2);
    return advise(`${cause}: lower the batch size from ${batch} to ${next}.`, 'batch_size', next);
  }
  const rank = numberOf(job.lorikeet.rank, 16);
  const next = Math.max(1, Math.floor(rank / 2));
  const text = `${cause}: lower the LoRA rank from ${rank} to ${next}, or shorten the rows.`;
  return advise(text, 'rank', next);
}

function rateOf(job: FineTuningJob): number {
  return numberOf(hyperparametersOf(job).learning_rate_multiplier, 1);
}

function advise(text: string, field: string, value: number): Advice {
  return { text, changes: { [field]: String(value) } };
}

function numberOf(value: unknown, otherwise: number): number {
  return typeof value === 'number' ? value : otherwise;
}

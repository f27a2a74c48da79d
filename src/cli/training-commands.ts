// The commands of the trainer: train, plan, merge and eval. Flags become keys of a job; what the keys may say is the
// trainer's own schema, so that a file and a flag are refused alike.
import { type Command, Option } from 'commander';
import { UsageError } from '../common/errors.ts';
import type { JobSource, TrainerRequest } from '../contracts/training.ts';
import { listTrainingFlags } from '../contracts/training-fields.ts';
import type { FlagKind } from '../contracts/training-settings.ts';
import { addEval } from './eval-command.ts';

export interface TrainerOptions {
  /** Draws the loss curve. */
  readonly isWatched: boolean;
}

type RunTrainer = (request: TrainerRequest, options: TrainerOptions) => Promise<void>;

/** A boolean flag without a value means true. */
const PLACEHOLDERS: Readonly<Record<FlagKind, string>> = {
  text: '<text>',
  number: '<number>',
  boolean: '[true|false]',
  names: '<names>',
  numbers: '<numbers>',
};

export function addTraining(program: Command, run: RunTrainer): void {
  addTrain(program, run);
  addPlan(program, run);
  addMerge(program, run);
  addEval(program, (request) => run({ command: 'eval', ...request }, { isWatched: false }));
}

function addTrain(program: Command, run: RunTrainer): void {
  const train = program
    .command('train')
    .description('train an adapter (or a whole model) from a JSONL file')
    .argument('[job]', 'a JSON file of settings; flags win over it')
    .option('--out <dir>', 'the run folder (default: a new one in LORIKEET_HOME/jobs)')
    .option('--resume <dir>', 'go on with the run in this folder')
    .option(
      '--adapters <dir>',
      'a folder to publish a named adapter into, instead of the store [LORIKEET_ADAPTERS]',
    )
    .option('--watch', 'draw the loss curve in the terminal');
  addJobFlags(train);
  train.addHelpText('after', TRAIN_EXAMPLES);
  train.action(async (file: string | undefined, options: Record<string, string | true>) => {
    const job = readJobSource(file, options);
    const isWatched = options['watch'] === true;
    const { resume, out, adapters } = options as Record<string, string | undefined>;
    if (resume !== undefined) {
      if (file !== undefined || out !== undefined || Object.keys(job.overrides).length > 0) {
        throw new UsageError('--resume: goes on with the settings of its run, without others');
      }
      return run({ command: 'resume', runDir: resume, adaptersDir: adapters }, { isWatched });
    }
    return run({ command: 'train', job, outDir: out, adaptersDir: adapters }, { isWatched });
  });
}

function addPlan(program: Command, run: RunTrainer): void {
  const plan = program
    .command('plan')
    .description('memory and time of full training, LoRA and QLoRA, and which one fits')
    .argument('[job]', 'a JSON file of settings; flags win over it')
    .option('--size <parameters>', 'a model of this size, such as 7B, instead of one that is here')
    .option('--config <file>', "a model's config.json, instead of one that is here")
    .option('--memory <bytes>', "such as 24G (default: this machine's)")
    .option('--json', 'print the result as JSON');
  addJobFlags(plan);
  plan.addHelpText('after', PLAN_EXAMPLES);
  plan.action(async (file: string | undefined, options: Record<string, string | true>) => {
    const { size, config, memory } = options as Record<string, string | undefined>;
    const request: TrainerRequest = {
      command: 'plan',
      job: readJobSource(file, options),
      size,
      configFile: config,
      memory: memory === undefined ? undefined : parseBytes(memory),
      isJson: options['json'] === true,
    };
    return run(request, { isWatched: false });
  });
}

function addMerge(program: Command, run: RunTrainer): void {
  program
    .command('merge')
    .description('add an adapter to its base: a whole model as a Hugging Face folder')
    .requiredOption('--model <model>', 'folder or name of the imported base')
    .requiredOption('--adapter <dir>', 'a PEFT folder')
    .requiredOption('--out <dir>', 'the folder to write')
    .option('--dtype <dtype>', "bf16, fp16 or fp32 (default: the base's own)")
    .addHelpText('after', MERGE_EXAMPLES)
    .action(async (options: Record<string, string | undefined>) => {
      const { model = '', adapter = '', out = '', dtype } = options;
      return run({ command: 'merge', model, adapter, outDir: out, dtype }, { isWatched: false });
    });
}

function addJobFlags(command: Command): void {
  for (const { flag, kind, help } of listTrainingFlags()) {
    command.addOption(new Option(`${flag} ${PLACEHOLDERS[kind]}`, help));
  }
}

function readJobSource(
  file: string | undefined,
  options: Readonly<Record<string, string | true>>,
): JobSource {
  const overrides: Record<string, unknown> = {};
  for (const { key, kind } of listTrainingFlags()) {
    const value = options[key];
    if (value !== undefined) overrides[key] = value === true ? true : parseValue(value, kind);
  }
  return { file, overrides };
}

/** A text that is not of its kind stays a text: the schema says what is wrong with it. */
function parseValue(value: string, kind: FlagKind): unknown {
  const asNumber = (text: string) => (/^[+-]?[\d.]/.test(text) ? Number(text) : text);
  switch (kind) {
    case 'number':
      return asNumber(value);
    case 'boolean':
      return value === 'true' ? true : value === 'false' ? false : value;
    case 'numbers':
      return value.split(',').map(asNumber);
    case 'names':
      return value !== 'all-linear' && /^[\w.,]+$/.test(value) ? value.split(',') : value;
    case 'text':
      return value;
  }
}

function parseBytes(text: string): number {
  const found = /^(\d{1,12}(?:\.\d+)?)([KMGT]?)(?:i?B)?$/.exec(text);
  if (!found) throw new UsageError('--memory: must be a size such as 16G');
  return Number(found[1]) * 1024 ** ' KMGT'.indexOf(found[2] || ' ');
}

const TRAIN_EXAMPLES = `
Examples:
  lorikeet train --model smollm2-135m-instruct --data moods.jsonl --name zen
  lorikeet train job.json --out ./run --rank 32 --watch
  lorikeet train --resume ./run
`;

const PLAN_EXAMPLES = `
Examples:
  lorikeet plan --size 7B
  lorikeet plan --model smollm2-135m-instruct --data moods.jsonl --batch-size 16
  lorikeet plan --config ./config.json --memory 24G
`;

const MERGE_EXAMPLES = `
Examples:
  lorikeet merge --model ./base --adapter ./run/adapter --out ./merged
  lorikeet merge --model ./base --adapter ./run/adapter --out ./merged --dtype fp16
`;

// The trainer's commands: train, plan, merge, eval, and train-job for clusters. Flags become keys of a job. The trainer checks
// the keys, so a wrong value gets the same message in a file and in a flag.
import { type Command, Option } from 'commander';
import { UsageError } from '../common/errors.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { LOCAL_TENANT } from '../contracts/tenant.ts';
import { TOOL_FORMAT_NAMES, type ToolFormatName } from '../contracts/tool-format.ts';
import type { JobSource } from '../contracts/training-fields.ts';
import { helpOf, listTrainingFlags } from '../contracts/training-fields.ts';
import type { EvalRequest, TrainerRequest } from '../contracts/training-messages.ts';
import type { FlagKind } from '../contracts/training-setting.ts';
import { GATE_SETTINGS, TRAINING_SETTINGS } from '../contracts/training-settings.ts';
import { loadConfig } from '../settings/config.ts';
import { addTabled } from './help.ts';
import type { CommandContext } from './programs.ts';
import { listenForInterrupt } from './terminal.ts';

/** Runs the trainer. @param isWatched draws the loss curve */
type RunTrainer = (request: TrainerRequest, isWatched?: boolean) => Promise<void>;

/** A boolean flag without a value is true. */
const PLACEHOLDERS: Readonly<Record<FlagKind, string>> = {
  text: '<text>',
  number: '<number>',
  boolean: '[true|false]',
  names: '<names>',
  numbers: '<numbers>',
  file: '<file>',
};

const RUN_INTERRUPTED =
  'Interrupted: the run finishes its current step or measurement, writes a checkpoint and stops. A second interrupt ends it ' +
  'now; it then resumes from its last checkpoint.';
const INTERRUPTED = 'Interrupted: finishing the current work. A second interrupt ends it now.';

function isRun({ command }: TrainerRequest): boolean {
  return command === 'train' || command === 'resume';
}

/** Adds the commands. The trainer's exit code becomes the command's. */
export function addTraining(
  program: Command,
  { terminal, reporter, programs, showsAll, exit }: CommandContext,
): void {
  const run: RunTrainer = async (request, isWatched = false) => {
    const { createTrainerDisplay } = await import('./trainer-display.ts');
    const onMessage = createTrainerDisplay(terminal, isWatched);
    const signal = listenForInterrupt();
    // The trainer itself may be busy for minutes before it can say anything.
    const text = isRun(request) ? RUN_INTERRUPTED : INTERRUPTED;
    signal.addEventListener('abort', () => onMessage({ type: 'note', text }));
    exit(await programs.runTrainer(request, { signal, onMessage }));
  };
  addTrain(program, run, showsAll);
  addPlan(program, run, showsAll);
  addMerge(program, run);
  addEval(program, run);
  // For clusters, not for people: the manifests of the cluster's jobs call it.
  program
    .command('train-job', { hidden: true })
    .argument('<attempt>')
    .action(async (attempt: string) => {
      const context = { config: loadConfig(), signal: listenForInterrupt(), reporter };
      exit(await programs.runTrainerPod(attempt, context));
    });
}

function addTrain(program: Command, run: RunTrainer, showsAll: boolean): void {
  const train = program
    .command('train')
    .description('train an adapter (or a whole model) from a file of rows')
    .argument('[job]', 'a JSON file of settings; flags override it')
    .option('--out <dir>', 'the run folder (default: a new one in LORIKEET_HOME/jobs)')
    .option('--resume <dir>', 'continue the run in this folder')
    .option(
      '--adapters <dir>',
      'publish a named adapter into this folder instead of the store [LORIKEET_ADAPTERS]',
    )
    .option('--watch', 'draw the loss curve in the terminal');
  addJobFlags(train, showsAll, ' (required, here or in the job file)');
  train.addHelpText('after', TRAIN_EXAMPLES);
  train.action(async (file: string | undefined, options: Record<string, string | true>) => {
    const job = readJobSource(file, options);
    const isWatched = options['watch'] === true;
    const { resume, out, adapters } = options as Record<string, string | undefined>;
    if (resume !== undefined) {
      if (file !== undefined || out !== undefined || Object.keys(job.overrides).length > 0) {
        throw new UsageError(
          '--resume continues a run with its original settings and takes no other options.',
        );
      }
      return run({ command: 'resume', runDir: resume, adaptersDir: adapters }, isWatched);
    }
    return run({ command: 'train', job, outDir: out, adaptersDir: adapters }, isWatched);
  });
}

function addPlan(program: Command, run: RunTrainer, showsAll: boolean): void {
  const plan = program
    .command('plan')
    .description('estimate memory and time of full training, LoRA and QLoRA, and recommend one')
    .argument('[job]', 'a JSON file of settings; flags override it')
    .option(
      '--size <parameters>',
      'a number of parameters such as 7B, instead of an imported model',
    )
    .option('--config <file>', "a model's config.json, instead of an imported model")
    .option('--memory <bytes>', "available memory, such as 24G (default: this machine's)")
    .option('--json', 'print the result as JSON');
  addJobFlags(plan, showsAll);
  plan.addHelpText('after', PLAN_EXAMPLES);
  plan.action(async (file: string | undefined, options: Record<string, string | true>) => {
    const { size, config, memory } = options as Record<string, string | undefined>;
    return run({
      command: 'plan',
      job: readJobSource(file, options),
      size,
      configFile: config,
      memory: memory === undefined ? undefined : parseBytes(memory),
      isJson: options['json'] === true,
    });
  });
}

function addMerge(program: Command, run: RunTrainer): void {
  program
    .command('merge')
    .description('merge an adapter into its base and write a Hugging Face model')
    .requiredOption('--model <model>', 'folder or name of the imported base')
    .requiredOption('--adapter <dir>', 'a PEFT folder')
    .requiredOption('--out <dir>', 'the folder to write')
    .option('--dtype <dtype>', "bf16, fp16 or fp32 (default: the base's own)")
    .addHelpText('after', MERGE_EXAMPLES)
    .action(async (options: Record<string, string | undefined>) => {
      const { model = '', adapter = '', out = '', dtype } = options;
      return run({ command: 'merge', model, adapter, outDir: out, dtype });
    });
}

interface EvalFlags {
  readonly model?: string;
  readonly data?: string;
  readonly responseFormat?: string;
  readonly toolFormat?: ToolFormatName;
  readonly margin?: string;
  readonly maxForgetting?: string;
  readonly store?: string;
  readonly tenant: string;
  readonly json?: true;
}

function addEval(program: Command, run: RunTrainer): void {
  program
    .command('eval')
    .description(
      'measure what an adapter changes, gains and forgets, and whether it passes the gates',
    )
    .argument('<adapter>', 'a PEFT folder, or a published NAME, NAME@VERSION or NAME:ALIAS')
    .option('--data <file>', 'JSONL rows that it was not trained on; also measures the base')
    .option('--model <model>', 'folder or name of the imported base [LORIKEET_MODEL]')
    .option(
      '--response-format <file>',
      "JSON file with the request field response_format, instead of the adapter's own",
    )
    .addOption(
      new Option('--tool-format <name>', helpOf(TRAINING_SETTINGS.toolFormat)).choices(
        TOOL_FORMAT_NAMES,
      ),
    )
    .option('--margin <nats>', helpOf(GATE_SETTINGS.margin))
    .option('--max-forgetting <nats>', helpOf(GATE_SETTINGS.maxForgetting))
    .option('--tenant <id>', 'the owner of a published adapter', LOCAL_TENANT.id)
    .option('--store <place>', 'a folder or s3://bucket/prefix [LORIKEET_STORE]')
    .option('--json', 'print the evaluation card as JSON')
    .addHelpText('after', EVAL_EXAMPLES)
    .action((adapter: string, flags: EvalFlags) => run(toEvalRequest(adapter, flags)));
}

function toEvalRequest(
  adapter: string,
  { model, data, tenant, store, margin, maxForgetting, json, ...flags }: EvalFlags,
): EvalRequest & { readonly command: 'eval' } {
  const gate = {
    margin: parseNats('--margin', margin),
    maxForgetting: parseNats('--max-forgetting', maxForgetting),
  };
  const formats = { responseFormatFile: flags.responseFormat, toolFormat: flags.toolFormat };
  const isJson = json === true;
  return { command: 'eval', adapter, model, data, tenant, store, gate, isJson, ...formats };
}

function parseNats(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^-?(?:\d{1,3}(?:\.\d{1,6})?|\.\d{1,6})$/.test(text)) return Number(text);
  throw new UsageError(`${flag}: must be a number of nats, such as 0.1`);
}

/** @param mark follows the help of a setting that every job needs */
function addJobFlags(command: Command, showsAll: boolean, mark = ''): void {
  const options = listTrainingFlags().map(({ flag, kind, help, group, isCommon, isRequired }) => {
    const text = isRequired ? `${help}${mark}` : help;
    return { option: new Option(`${flag} ${PLACEHOLDERS[kind]}`, text), group, isCommon };
  });
  addTabled(command, options, showsAll);
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

/** Leaves a value of the wrong kind as text. The trainer's schema then reports the fault. */
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
    case 'file':
      return readJsonFlag(value);
    case 'text':
      return value;
  }
}

function readJsonFlag(file: string): unknown {
  try {
    return JSON.parse(readRegular(file, SMALL_FILE_BYTES).toString());
  } catch (error) {
    if (error instanceof SyntaxError) throw new UsageError(`${file}: is not JSON`);
    throw error;
  }
}

function parseBytes(text: string): number {
  const match = /^(\d{1,12}(?:\.\d+)?)([KMGT]?)(?:i?B)?$/.exec(text);
  if (!match) throw new UsageError('--memory: must be a size such as 16G');
  return Number(match[1]) * 1024 ** ' KMGT'.indexOf(match[2] || ' ');
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

const EVAL_EXAMPLES = `
Exit code: 0 if it passes every gate that could be measured, 1 if it does not.

Examples:
  lorikeet eval zen --data held-out.jsonl
  lorikeet eval ./run/adapter --model smollm2-135m-instruct --data held-out.jsonl --json
  lorikeet eval zen@3 --data held-out.jsonl --margin 0.1
  lorikeet eval intent --data held-out.jsonl --response-format intent.json
`;

// The command line: commands, flags, help, exit codes. Knows what may be asked, not how it is done:
// the commands are arguments.
import { Command, CommanderError, Option } from 'commander';
import { ConfigError } from '../common/errors.ts';
import { describeFailure, EXIT } from '../common/failure.ts';
import { VERSION } from '../common/version.ts';
import type { TrainerRequest } from '../contracts/training.ts';
import {
  type Config,
  type Flags,
  listSettings,
  loadConfig,
  redactConfig,
} from '../settings/config.ts';
import { addAdapters } from './adapter-commands.ts';
import type { ImportRequest } from './import-command.ts';
import { addKeys } from './keys-commands.ts';
import { addSize } from './size-command.ts';
import type { Terminal } from './terminal.ts';
import { addTraining, type TrainerOptions } from './training-commands.ts';
import { addVerify } from './verify-command.ts';

export interface ServeOptions {
  /** Builds whatever a start would build, answers once, and ends. */
  readonly isPrewarm: boolean;
}

/** What the commands do; each resolves once it is done. */
export interface Commands {
  serve(config: Config, options: ServeOptions): Promise<void>;
  import(request: ImportRequest, config: Config): Promise<void>;
  /** train, plan, merge and eval; resolves with the exit code of the trainer's process. */
  trainer(request: TrainerRequest, options: TrainerOptions): Promise<number>;
  /** A pod's attempt at a job; resolves with its exit code. */
  trainerPod(attempt: string, config: Config): Promise<number>;
}

const SECRET_FLAG = /^--?(?:[\w-]*-)?(?:token|secret|password|api-?key|credential)s?(?:=|$)/i;

/**
 * Runs one command line.
 * @param args without the program's own name
 * @returns the exit code
 */
export async function runCommandLine(
  args: readonly string[],
  commands: Commands,
  terminal: Terminal,
): Promise<number> {
  try {
    refuseSecrets(args);
    let exitCode: number = EXIT.ok;
    const program = createProgram(commands, terminal);
    addTraining(program, async (request, options) => {
      exitCode = await commands.trainer(request, options);
    });
    addVerify(program, terminal, (code) => {
      exitCode = code;
    });
    // For clusters, not for people: the runner's Jobs name it.
    program
      .command('train-job', { hidden: true })
      .argument('<attempt>')
      .action(async (attempt: string) => {
        exitCode = await commands.trainerPod(attempt, loadConfig());
      });
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    return exitCodeOf(error, terminal);
  }
}

function createProgram(commands: Commands, terminal: Terminal): Command {
  const program = new Command('lorikeet')
    .description('One base model, thousands of LoRA adapters, one OpenAI-style server.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({
      writeOut: terminal.out,
      writeErr: terminal.error,
      // An unknown option is shown without its value, which may be a secret.
      outputError: (text, write) => write(text.replace(/(unknown option '[^'=]*)=[^']*'/, "$1'")),
    });
  addServe(program, commands, terminal);
  addImport(program, commands);
  addAdapters(program, terminal);
  addKeys(program, terminal);
  addSize(program, terminal);
  return program;
}

function addServe(program: Command, commands: Commands, terminal: Terminal): void {
  const serve = program
    .command('serve')
    .description('serve the base and its adapters over HTTP')
    .option('--prewarm', 'build what the first start would build, answer once, and exit')
    .option('--print-config', 'print the settings, secrets redacted, and exit');
  const settingOfOption = new Map<string, keyof Flags>();
  for (const { name, flag, env, help, isSwitch } of listSettings()) {
    if (flag === undefined) continue;
    const option = new Option(isSwitch ? flag : `${flag} <value>`, `${help} [${env}]`);
    settingOfOption.set(option.attributeName(), name);
    serve.addOption(option);
  }
  serve.addHelpText('after', () => `${environmentHelp()}${SERVE_EXAMPLES}`);
  // A switch such as --no-demo is true while it is not given, and false when it is.
  serve.action(async (options: Record<string, string | boolean>) => {
    const flags: Flags = {};
    for (const [attribute, value] of Object.entries(options)) {
      const name = settingOfOption.get(attribute);
      if (name && value !== true) flags[name] = value === false ? '1' : value;
    }
    const config = loadConfig(flags);
    if (options['printConfig']) {
      terminal.out(`${JSON.stringify(redactConfig(config), null, 2)}\n`);
    } else {
      await commands.serve(config, { isPrewarm: options['prewarm'] === true });
    }
  });
}

interface ImportOptions {
  out: string;
  quantization: 'nf4' | 'none';
  doubleQuantization: 'true' | 'false';
  json?: true;
}

function addImport(program: Command, commands: Commands): void {
  program
    .command('import')
    .description('fetch and quantize a base model into a folder that `serve --model` takes')
    .argument('<source>', 'a Hugging Face folder, a hub id, a .gguf file or a catalogue name')
    .requiredOption('--out <dir>', 'the folder to write')
    .addOption(
      new Option('--quantization <kind>', "none keeps every tensor's bits")
        .choices(['nf4', 'none'])
        .default('nf4'),
    )
    .addOption(
      new Option('--double-quantization <boolean>', 'quantize the scales of the 4-bit blocks too')
        .choices(['true', 'false'])
        .default('true'),
    )
    .option('--json', 'print the result as JSON')
    .addHelpText('after', IMPORT_EXAMPLES)
    .action(async (source: string, options: ImportOptions) => {
      const request: ImportRequest = {
        source,
        outDir: options.out,
        quantization: options.quantization,
        doubleQuantization: options.doubleQuantization === 'true',
        isJson: options.json ?? false,
      };
      await commands.import(request, loadConfig());
    });
}

/** A command line is public on its machine: secrets come by environment only, and are not repeated. */
function refuseSecrets(args: readonly string[]): void {
  const flags = args.filter((arg) => SECRET_FLAG.test(arg)).map((arg) => arg.split('=', 1)[0]);
  if (flags.length === 0) return;
  throw new ConfigError(
    flags.map((flag) => `${flag}: secrets are read from the environment only (HF_TOKEN)`),
  );
}

/** Commander has printed its own message, or the help or version that was asked for. */
function exitCodeOf(error: unknown, terminal: Terminal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  const { text, exitCode } = describeFailure(error);
  terminal.error(text);
  return exitCode;
}

function environmentHelp(): string {
  const only = listSettings().filter(({ flag }) => flag === undefined);
  const width = Math.max(...only.map(({ env }) => env.length)) + 2;
  const rows = only.map(({ env, help }) => `  ${env.padEnd(width)}${help}`);
  return `\nEnvironment only:\n${rows.join('\n')}\n`;
}

const SERVE_EXAMPLES = `
Examples:
  lorikeet serve
  lorikeet serve --model ./my-base --adapters ./adapters --port 9000
  lorikeet serve --host 0.0.0.0 --keys ./keys.json --slots 64
`;

const IMPORT_EXAMPLES = `
Examples:
  lorikeet import smollm2-135m-instruct --out ./smollm2
  lorikeet import Qwen/Qwen2.5-0.5B-Instruct --out ./qwen --double-quantization false
  lorikeet import ./model.gguf --out ./base --quantization none
`;

// The command line: its commands, its exit code, and the arguments that it refuses. Each command loads the code that it needs.
import { Command, CommanderError } from 'commander';
import { ConfigError } from '../common/errors.ts';
import { describeFailure, EXIT } from '../common/failure.ts';
import { VERSION } from '../common/version.ts';
import type { Reporter } from '../compose/context.ts';
import { addAdapters } from './adapter-commands.ts';
import { asksForAll, HELP_STYLE, helpWidth } from './help.ts';
import { addKeys } from './keys-commands.ts';
import { addImport, addModels, addSize, addVerify } from './model-commands.ts';
import { type CommandContext, PROGRAMS, type Programs } from './programs.ts';
import { addServe } from './serve-command.ts';
import { STANDARD_TERMINAL, type Terminal } from './terminal.ts';
import { addTraining } from './training-commands.ts';

const SECRET_FLAG = /^--?(?:[\w-]*-)?(?:token|secret|password|api-?key|credential)s?(?:=|$)/i;

/**
 * Runs one command line and returns its exit code.
 * @param args the arguments, without the program's name
 */
export async function runCommandLine(
  args: readonly string[],
  terminal: Terminal = STANDARD_TERMINAL,
  programs: Programs = PROGRAMS,
): Promise<number> {
  let exitCode: number = EXIT.ok;
  const exit = (code: number) => {
    exitCode = code;
  };
  try {
    refuseSecrets(args);
    await createProgram({
      terminal,
      reporter: createReporter(terminal),
      programs,
      showsAll: asksForAll(args),
      exit,
    }).parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Commander has already printed its message, or the requested help or version.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const failure = describeFailure(error);
    terminal.error(failure.text);
    return failure.exitCode;
  }
}

function createProgram(context: CommandContext): Command {
  const { terminal } = context;
  const program = new Command('lorikeet')
    .description('One base model, thousands of LoRA adapters, one OpenAI-style server.')
    .version(VERSION)
    .exitOverride()
    .configureHelp(HELP_STYLE)
    .configureOutput({
      writeOut: terminal.out,
      writeErr: terminal.error,
      getOutHelpWidth: () => helpWidth(terminal.columns),
      // An unknown option is shown without its value, which may be a secret.
      outputError: (text, write) => write(text.replace(/(unknown option '[^'=]*)=[^']*'/, "$1'")),
    });
  addServe(program, context);
  addModels(program, context);
  addImport(program, context);
  addAdapters(program, context);
  addKeys(program, context);
  addSize(program, context);
  addTraining(program, context);
  addVerify(program, context);
  return program;
}

function createReporter(terminal: Terminal): Reporter {
  return {
    notify: (text) => terminal.error(`${text}\n`),
    async openProgress() {
      const { createProgress } = await import('./progress.ts');
      const { withReminders } = await import('./reminders.ts');
      return withReminders(createProgress(terminal), terminal);
    },
  };
}

/** Refuses secrets, because every user of the machine can read a command line. The error does not repeat them. */
function refuseSecrets(args: readonly string[]): void {
  const flags = args.filter((arg) => SECRET_FLAG.test(arg)).map((arg) => arg.split('=', 1)[0]);
  if (flags.length === 0) return;
  throw new ConfigError(
    flags.map((flag) => `${flag}: Secrets are read from the environment only (HF_TOKEN).`),
  );
}

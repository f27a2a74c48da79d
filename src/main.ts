// The command's entry point.
import { runCommandLine } from './cli/command-line.ts';
import { exitOnClosedOutput } from './cli/terminal.ts';

/** How long connections, timers and child processes that a failed start or a late telemetry collector left may keep the process. */
const EXIT_MS = 200;

exitOnClosedOutput();
process.exitCode = await runCommandLine(process.argv.slice(2));
setTimeout(() => process.exit(), EXIT_MS).unref();

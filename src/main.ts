// The command's entry point.
import { runCommandLine } from './cli/command-line.ts';
import { exitOnClosedOutput } from './cli/terminal.ts';

exitOnClosedOutput();
process.exitCode = await runCommandLine(process.argv.slice(2));

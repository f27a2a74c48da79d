// Runs a program to its end.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Runs a program with its arguments. Rejects with its output if it fails. */
export const execute = promisify(execFile);

// The programs behind the commands. Loading one takes time, so each command loads only the program it runs.
import type { ProgramContext, Reporter } from '../compose/context.ts';
import type { ServingImport } from '../compose/imported-base.ts';
import type { ServeOptions } from '../compose/server.ts';
import type { TrainerOptions } from '../compose/training.ts';
import type { TrainerRequest } from '../contracts/training-messages.ts';
import type { Terminal } from './terminal.ts';

/** The programs behind the commands. Tests substitute others. */
export interface Programs {
  serve(context: ProgramContext, options: ServeOptions): Promise<void>;
  /** Resolves with the imported model's name and other facts. */
  importBase(request: ServingImport, context: ProgramContext): Promise<{ readonly name: string }>;
  /** Resolves with the trainer's exit code. */
  runTrainer(request: TrainerRequest, options: TrainerOptions): Promise<number>;
  /** Resolves with the pod's exit code. */
  runTrainerPod(attempt: string, context: ProgramContext): Promise<number>;
}

/** The real programs, each loaded on first use. */
export const PROGRAMS: Programs = {
  serve: async (...args) => (await import('../compose/server.ts')).serve(...args),
  importBase: async (...args) =>
    (await import('../compose/imported-base.ts')).importForServing(...args),
  runTrainer: async (...args) => (await import('../compose/training.ts')).runTrainer(...args),
  runTrainerPod: async (...args) => (await import('../compose/training.ts')).runTrainerPod(...args),
};

/** The objects that all commands need. */
export interface CommandContext {
  readonly terminal: Terminal;
  /** Shows messages and progress on the terminal. */
  readonly reporter: Reporter;
  readonly programs: Programs;
  /** Whether a help text lists all options, not only the common ones. */
  readonly showsAll: boolean;
  /** Sets the exit code of a command that succeeds. */
  exit(code: number): void;
}

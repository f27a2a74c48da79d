// The context that a program runs in: its settings, the signal that ends it, and its reports. The command line shows the
// reports on the terminal; the trainer sends them to its parent.
import type { Config } from '../settings/config.ts';

/** A progress display. The caller chooses the unit of `done` and `total`. */
export interface ProgressBar {
  /** Shows a phase's progress, followed by `detail`. A new phase ends the previous one. A total of 0 means unknown. */
  update(phase: string, done: number, total: number, detail?: string): void;
  /** Ends the current phase. */
  end(): void;
}

/** Shows messages and progress to the user. */
export interface Reporter {
  /** Shows one line. */
  notify(text: string): void;
  /** Opens a progress display. The caller ends it. */
  openProgress(): Promise<ProgressBar>;
}

/** The context of a program. */
export interface ProgramContext {
  readonly config: Config;
  /** Aborted to end the program. */
  readonly signal: AbortSignal;
  readonly reporter: Reporter;
}

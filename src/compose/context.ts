// The context that a program runs in: its settings, the signal that ends it, its reports, and a server that became ready. The
// command line shows the reports on the terminal; the trainer sends them to its parent.
import type { Config } from '../settings/config.ts';
import type { Access } from '../tenants/access.ts';

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

/** A server that has just become ready, described for the user who started it. */
export interface ReadyServer {
  readonly url: string;
  /** The base's name. */
  readonly name: string;
  /** The base as `--model` names it. */
  readonly model: string;
  /** Whether the base has a chat template. */
  readonly canChat: boolean;
  /** The folder of adapters, and whether it exists. It may be created later. */
  readonly adapters: { readonly folder: string; readonly exists: boolean } | undefined;
  /** The names of the served demo adapters. */
  readonly demos: readonly string[];
  /** Which clients the server accepts. */
  readonly access: Access['kind'];
}

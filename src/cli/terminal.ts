// The terminal of a command: its output, and the signals that interrupt it.

/** The output of a command: results go to `out`, everything else to `error`. */
export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  /** Whether `error` is a terminal, on which lines can be redrawn. */
  readonly isTTY?: boolean;
  /** The width of `out`, if it is a terminal. */
  readonly columns?: number | undefined;
  /** Whether somebody reads both on a terminal. Other readers may parse them. */
  readonly isInteractive?: boolean;
}

/** This process's standard output and standard error. */
export const STANDARD_TERMINAL: Terminal = {
  out: (text) => void process.stdout.write(text),
  error: (text) => void process.stderr.write(text),
  isTTY: process.stderr.isTTY,
  columns: process.stdout.columns,
  isInteractive: process.stderr.isTTY && process.stdout.isTTY,
};

/** By convention, 128 and the number of the signal. */
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
/** The exit code of a process that SIGPIPE ended. Node ignores this signal. */
const SIGPIPE_EXIT_CODE = 141;

/**
 * Ends the process quietly if nobody reads its results any more, as in `lorikeet train --help | head -1`. Without a reader for
 * standard error it continues, because a server or a training run must not end with the reader of its log.
 */
export function exitOnClosedOutput(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      if (stream === process.stdout) process.exit(SIGPIPE_EXIT_CODE);
    });
}

let interrupt: AbortController | undefined;

/**
 * Returns a signal that SIGINT, SIGTERM or SIGHUP (closed terminal) aborts with an `AbortError`. A second signal ends the
 * process immediately. Every call returns the same object.
 */
export function listenForInterrupt(): AbortSignal {
  if (interrupt) return interrupt.signal;
  const controller = new AbortController();
  interrupt = controller;
  for (const name of Object.keys(EXIT_CODES) as (keyof typeof EXIT_CODES)[]) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(EXIT_CODES[name]);
      controller.abort(new DOMException(`ended by ${name}`, 'AbortError'));
    });
  }
  return controller.signal;
}

// Shows the progress of long work: a bar on a terminal, a line per quarter where there is none (a log, a pipe).
import cliProgress, { type Options, type SingleBar } from 'cli-progress';

export interface Progress {
  /** `total` 0: unknown. Units are the caller's; a new phase ends the one before. `detail` stands behind the bar. */
  update(phase: string, done: number, total: number, detail?: string): void;
  /** Ends the current phase; the next update begins a new one. */
  end(): void;
}

/** What progress is written to: standard error, so that standard output stays the result's. */
export type ProgressStream = NodeJS.WritableStream & { isTTY?: boolean };

export function createProgress(stream: ProgressStream): Progress {
  return stream.isTTY ? createBar(stream) : createLines(stream);
}

/** Before the first two updates there is no speed, and no time left: the library would say `NFs`. */
const formatTime: NonNullable<Options['formatTime']> = (seconds, options, roundTo) =>
  Number.isFinite(Number(seconds)) ? cliProgress.Format.TimeFormat(seconds, options, roundTo) : '?';

function createBar(stream: ProgressStream): Progress {
  let current: { phase: string; bar: SingleBar } | undefined;
  const end = () => {
    current?.bar.stop();
    current = undefined;
  };
  return {
    update(phase, done, total, detail = '') {
      if (current?.phase !== phase) {
        end();
        const format =
          '{phase} {bar} {percentage}% | {duration_formatted}, {eta_formatted} left {detail}';
        const bar = new cliProgress.SingleBar(
          { format, formatTime, stream, hideCursor: true },
          cliProgress.Presets.shades_classic,
        );
        bar.start(total, done, { phase, detail });
        current = { phase, bar };
      }
      current.bar.setTotal(total);
      current.bar.update(done, { detail });
    },
    end,
  };
}

function createLines(stream: ProgressStream): Progress {
  let current: { phase: string; quarter: number } | undefined;
  return {
    update(phase, done, total, detail = '') {
      const quarter = total > 0 ? Math.floor((4 * done) / total) : 0;
      if (current?.phase === phase && quarter <= current.quarter) return;
      current = { phase, quarter };
      stream.write(total > 0 ? `${phase}: ${quarter * 25} % ${detail}`.trimEnd() : phase);
      stream.write('\n');
    },
    end() {
      current = undefined;
    },
  };
}

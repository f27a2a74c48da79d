// Shows the progress of long work: as a bar on a terminal, as a line per quarter in a log or a pipe.
import cliProgress, { type Options } from 'cli-progress';
import type { ProgressBar } from '../compose/context.ts';
import type { Terminal } from './terminal.ts';

/** Creates a progress display on standard error. */
export function createProgress(terminal: Terminal): ProgressBar {
  return terminal.isTTY ? createBar() : createLines(terminal);
}

const FORMAT = '{phase} {bar} {percentage}% | {duration_formatted}, {eta_formatted} left {detail}';
/** The library shows a total of 0 as 100%. */
const FORMAT_OF_UNKNOWN = '{phase} | {duration_formatted} {detail}';

/** Before the second update, speed and remaining time are unknown. The library would show `NFs`. */
const formatTime: NonNullable<Options['formatTime']> = (seconds, options, roundTo) =>
  Number.isFinite(Number(seconds)) ? cliProgress.Format.TimeFormat(seconds, options, roundTo) : '?';

/** A bar of one line. @param stream is drawn on, if it is a terminal */
export function createBar(stream: NodeJS.WritableStream = process.stderr): ProgressBar {
  let current: string | undefined;
  const format: Options['format'] = (options, params, payload) => {
    const text = params.total > 0 ? FORMAT : FORMAT_OF_UNKNOWN;
    return cliProgress.Format.Formatter({ ...options, format: text }, params, payload);
  };
  const bar = new cliProgress.SingleBar(
    { format, formatTime, stream, hideCursor: true },
    cliProgress.Presets.shades_classic,
  );
  return {
    update(phase, done, total, detail = '') {
      // A new phase takes the line of the last one, and counts its own time.
      if (phase !== current) bar.start(total, done, { phase, detail });
      current = phase;
      bar.setTotal(total);
      bar.update(done, { phase, detail });
    },
    end() {
      bar.stop();
      current = undefined;
    },
  };
}

function createLines(terminal: Terminal): ProgressBar {
  let current: { phase: string; quarter: number } | undefined;
  return {
    update(phase, done, total, detail = '') {
      const quarter = total > 0 ? Math.floor((4 * done) / total) : 0;
      if (current?.phase === phase && quarter <= current.quarter) return;
      current = { phase, quarter };
      const line = total > 0 ? `${phase}: ${quarter * 25}% ${detail}`.trimEnd() : phase;
      terminal.error(`${line}\n`);
    },
    end() {
      current = undefined;
    },
  };
}

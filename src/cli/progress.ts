// Shows the progress of long work: as a bar on a terminal, as a line per quarter in a log or a pipe.
import cliProgress, { type Options, type SingleBar } from 'cli-progress';
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

function createBar(): ProgressBar {
  let current: { phase: string; bar: SingleBar } | undefined;
  const end = () => {
    current?.bar.stop();
    current = undefined;
  };
  return {
    update(phase, done, total, detail = '') {
      if (current?.phase !== phase) {
        end();
        const format = total > 0 ? FORMAT : FORMAT_OF_UNKNOWN;
        const bar = new cliProgress.SingleBar(
          { format, formatTime, stream: process.stderr, hideCursor: true },
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

// Reminders in a log that a long phase still runs. On a terminal the bar counts the seconds itself.
import type { ProgressBar } from '../compose/context.ts';
import type { Terminal } from './terminal.ts';

/** From the begin of a phase to the first reminder, and between two of them. */
const FIRST_MS = 10_000;
const REMIND_MS = 30_000;

/** Before this share of a phase is done, its speed says little about the rest. */
const KNOWN_SHARE = 0.02;

/** Returns the time that is left of a phase, as the end of a line. Empty as long as it is unknown. */
export function timeLeft(elapsedMs: number, share: number): string {
  if (share < KNOWN_SHARE || share >= 1) return '';
  const seconds = Math.ceil(((elapsedMs / 1000) * (1 - share)) / share);
  return seconds < 120 ? `, ${seconds} s left` : `, ${Math.ceil(seconds / 60)} min left`;
}

/** Returns the same progress, which also says every half minute how far the phase is, and how long it has taken. */
export function withReminders(progress: ProgressBar, terminal: Terminal): ProgressBar {
  if (terminal.isTTY) return progress;
  let phase: string | undefined;
  let share = 0;
  let state = '';
  let timer: NodeJS.Timeout | undefined;
  const begin = (next: string | undefined) => {
    clearTimeout(timer);
    phase = next;
    if (next === undefined) return;
    const startMs = Date.now();
    const remind = () => {
      const ms = Date.now() - startMs;
      const percent = share > 0 ? `${Math.floor(100 * share)}%` : '';
      const done = [percent, state].filter(Boolean).join(' ');
      const parts = [done, `${Math.round(ms / 1000)} s so far`].filter(Boolean).join(', ');
      terminal.error(`${next}: ${parts}${timeLeft(ms, share)}\n`);
      timer = setTimeout(remind, REMIND_MS).unref();
    };
    timer = setTimeout(remind, FIRST_MS).unref();
  };
  return {
    update(next, done, total, detail = '') {
      if (next !== phase) begin(next);
      share = total > 0 ? done / total : 0;
      state = detail;
      progress.update(next, done, total, detail);
    },
    end() {
      begin(undefined);
      progress.end();
    },
  };
}

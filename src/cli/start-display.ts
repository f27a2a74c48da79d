// Shows the start of a server on a terminal: one bar for all phases, from the download to the first request. Messages appear
// above the bar, which stays on the last line. The progress bars of other commands cannot do either.
import type { Reporter } from '../compose/context.ts';
import { timeLeft } from './reminders.ts';

/** The part of the bar for each phase, in percent. Most starts have only the last one. */
const SHARES: Readonly<Record<string, readonly [from: number, to: number]>> = {
  download: [0, 50],
  quantize: [50, 65],
  write: [65, 69],
  verify: [69, 70],
  prepare: [70, 90],
};
const LAST_PHASE = 'start';
const WIDTH = 30;
const CLEAR_LINE = '\r\u001b[K';

/** The bar of a start. */
interface StartBar {
  /** Reports the phases to the bar, and prints messages above it. */
  readonly reporter: Reporter;
  /** Fills the bar and leaves it on the screen with this text. */
  complete(text: string): void;
  /** Removes the bar if it is not complete. */
  close(): void;
}

/** Opens the bar of a start. `write` writes to the terminal. */
export function openStartBar(write: (text: string) => void): StartBar {
  let isOpen = true;
  let percent = 0;
  let shown = '';
  const show = (next: number, text: string) => {
    percent = Math.max(percent, Math.floor(next)); // a second try of a download does not go back
    const filled = Math.round((WIDTH * percent) / 100);
    const bar = `${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)}`;
    const line = `${bar} ${String(percent).padStart(3)}% ${text}`;
    if (isOpen && line !== shown) write(`${CLEAR_LINE}${line}`);
    shown = line;
  };
  show(0, LAST_PHASE);
  let current = { phase: '', startMs: 0 };
  const progress = {
    update(phase: string, done: number, total: number) {
      if (phase !== current.phase) current = { phase, startMs: Date.now() };
      const [from, to] = SHARES[phase] ?? [percent, percent];
      const share = total > 0 ? done / total : 0;
      show(from + (to - from) * share, `${phase}${timeLeft(Date.now() - current.startMs, share)}`);
    },
    end: () => show(percent, LAST_PHASE),
  };
  const endWith = (text: string) => {
    if (isOpen) write(text);
    isOpen = false;
  };
  return {
    reporter: {
      notify: (text) => write(isOpen ? `${CLEAR_LINE}${text}\n${shown}` : `${text}\n`),
      openProgress: async () => progress,
    },
    complete(text) {
      show(100, text);
      endWith('\n');
    },
    close: () => endWith(CLEAR_LINE),
  };
}

// The theme that the user chose. `theme.js` applies it before the first paint.
import { type ReadonlySignal, signal } from '@preact/signals';

const NAME = 'lorikeet.theme';

/** The choices, by their stored names. */
export const THEMES = [
  ['', 'As the system'],
  ['light', 'Light'],
  ['dark', 'Dark'],
] as const;

const stored = () => localStorage.getItem(NAME) ?? '';
const chosen = signal(stored());
addEventListener('storage', () => {
  chosen.value = stored();
});

/** The stored name of the choice. */
export const theme: ReadonlySignal<string> = chosen;

/** Applies a theme in all tabs, and keeps it for the next visit. */
export function setTheme(name: string): void {
  if (name === '') localStorage.removeItem(NAME);
  else localStorage.setItem(NAME, name);
  dispatchEvent(new Event('storage')); // the browser sends it to other tabs only
}

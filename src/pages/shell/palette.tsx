// The command palette (Ctrl+K): goes to a page, an adapter or a job by its name.
import { signal } from '@preact/signals';
import type { FineTuningJob as Job } from '../../contracts/fine-tuning-api.ts';
import type { Model } from '../../contracts/openai.ts';
import { readOptional } from '../api.ts';
import { Combobox } from '../components/combobox.tsx';
import { Dialog } from '../components/dialog.tsx';
import { setTheme, THEMES } from './theme.ts';

interface Command {
  readonly value: string;
  /** The kind of the place. */
  readonly note: string;
  readonly run: () => void;
}

const isOpen = signal(false);
const found = signal<readonly Command[]>([]);

addEventListener('keydown', (event) => {
  if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault(); // browsers put the focus into their search
  openPalette();
});

function openPalette(): void {
  isOpen.value = true;
  void findPlaces();
}

const goTo = (href: string) => () => location.assign(href);

/** Reads the lists of the API. A list that is not there is left out. */
async function findPlaces(): Promise<void> {
  const list = async <Item,>(path: string) =>
    (await readOptional<{ data: readonly Item[] }>(path))?.data ?? [];
  const [models, jobs] = await Promise.all([
    list<Model>('v1/models?limit=1000'),
    list<Job>('v1/fine_tuning/jobs?limit=100'),
  ]);
  found.value = [
    ...models.map(({ id }) => ({
      value: id,
      note: 'Model',
      run: goTo(`./?${new URLSearchParams({ model: id })}`),
    })),
    ...jobs.map(({ id, user_provided_suffix: suffix }) => ({
      value: suffix ? `${suffix} · ${id}` : id,
      note: 'Job',
      run: goTo(`fine-tuning#${id}`),
    })),
  ];
}

/** The pages of the layout's navigation, and the themes. */
function ownCommands(): Command[] {
  const links = [...document.querySelectorAll<HTMLAnchorElement>('header nav a')];
  return [
    ...links.map(({ textContent, href }) => ({
      value: textContent,
      note: 'Page',
      run: goTo(href),
    })),
    ...THEMES.map(([name, text]) => ({
      value: `Theme: ${text}`,
      note: 'Setting',
      run: () => setTheme(name),
    })),
  ];
}

/** The button that opens the palette. */
export function PaletteButton() {
  return (
    <button
      type="button"
      class="quiet"
      id="palette-button"
      aria-haspopup="dialog"
      onClick={openPalette}
    >
      Go to <kbd>Ctrl K</kbd>
    </button>
  );
}

/** The dialog. */
export function Palette() {
  const commands = isOpen.value ? [...ownCommands(), ...found.value] : [];
  const run = (value: string) => {
    const command = commands.find((one) => one.value === value);
    if (!command || !isOpen.value) return; // a field that is removed reports what was typed in it
    isOpen.value = false;
    command.run();
  };
  return (
    <Dialog
      id="palette"
      title="Go to"
      isOpen={isOpen.value}
      onClose={() => {
        isOpen.value = false;
      }}
    >
      <Combobox
        id="palette-search"
        label="Page, model or job"
        items={commands}
        value=""
        onChange={run}
        isOpenFirst
      />
    </Dialog>
  );
}

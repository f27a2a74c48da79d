// Prompts that the user saved, apart for each tenant in this browser.
import { signal } from '@preact/signals';
import { currentUser, identified } from '../account.ts';
import { errorText } from '../api.ts';
import { serverPath } from '../key.ts';

/** A saved prompt. */
export interface SavedPrompt {
  readonly name: string;
  readonly text: string;
  readonly system: string;
}

const itemOf = (tenant: string) => `lorikeet.prompts ${JSON.stringify([serverPath(), tenant])}`;

/** The tenant's prompts by name. */
export class SavedPrompts {
  readonly all = signal<readonly SavedPrompt[]>([]);
  /** Why the last change was not saved; empty if it was. */
  readonly problem = signal('');

  /** Reads them again: another tab may have changed them. */
  async load(): Promise<void> {
    await identified;
    const tenant = currentUser()?.id;
    this.problem.value = '';
    this.all.value = tenant ? stored(tenant) : [];
  }

  /** Saves a prompt, in place of one with the same name. */
  async save(prompt: SavedPrompt): Promise<void> {
    await this.load();
    const others = this.all.value.filter(({ name }) => name !== prompt.name);
    this.#store([...others, prompt].sort((a, b) => a.name.localeCompare(b.name)));
  }

  /** Removes a prompt. */
  async remove(name: string): Promise<void> {
    await this.load();
    this.#store(this.all.value.filter((one) => one.name !== name));
  }

  #store(prompts: readonly SavedPrompt[]): void {
    const tenant = currentUser()?.id;
    try {
      if (!tenant) throw new Error('sign in first');
      localStorage.setItem(itemOf(tenant), JSON.stringify(prompts));
      this.all.value = prompts;
    } catch (error) {
      this.problem.value = `Not saved: ${errorText(error)}`;
    }
  }
}

function stored(tenant: string): readonly SavedPrompt[] {
  try {
    return JSON.parse(localStorage.getItem(itemOf(tenant)) ?? '[]');
  } catch {
    return []; // another program wrote it
  }
}

// Who the user is: the key of this tab, its tenant, and the dialog that asks for a key. The layout shows it on each page.
import { computed, type ReadonlySignal, signal } from '@preact/signals';
import type { Me } from '../contracts/management-api.ts';
import {
  apiKey,
  claimTab,
  dropKey,
  endSession,
  hasSessionEnded,
  identify,
  keyFault,
  signOut,
} from './key.ts';
import { askOtherTabs, stayOut } from './other-tabs.ts';

/** The user's tenant; undefined until the server has answered, and while a key is missing. */
const me = signal<Me>();
const isKnown = signal(false);
const isReachable = signal(true);
/** The open dialog, shared by all requests that wait for it. */
const asked = signal<{ readonly resolve: (isSignedIn: boolean) => void }>();
const problem = signal('');

/** Everything that the layout shows of the account. */
export const account = {
  me: me as ReadonlySignal<Me | undefined>,
  isOpen: computed(() => asked.value !== undefined),
  /** Why there is no key. */
  problem: problem as ReadonlySignal<string>,
  /** The name of the account's button; empty until the server has answered. */
  name: computed(() => {
    if (!isReachable.value) return 'Not connected';
    return isKnown.value ? (me.value?.id ?? 'Sign in') : '';
  }),
};

let waiting: Promise<boolean> | undefined;
/** Whether the user has closed the dialog. Then only their own actions open it again. */
let isDeclined = false;
/** Whether the server is being asked about a key. */
let isSigningIn = false;
/** Whether the server has refused the key that this tab had when it was opened. */
let wasRefused = false;

/** Resolves when it is known who the user is. */
export const identified = findUser();

/** Returns the user's tenant; undefined without a key that the server needs, or if it did not answer. */
export function currentUser(): Me | undefined {
  return me.value;
}

async function findUser(): Promise<void> {
  try {
    if (hasSessionEnded()) await clearTab();
    let key = apiKey();
    let found = await identify(key);
    wasRefused = !found && key !== undefined;
    if (wasRefused) dropKey();
    else if (!found) {
      key = await askOtherTabs();
      found = key === undefined ? undefined : await identify(key);
    }
    if (found && (await claimTab(found, key))) leavePage();
    me.value = found;
  } catch {
    isReachable.value = false;
  }
  isKnown.value = true;
}

/** Resolves with whether this tab has got another key than the one that the server has refused. Another tab may have one. */
export async function hasNewKey(refused: string | undefined): Promise<boolean> {
  if (!isKnown.value) await identified;
  const key = apiKey();
  return key !== undefined && key !== refused;
}

/**
 * Asks the user for a key after the server has answered 401. Resolves with whether there is a key that the server accepts. Only a
 * request that the user caused opens the dialog again after the user has closed it.
 */
export async function askForKey({ isUserAction }: { isUserAction: boolean }): Promise<boolean> {
  if (waiting) return waiting;
  const isRefused = wasRefused || apiKey() !== undefined;
  wasRefused = false;
  dropKey();
  me.value = undefined;
  if (isDeclined && !isUserAction) return false;
  waiting = openAccount(isRefused ? 'The server no longer accepts your key.' : '').finally(() => {
    waiting = undefined;
  });
  return waiting;
}

/** Opens the dialog. Resolves with whether the user entered a key that the server accepts. */
export function openAccount(text = ''): Promise<boolean> {
  problem.value = text;
  const open = asked.value;
  return new Promise((resolve) => {
    asked.value = {
      resolve(isSignedIn) {
        open?.resolve(isSignedIn); // who opened the dialog before waits for the same answer
        resolve(isSignedIn);
      },
    };
  });
}

/** Closes the dialog. */
export function closeAccount(isSignedIn = false): void {
  isDeclined = !isSignedIn;
  asked.value?.resolve(isSignedIn);
  asked.value = undefined;
}

/** Stores the key if the server accepts it, else shows why not. */
export async function signIn(key: string): Promise<void> {
  problem.value = keyFault(key) ?? '';
  // A disabled button would lose the focus while a slow server answers.
  if (problem.value !== '' || isSigningIn) return;
  isSigningIn = true;
  try {
    const owner = await identify(key);
    if (!owner) {
      problem.value = 'Unknown API key. Check it, or create one with lorikeet keys create.';
      return;
    }
    const isOther = await claimTab(owner, key);
    // The page holds the other tenant's data, and the requests that wait for a key are that tenant's.
    if (isOther) return leavePage();
    me.value = owner;
    isReachable.value = true;
    closeAccount(true);
    dispatchEvent(new Event('signin'));
  } catch (error) {
    problem.value = (error as Error).message;
  } finally {
    isSigningIn = false;
  }
}

/** Signs out, in all tabs. */
export async function leave(): Promise<void> {
  endSession();
  await leaveTab();
}

async function leaveTab(): Promise<void> {
  await clearTab();
  leavePage();
}

/** Forgets the user. */
async function clearTab(): Promise<void> {
  await signOut();
  stayOut();
}

// Another tab writes to the storage when it signs out, and a page may come back that was left before.
for (const event of ['storage', 'pageshow'])
  addEventListener(event, () => {
    if (hasSessionEnded()) void leaveTab();
  });

/** Loads the page again, without an address that may contain the tenant's settings. */
function leavePage(): void {
  location.replace(location.pathname);
}

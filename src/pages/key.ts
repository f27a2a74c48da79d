// The user's API key, kept in this tab's session storage after the server has accepted it. Touches no element of a page.
import type { Me } from '../contracts/management-api.ts';

/** The prefix of everything that the pages store. Signing out removes all of it. */
const PREFIX = 'lorikeet.';
const KEY = `${PREFIX}key`;
const TENANT = `${PREFIX}tenant`;
/** The number of the tab's session among those of its tenant. */
const SESSION = `${PREFIX}session`;

/** Servers below different paths of one host share the browser's storage. */
export function serverPath(): string {
  return new URL('.', document.baseURI).pathname;
}

/** The number of a tenant's sessions that have ended. All tabs share it, so it also reaches those that are not loaded now. */
const endedName = (tenant: string) => `${PREFIX}ended ${JSON.stringify([serverPath(), tenant])}`;
const endedOf = (tenant: string) => localStorage.getItem(endedName(tenant)) ?? '0';

/** Returns the key; undefined if the user is not signed in. */
export function apiKey(): string | undefined {
  return hasSessionEnded() ? undefined : (sessionStorage.getItem(KEY) ?? undefined);
}

/** Returns the tenant that uses this tab; undefined if none has. */
export function tabTenant(): string | undefined {
  return sessionStorage.getItem(TENANT) ?? undefined;
}

/** Whether the user has signed out in this or another tab since this tab has its key. */
export function hasSessionEnded(): boolean {
  const tenant = tabTenant();
  return tenant !== undefined && endedOf(tenant) !== (sessionStorage.getItem(SESSION) ?? '0');
}

/** Ends the session of this tab's tenant in all tabs. */
export function endSession(): void {
  const tenant = tabTenant();
  if (tenant) localStorage.setItem(endedName(tenant), String(Number(endedOf(tenant)) + 1));
}

/** Returns the headers that authenticate a request. */
export function keyHeaders(key = apiKey()): Record<string, string> {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

/**
 * Asks the server which tenant a key belongs to. Resolves with undefined if the key is rejected, or missing on a server that
 * needs one.
 * @throws Error if the server does not answer; the message is for the user
 */
export async function identify(key: string | undefined): Promise<Me | undefined> {
  const response = await fetch('v1/me', { headers: keyHeaders(key), cache: 'no-store' }).catch(
    () => {
      throw new Error('The server does not answer. Try again in a moment.');
    },
  );
  if (response.status === 401) return undefined;
  if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
  return response.json();
}

/** Returns why a text cannot be a key; undefined if it can. Headers are ASCII, so `fetch` would fail on other characters. */
export function keyFault(text: string): string | undefined {
  const [bad] = /[^\x21-\x7e]/u.exec(text) ?? [];
  if (bad === undefined) return undefined;
  const what = bad.trim() === '' ? 'a space' : `“${bad}”`;
  return `An API key has only ASCII letters, digits and symbols, but this one contains ${what}. Copy it again.`;
}

/**
 * Makes the tab a tenant's, with the key if the server needs one. If another tenant used it before, removes everything that it
 * stored, once its chat is saved. Resolves with whether another tenant used this tab.
 */
export async function claimTab({ id }: Me, key: string | undefined): Promise<boolean> {
  const owner = tabTenant();
  const isOther = owner !== undefined && owner !== id;
  if (isOther) await signOut();
  sessionStorage.setItem(TENANT, id);
  sessionStorage.setItem(SESSION, endedOf(id));
  if (key !== undefined) sessionStorage.setItem(KEY, key);
  return isOther;
}

/** Removes a key that the server no longer accepts. The chat stays for the tenant's next key. */
export function dropKey(): void {
  sessionStorage.removeItem(KEY);
}

/**
 * Signs out: removes everything that the pages stored in this tab. The event `signout` tells pages to store nothing more in it,
 * and its detail takes promises of what is still being saved.
 */
export async function signOut(): Promise<void> {
  const saving: Promise<void>[] = [];
  dispatchEvent(new CustomEvent('signout', { detail: saving }));
  const names = Array.from({ length: sessionStorage.length }, (_, i) => sessionStorage.key(i));
  for (const name of names) if (name?.startsWith(PREFIX)) sessionStorage.removeItem(name);
  await Promise.all(saving);
}

// The user's API key, kept in this tab's session storage after the server has accepted it. Touches no element of a page.

/** The prefix of everything that the pages store. Signing out removes all of it. */
const PREFIX = 'lorikeet.';
const KEY = `${PREFIX}key`;
const TENANT = `${PREFIX}tenant`;

/** @typedef {import('../contracts/management-api.ts').Me} Me */

/** Returns the key; undefined if the user is not signed in. @returns {string | undefined} */
export function apiKey() {
  return sessionStorage.getItem(KEY) ?? undefined;
}

/** Returns the headers that authenticate a request. @returns {Record<string, string>} */
export function keyHeaders(key = apiKey()) {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

/**
 * Asks the server which tenant a key belongs to.
 * @param {string | undefined} key
 * @returns {Promise<Me | undefined>} undefined if the key is rejected, or missing on a server that needs one
 * @throws {Error} if the server does not answer; the message is for the user
 */
export async function identify(key) {
  const response = await fetch('v1/me', { headers: keyHeaders(key), cache: 'no-store' }).catch(
    () => {
      throw new Error('The server does not answer. Try again in a moment.');
    },
  );
  if (response.status === 401) return undefined;
  if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
  return response.json();
}

/**
 * Returns why a text cannot be a key; undefined if it can. Headers are ASCII, so `fetch` would fail on other characters.
 * @param {string} text
 */
export function keyFault(text) {
  const [bad] = /[^\x21-\x7e]/u.exec(text) ?? [];
  if (bad === undefined) return undefined;
  const what = bad.trim() === '' ? 'a space' : `“${bad}”`;
  return `An API key has only ASCII letters, digits and symbols, but this one contains ${what}. Copy it again.`;
}

/**
 * Makes the tab a tenant's, with the key if the server needs one. If another tenant used it before, removes everything that it
 * stored, once its chat is saved.
 * @param {Me} me
 * @param {string | undefined} key
 * @returns {Promise<boolean>} whether another tenant used this tab
 */
export async function claimTab({ id }, key) {
  const owner = sessionStorage.getItem(TENANT);
  const isOther = owner !== null && owner !== id;
  if (isOther) await signOut();
  sessionStorage.setItem(TENANT, id);
  if (key !== undefined) sessionStorage.setItem(KEY, key);
  return isOther;
}

/** Removes a key that the server no longer accepts. The chat stays for the tenant's next key. */
export function dropKey() {
  sessionStorage.removeItem(KEY);
}

/**
 * Signs out: removes everything that the pages stored in this tab. The event `signout` tells pages to store nothing more in it,
 * and its detail takes promises of what is still being saved.
 */
export async function signOut() {
  /** @type {Promise<void>[]} */
  const saving = [];
  dispatchEvent(new CustomEvent('signout', { detail: saving }));
  const names = Array.from({ length: sessionStorage.length }, (_, i) => sessionStorage.key(i));
  for (const name of names) if (name?.startsWith(PREFIX)) sessionStorage.removeItem(name);
  await Promise.all(saving);
}

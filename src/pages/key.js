// The reader's API key. It lives in this tab's session storage, together with everything else that the pages keep for
// the reader, and only after the server accepted it. Knows no element of a page.

/** Everything that the pages store has this prefix; signing out removes all of it. */
const PREFIX = 'lorikeet.';
const KEY = `${PREFIX}key`;
const TENANT = `${PREFIX}tenant`;

/** @typedef {import('../contracts/openai.ts').Me} Me */

/** @returns {string | undefined} */
export function apiKey() {
  return sessionStorage.getItem(KEY) ?? undefined;
}

/** Headers that authenticate a request. @returns {Record<string, string>} */
export function keyHeaders(key = apiKey()) {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

/**
 * Asks the server whose key this is.
 * @param {string | undefined} key
 * @returns {Promise<Me | undefined>} undefined if the server rejects the key, or wants one and there is none
 * @throws {Error} if the server gives no usable answer; its message is for the reader
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
 * Why this cannot be sent as a key; undefined if it can. Headers hold ASCII only, so `fetch` would fail on others.
 * @param {string} text
 */
export function keyFault(text) {
  const [bad] = /[^\x21-\x7e]/u.exec(text) ?? [];
  if (bad === undefined) return undefined;
  const what = bad.trim() === '' ? 'a space' : `“${bad}”`;
  return `An API key has ASCII letters, digits and signs only; this one contains ${what}. Copy it again.`;
}

/**
 * Keeps an accepted key. If this tab was another tenant's before, removes what that one stored.
 * @param {string} key
 * @param {Me} me
 * @returns {boolean} whether the tab was another tenant's
 */
export function keepKey(key, { id }) {
  const owner = sessionStorage.getItem(TENANT);
  const isOther = owner !== null && owner !== id;
  if (isOther) signOut();
  sessionStorage.setItem(KEY, key);
  sessionStorage.setItem(TENANT, id);
  return isOther;
}

/** Drops a key that the server no longer accepts; the reader's history stays for the tenant's next key. */
export function dropKey() {
  sessionStorage.removeItem(KEY);
}

/** Removes the key and everything else that the pages stored in this tab. A page that stores something listens for
 * `signout`, to store nothing more. */
export function signOut() {
  dispatchEvent(new Event('signout'));
  const names = Array.from({ length: sessionStorage.length }, (_, i) => sessionStorage.key(i));
  for (const name of names) if (name?.startsWith(PREFIX)) sessionStorage.removeItem(name);
}

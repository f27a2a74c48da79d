// The account control in every page's header: who the reader is to the server, and one dialog to sign in, to change
// the key and to sign out. The layout loads it on each page.
import { byId, el, fill, say } from './dom.js';
import { apiKey, dropKey, identify, keepKey, keyFault, signOut } from './key.js';

/** @typedef {import('./key.js').Me} Me */

const button = byId('account-button', HTMLButtonElement);
const dialog = byId('account-dialog', HTMLDialogElement);
const form = byId('account-form', HTMLFormElement);
const input = byId('account-key', HTMLInputElement);
const submit = byId('account-submit', HTMLButtonElement);

/** Undefined until the server told, and while it wants a key that the reader has not given. @type {Me | undefined} */
let me;
/** Requests that wait for the same dialog share it. @type {Promise<boolean> | undefined} */
let asking;
/** The reader closed the dialog: requests of the page's own accord do not open it again. */
let isDeclined = false;

button.addEventListener('click', async () => {
  if (await openDialog('')) location.reload();
});
byId('account-close').addEventListener('click', () => dialog.close());
byId('account-sign-out').addEventListener('click', () => {
  signOut();
  location.replace(location.pathname); // the address may hold settings of the tenant
});
form.addEventListener('submit', (event) => {
  event.preventDefault();
  void signIn(input.value.trim());
});
void showReader();

async function showReader() {
  const key = apiKey();
  try {
    me = await identify(key);
    if (me === undefined && key !== undefined) dropKey();
    showButton(me?.id ?? 'Sign in');
  } catch {
    showButton('Not connected');
  }
}

/** @param {string} text */
function showButton(text) {
  say(byId('account-name'), text);
  button.hidden = false;
}

/**
 * Asks the reader for a key after the server answered 401.
 * @param {{ isUserAction: boolean }} cause whether the reader caused the request: only then is somebody asked again
 *   who has closed the dialog
 * @returns {Promise<boolean>} whether there is a key that the server accepts
 */
export function askForKey({ isUserAction }) {
  if (asking) return asking;
  const wasRejected = apiKey() !== undefined;
  dropKey();
  me = undefined;
  showButton('Sign in');
  if (isDeclined && !isUserAction) return Promise.resolve(false);
  asking = openDialog(wasRejected ? 'The server no longer accepts your key.' : '').finally(() => {
    asking = undefined;
  });
  return asking;
}

/**
 * @param {string} problem
 * @returns {Promise<boolean>} whether the reader gave a key that the server accepts
 */
function openDialog(problem) {
  showIdentity();
  showProblem(problem);
  input.value = '';
  const before = apiKey();
  return new Promise((resolve) => {
    dialog.addEventListener(
      'close',
      () => {
        const key = apiKey();
        const isSignedIn = key !== undefined && key !== before;
        isDeclined = !isSignedIn;
        resolve(isSignedIn);
      },
      { once: true },
    );
    if (!dialog.open) dialog.showModal();
    (form.hidden ? byId('account-close') : input).focus();
  });
}

function showIdentity() {
  const isSignedIn = me?.needs_key === true;
  say(byId('account-title'), me ? 'Account' : 'Sign in');
  form.hidden = me?.needs_key === false;
  submit.hidden = form.hidden;
  byId('account-sign-out').hidden = !isSignedIn;
  say(byId('account-label'), isSignedIn ? 'Another API key' : 'API key');
  say(submit, isSignedIn ? 'Change key' : 'Sign in');
  fill(byId('account-identity'), ...identityText());
}

function identityText() {
  if (!me) {
    return [
      'This server needs an API key. The key stays in this tab and is removed when you close it.',
    ];
  }
  const tenant = el('strong', {}, me.id);
  if (!me.needs_key)
    return ['This server needs no API key. Your requests belong to the tenant ', tenant, '.'];
  return [
    'You are signed in as ',
    tenant,
    me.is_admin ? ' with an admin key.' : '.',
    ' Signing out removes the key and your chat from this tab.',
  ];
}

/** Keeps the key if the server accepts it; else says why not. @param {string} key */
async function signIn(key) {
  const fault = keyFault(key);
  if (fault !== undefined) return showProblem(fault);
  submit.disabled = true;
  try {
    const found = await identify(key);
    if (!found) return showProblem('The server does not know this key. Check it, or create one.');
    const isOther = keepKey(key, found);
    me = found;
    showButton(found.id);
    dialog.close();
    dispatchEvent(new Event('signin'));
    // What the page shows is the other tenant's.
    if (isOther) location.reload();
  } catch (error) {
    showProblem(error instanceof Error ? error.message : String(error));
  } finally {
    submit.disabled = false;
  }
}

/** @param {string} text */
function showProblem(text) {
  const place = byId('account-problem');
  say(place, text);
  place.hidden = text === '';
  if (text === '') input.removeAttribute('aria-invalid');
  else input.setAttribute('aria-invalid', 'true');
}

// The account button in every page's header, and its dialog: sign in, change the key, sign out. The layout loads this
// module on each page.
import { byId, el, fill, setText, showProblemIn } from './dom.js';
import { apiKey, claimTab, dropKey, identify, keyFault, signOut } from './key.js';

/** @typedef {import('./key.js').Me} Me */

const button = byId('account-button', HTMLButtonElement);
const dialog = byId('account-dialog', HTMLDialogElement);
const form = byId('account-form', HTMLFormElement);
const input = byId('account-key', HTMLInputElement);
const submit = byId('account-submit', HTMLButtonElement);

/** The user's tenant; undefined until the server has answered, and while a key is missing. @type {Me | undefined} */
let me;
/** The open dialog, shared by all requests that wait for it. @type {Promise<boolean> | undefined} */
let openedDialog;
/** Whether the user has closed the dialog. Then only their own actions open it again. */
let isDeclined = false;
/** Whether the server is being asked about a key. */
let isSigningIn = false;

button.addEventListener('click', async () => {
  if (await openDialog('')) location.reload();
});
byId('account-close').addEventListener('click', () => dialog.close());
byId('account-sign-out').addEventListener('click', async () => {
  await signOut();
  leavePage();
});
form.addEventListener('submit', (event) => {
  event.preventDefault();
  void signIn(input.value.trim());
});
/** Resolves when it is known who the user is. */
export const identified = showUser();

/** Returns the user's tenant; undefined without a key that the server needs, or if it did not answer. */
export function currentUser() {
  return me;
}

async function showUser() {
  const key = apiKey();
  try {
    me = await identify(key);
    if (me === undefined && key !== undefined) dropKey();
    if (me && (await claimTab(me, key))) leavePage();
    showButton(me?.id ?? 'Sign in');
  } catch {
    showButton('Not connected');
  }
}

/** @param {string} text */
function showButton(text) {
  setText(byId('account-name'), text);
}

/**
 * Asks the user for a key after the server has answered 401.
 * @param {{ isUserAction: boolean }} cause whether the user caused the request. Only then is the dialog opened again
 *   after the user has closed it.
 * @returns {Promise<boolean>} whether there is a key that the server accepts
 */
export function askForKey({ isUserAction }) {
  if (openedDialog) return openedDialog;
  const wasRejected = apiKey() !== undefined;
  dropKey();
  me = undefined;
  showButton('Sign in');
  if (isDeclined && !isUserAction) return Promise.resolve(false);
  const problem = wasRejected ? 'The server no longer accepts your key.' : '';
  openedDialog = openDialog(problem).finally(() => {
    openedDialog = undefined;
  });
  return openedDialog;
}

/**
 * @param {string} problem
 * @returns {Promise<boolean>} whether the user entered a key that the server accepts
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
        const { activeElement: focused, body } = document;
        // The page opened the dialog, so the browser has no element that gets the focus back.
        if (focused === body || dialog.contains(focused)) button.focus();
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
  setText(byId('account-title'), me ? 'Account' : 'Sign in');
  form.hidden = me?.needs_key === false;
  submit.hidden = form.hidden;
  byId('account-sign-out').hidden = !isSignedIn;
  setText(byId('account-label'), isSignedIn ? 'New API key' : 'API key');
  setText(submit, isSignedIn ? 'Change key' : 'Sign in');
  fill(byId('account-identity'), ...identityText());
}

function identityText() {
  if (!me) {
    return [
      'This server needs an API key. It is stored in this tab only, and removed when you close the tab.',
    ];
  }
  const tenant = el('strong', me.id);
  if (!me.needs_key) return ['This server needs no API key. You are the tenant ', tenant, '.'];
  return [
    'You are signed in as ',
    tenant,
    me.is_admin ? ' with an admin key.' : '.',
    ' Signing out removes the key from this tab. Your chats stay in this browser for your next visit.',
  ];
}

/** Stores the key if the server accepts it, else shows why not. @param {string} key */
async function signIn(key) {
  const fault = keyFault(key);
  if (fault !== undefined) return showProblem(fault);
  // A disabled button would lose the focus while a slow server answers.
  if (isSigningIn) return;
  isSigningIn = true;
  try {
    const owner = await identify(key);
    if (!owner)
      return showProblem('Unknown API key. Check it, or create one with lorikeet keys create.');
    const isOther = await claimTab(owner, key);
    // The page holds the other tenant's data, and the requests that wait for a key are that tenant's.
    if (isOther) return leavePage();
    me = owner;
    showButton(owner.id);
    dialog.close();
    dispatchEvent(new Event('signin'));
  } catch (error) {
    showProblem(/** @type {Error} */ (error).message);
  } finally {
    isSigningIn = false;
  }
}

/** Loads the page again, without an address that may contain the tenant's settings. */
function leavePage() {
  location.replace(location.pathname);
}

/** @param {string} text */
function showProblem(text) {
  showProblemIn(byId('account-problem'), text);
  input.setAttribute('aria-invalid', String(text !== ''));
  if (text !== '') input.focus();
}

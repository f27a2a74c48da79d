// The form of a new job as this tab stores it, so that a visit to another page loses nothing. Touches no element.

/**
 * @typedef {object} JobDraft
 * @property {string} model
 * @property {string} suffix as typed
 * @property {Readonly<Record<string, string>>} typed hyperparameters
 * @property {Readonly<Record<string, unknown>>} carried settings of a repeated job that have no field
 * @property {number} [heldOut] percent of the training file; absent in older drafts
 * @property {unknown} [format] the response format of a repeated job that learns from rewards
 * @property {string} [grader] as typed; empty: a template
 * @property {readonly (import('./file-field.js').StoredFile | null)[]} files the training file and the validation file
 */

const ITEM = 'lorikeet.job-draft';

/** After signing out nothing is stored. */
let isSignedOut = false;
addEventListener('signout', () => {
  isSignedOut = true;
});

/** Stores the form. @param {JobDraft} draft */
export function saveDraft(draft) {
  if (!isSignedOut) sessionStorage.setItem(ITEM, JSON.stringify(draft));
}

/** Returns the stored form; undefined if there is none. @returns {JobDraft | undefined} */
export function loadDraft() {
  return JSON.parse(sessionStorage.getItem(ITEM) ?? 'null') ?? undefined;
}

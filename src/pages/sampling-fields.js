// The sampling parameters of the playground. Written by `npm run fix` from src/contracts/sampling-fields.ts.

/**
 * @typedef {object} Parameter
 * @property {string} name as in the API
 * @property {string} label
 * @property {number} min
 * @property {number} [max]
 * @property {boolean} [isInteger]
 * @property {string} standard the default if the model has none
 * @property {boolean} [isOpenAi] whether OpenAI's clients have it
 * @property {boolean} [isAdvanced] under "More parameters"
 */

/** @type {readonly Parameter[]} */
export const SAMPLING_FIELDS = [
  {"name":"temperature","label":"Temperature","min":0,"max":2,"standard":"1","isOpenAi":true},
  {"name":"top_p","label":"Top p","min":0,"max":1,"standard":"1","isOpenAi":true},
  {"name":"top_k","label":"Top k","min":0,"isInteger":true,"standard":"off","isAdvanced":true},
  {"name":"min_p","label":"Min p","min":0,"max":1,"standard":"off","isAdvanced":true},
  {"name":"presence_penalty","label":"Presence penalty","min":-2,"max":2,"standard":"0","isOpenAi":true,"isAdvanced":true},
  {"name":"frequency_penalty","label":"Frequency penalty","min":-2,"max":2,"standard":"0","isOpenAi":true,"isAdvanced":true},
  {"name":"repetition_penalty","label":"Repetition penalty","min":0,"max":1000,"standard":"1","isAdvanced":true},
];

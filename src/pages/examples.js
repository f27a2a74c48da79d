// Prompts to click in an empty chat: by the adapter's name, else those that any model can answer.

/** @type {Readonly<Record<string, readonly string[]>>} */
const BY_ADAPTER = {
  zen: ['How was your day?', 'I have too much to do.', 'What makes you happy?'],
  intent: [
    'Play some jazz by Miles Davis',
    'Book a table for four in Lisbon tomorrow at eight',
    'Will it rain in Oslo this weekend?',
  ],
  wordnet: [
    'a small domesticated animal that purrs',
    'a sweet baked dessert made with fruit',
    'someone who repairs shoes',
  ],
};

const GENERAL = [
  'What is the capital of France?',
  'Explain photosynthesis in two sentences.',
  'Write a Python function that reverses a string.',
];

/** Whether there are prompts made for this model. @param {string} model a name in any form */
export function hasExamples(model) {
  return Object.hasOwn(BY_ADAPTER, nameOf(model));
}

/** @param {readonly string[]} models the first that has prompts of its own decides */
export function examplesFor(models) {
  const name = models.map(nameOf).find((one) => Object.hasOwn(BY_ADAPTER, one));
  return name === undefined ? GENERAL : /** @type {readonly string[]} */ (BY_ADAPTER[name]);
}

/** Without version, alias and composition. @param {string} model */
function nameOf(model) {
  return /^[\w.-]*/.exec(model)?.[0] ?? '';
}

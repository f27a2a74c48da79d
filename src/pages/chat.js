// A chat as plain data: its turns, what of them a model is sent, and how this tab keeps it. Knows no element.

/** @typedef {{ role: 'system' | 'user' | 'assistant', content: string }} Message */
/** @typedef {import('../contracts/openai.ts').ChatTokenLogprob} TokenLogprob */

/**
 * One model's answer to one prompt.
 * @typedef {object} Answer
 * @property {string} model
 * @property {string} text as far as it came
 * @property {'running' | 'done' | 'stopped' | 'failed'} state
 * @property {readonly string[]} facts such as its speed, in words
 * @property {string} problem why it failed
 * @property {TokenLogprob[]} logprobs of each token, if they were asked for
 */

/** @typedef {{ prompt: string, answers: readonly Answer[] }} Turn */

/** @param {string} model @returns {Answer} */
export function newAnswer(model) {
  return { model, text: '', state: 'running', facts: [], problem: '', logprobs: [] };
}

/** Whether later prompts build on it: a failed or an empty answer would make the model imitate it. @param {Answer} answer */
export function isUsable({ state, text }) {
  return text !== '' && (state === 'done' || state === 'stopped');
}

/** Whether nothing came of the turn: no model finished its answer, nor was stopped in the middle of one. @param {Turn} turn */
export function hasFailed({ answers }) {
  return answers.every(({ state, text }) => state === 'failed' || (state === 'stopped' && !text));
}

/**
 * The messages for one lane. A lane sees the answers of its own model; one that was added later sees the first lane's.
 * Turns without a usable answer are left out, prompt and all.
 * @param {readonly Turn[]} turns
 * @param {{ lane: number, model: string, system: string, prompt: string }} request
 * @returns {Message[]}
 */
export function toMessages(turns, { lane, model, system, prompt }) {
  /** @type {Message[]} */
  const messages = system.trim() === '' ? [] : [{ role: 'system', content: system }];
  for (const { prompt: content, answers } of turns) {
    const inPlace = answers[lane]?.model === model ? answers[lane] : undefined;
    const answer = inPlace ?? answers.find((one) => one.model === model) ?? answers[0];
    if (!answer || !isUsable(answer)) continue;
    messages.push({ role: 'user', content }, { role: 'assistant', content: answer.text });
  }
  return [...messages, { role: 'user', content: prompt }];
}

/**
 * @typedef {object} Kept
 * @property {string} link the settings, as the address has them
 * @property {string} draft what is typed and not sent
 * @property {readonly Turn[]} turns
 */

const ITEM = 'lorikeet.chat';

/** Keeps the chat in this tab; one that is too large for the browser is not kept. @param {Kept} kept */
export function saveChat(kept) {
  try {
    sessionStorage.setItem(ITEM, JSON.stringify(kept));
  } catch {
    sessionStorage.removeItem(ITEM); // an older state would come back in its place
  }
}

/** The chat that this tab kept. What was running when the page went away was stopped by that. @returns {Kept | undefined} */
export function loadChat() {
  /** @type {Kept | null} */
  const kept = JSON.parse(sessionStorage.getItem(ITEM) ?? 'null');
  if (!kept) return undefined;
  const turns = kept.turns.map((turn) => ({
    ...turn,
    answers: turn.answers.map((answer) =>
      answer.state === 'running' ? { ...answer, state: /** @type {const} */ ('stopped') } : answer,
    ),
  }));
  return { ...kept, turns };
}

/**
 * The chat as a file: for each lane of the last turn, its messages as the API takes them.
 * @param {readonly Turn[]} turns
 * @param {{ system: string, parameters: Readonly<Record<string, unknown>> }} settings
 */
export function toExport(turns, { system, parameters }) {
  const chats = (turns.at(-1)?.answers ?? []).map(({ model }, lane) => {
    const messages = toMessages(turns, { lane, model, system, prompt: '' }).slice(0, -1);
    return { model, ...parameters, messages };
  });
  return JSON.stringify({ exported_at: new Date().toISOString(), chats }, null, 2);
}

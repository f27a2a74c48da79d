// The matcher against a plain twin, which writes down all texts of a finite language and tries every token.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Constraint } from '../../src/contracts/generation.ts';
import { found } from '../../src/grammar/automaton.ts';
import { constraintAutomaton } from '../../src/grammar/constraint.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { compiled } from './compiled.ts';
import { idsOf, vocabularyOf } from './written.ts';

const TOKENS = ['a', 'b', 'c', 'ab', 'ba', 'bc', 'abc', 'aaa', 'cab', 'bb', 'ä', 'aä', 'a'];
const MAX_LENGTH = 7;

const tags = (fields: object): Constraint => ({
  kind: 'tags',
  triggers: ['ab'],
  tags: [
    { begin: 'ab', content: { kind: 'text', text: 'c' }, end: 'b' },
    { begin: 'aba', content: { kind: 'any_text' }, end: 'cc' },
  ],
  ...fields,
});
/** Text without a trigger, and the tags as expressions of JavaScript. */
const FREE = '(?:(?!ab)[^])*';
const TAG = '(?:abcb|aba(?:(?!cc)[^])*cc)';

const CASES: [name: string, constraint: Constraint, expression: string][] = [
  ...[
    'a{1,3}b?|c',
    '(ab|a)(bc|c)',
    '[abc]{0,4}',
    '(a?){3}b',
    '((a|ab)(c|bcd?)?)+',
    'a*(ba)*',
    '[^a]{2}',
    '(?:a|ä)+b',
    '',
    'a(?<x>b)?$',
    '(a|b|ab){1,2}c{0,2}',
    '(a{2}){1,2}',
  ].map((pattern): [string, Constraint, string] => [
    `/${pattern}/`,
    { kind: 'regex', pattern },
    pattern,
  ]),
  ['choice', { kind: 'choice', texts: ['ab', 'abc', 'ä'] }, 'abc?|ä'],
  [
    'grammar',
    { kind: 'grammar', source: 'root ::= x | "c" # no\nx ::= "a" x "b" | ""' },
    'c|(ab)?|aabb|aaabbb',
  ],
  [
    'sequence',
    {
      kind: 'sequence',
      parts: [
        { kind: 'text', text: 'a' },
        {
          kind: 'any_of',
          options: [
            { kind: 'text', text: 'b' },
            { kind: 'regex', pattern: 'c*' },
          ],
        },
      ],
    },
    'a(b|c*)',
  ],
  ['any text', { kind: 'any_text' }, '[^]*'],
  ['tags in text', tags({}), `(?:${FREE}${TAG})*${FREE}`],
  ['one tag in text', tags({ isSingle: true }), `${FREE}${TAG}|${FREE}`],
  ['tags that are required', tags({ isRequired: true }), `(?:${FREE}${TAG})+${FREE}`],
  ['tags alone', tags({ triggers: [], separator: 'a', isRequired: true }), `${TAG}(?:a${TAG})*`],
];

/** All texts of these characters. */
const TEXTS = ['']; // grows while it is read
for (const text of TEXTS) {
  if (text.length < MAX_LENGTH) TEXTS.push(...[...'abcä'].map((next) => text + next));
}

for (const [name, constraint, expression] of CASES) {
  test(`${name}: the allowed tokens are those that the text can go on with`, () => {
    const regex = new RegExp(`^(?:${expression})$`, 'u');
    const language = new Set(TEXTS.filter((text) => regex.test(text)));
    const prefixes = new Set(
      [...language].flatMap((text) =>
        Array.from({ length: text.length + 1 }, (_, i) => text.slice(0, i)),
      ),
    );
    const tokenizer = vocabularyOf(TOKENS, { withBytes: false });
    const grammars = new Grammars(tokenizer, TOKENS.length + 3);
    // Texts that are longer than the twin's are not looked at.
    const open: number[][] = [[]];
    const seen = new Set(['']);
    for (const ids of open) {
      const text = ids.map((id) => TOKENS[id]).join('');
      const matcher = grammars.createMatcher(compiled(constraint));
      for (const id of ids) matcher.accept(id);
      assert.equal(matcher.canEnd, language.has(text), `"${text}" can end`);
      const allowed = idsOf(matcher.allowed());
      for (const [id, token] of TOKENS.entries()) {
        const next = text + token;
        if (next.length > MAX_LENGTH - 4) continue;
        assert.equal(allowed.includes(id), prefixes.has(next), `"${text}" + "${token}"`);
        if (allowed.includes(id) && !seen.has(next)) open.push([...ids, id]);
        seen.add(next);
      }
    }
  });
}

test('a character may be cut between two tokens', () => {
  const bytes = [Uint8Array.of(0xc3), Uint8Array.of(0xa4), Uint8Array.of(0xa9)];
  const tokenizer = {
    vocabSize: 3,
    specialIds: new Set<number>(),
    tokenBytes: (id: number) => bytes[id]!,
    encodeInside: () => [],
  };
  const matcher = new Grammars(tokenizer, 3).createMatcher(compiled({ kind: 'text', text: 'ä' }));
  assert.deepEqual(idsOf(matcher.allowed()), [0]);
  matcher.accept(0);
  assert.deepEqual(idsOf(matcher.allowed()), [1]);
  matcher.accept(1);
  assert.ok(matcher.isComplete);
});

test('whole subtrees of tokens are allowed only if each of them is', () => {
  const letters = ['a', 'b', 'z', ' ', '0', '9', '"', '\\', 'ä', '\n', ',', 'A', '~', '!'];
  const texts = letters.flatMap((one) => letters.flatMap((two) => [one + two, `a${one}${two}a`]));
  const tokenizer = vocabularyOf(texts);
  const grammars = new Grammars(tokenizer, tokenizer.vocabSize);
  const constraints: Constraint[] = [
    { kind: 'json_schema', schema: { type: 'string' } },
    { kind: 'any_text' },
    ...['[a-z0-9 ]*', '[b-z]*"?', '[^z]*', '[ -~]*ä'].map((pattern): Constraint => {
      return { kind: 'regex', pattern };
    }),
  ];
  for (const constraint of constraints) {
    const automaton = constraintAutomaton(constraint);
    for (const bytes of ['', '"', '"b', 'b'].map((before) => Buffer.from(before))) {
      const start = found(automaton.stepAll(automaton.start, bytes, { visits: 0 }));
      if (!start) continue;
      const matcher = grammars.createMatcher(compiled(constraint));
      for (const byte of bytes) matcher.accept(byte);
      const expected = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter((id) =>
        found(automaton.stepAll(start, tokenizer.tokenBytes(id), { visits: 0 })),
      );
      assert.deepEqual(
        idsOf(matcher.allowed()),
        expected,
        `${JSON.stringify(constraint)} ${bytes}`,
      );
    }
  }
});

test('control tokens are never allowed, even if their text is', () => {
  const tokenizer = {
    ...vocabularyOf(['a', '<end>'], { withBytes: false }),
    specialIds: new Set([1]),
  };
  const matcher = new Grammars(tokenizer, 2).createMatcher(compiled({ kind: 'any_text' }));
  assert.deepEqual(idsOf(matcher.allowed()), [0]);
});

test('an explosion of possibilities ends the sequence, not the process', () => {
  const tokenizer = vocabularyOf(TOKENS, { withBytes: false });
  const grammars = new Grammars(tokenizer, TOKENS.length);
  assert.throws(() => {
    const matcher = grammars.createMatcher(
      compiled({ kind: 'regex', pattern: '(a{0,200}){0,200}b' }),
    );
    for (let i = 0; i < 100; i++) {
      matcher.allowed();
      matcher.accept(0);
    }
  }, /too ambiguous/);
});

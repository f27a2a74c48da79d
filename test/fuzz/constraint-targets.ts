// What constrains an answer, edited: JSON Schemas, regular expressions and grammars. An accepted one allows some text.
import assert from 'node:assert/strict';
import type { Constraint } from '../../src/contracts/generation.ts';
import type { Automaton } from '../../src/grammar/automaton.ts';
import { compileConstraint, constraintAutomaton } from '../../src/grammar/constraint.ts';
import { GrammarError } from '../../src/grammar/grammar-error.ts';
import { json } from '../adapters/sample.ts';
import type { Format } from './edits.ts';
import { JSON_FILE } from './formats.ts';
import type { Target } from './fuzz.ts';

const SCHEMAS: Format = {
  seeds: [
    json({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      properties: {
        name: { type: 'string', minLength: 1, maxLength: 8, description: 'd' },
        age: { type: ['integer', 'null'], minimum: 0, exclusiveMaximum: 130, multipleOf: 2 },
        when: { type: 'string', format: 'date-time' },
        tags: { type: 'array', items: { enum: ['a', 'b', 1] }, minItems: 1, maxItems: 3 },
        next: { $ref: '#/$defs/node' },
      },
      required: ['name'],
      additionalProperties: false,
      $defs: { node: { type: 'object', properties: { next: { $ref: '#/$defs/node' } } } },
    }),
    json({
      anyOf: [
        { const: { a: [1, null, true] } },
        { allOf: [{ type: 'number', minimum: -1.5 }, { maximum: 2.5 }] },
        { type: 'array', prefixItems: [{ type: 'boolean' }], items: false },
        { type: 'string', pattern: '^[a-z]{2,4}(-\\d+)?$' },
      ],
    }),
    json({ type: 'object', additionalProperties: { type: 'string' }, minProperties: 1 }),
  ],
  words: [
    ...['type', 'properties', 'required', 'items', 'enum', 'const', 'anyOf', 'allOf', 'oneOf'],
    ...['$ref', '$defs', '#', '#/$defs/node', 'pattern', 'format', 'minLength', 'maxItems', 'not'],
    ...['additionalProperties', 'multipleOf', 'minimum', 'string', 'object', '{1000}', '(a*)*'],
  ],
  json: JSON_FILE,
};

const EXPRESSIONS: Format = {
  seeds: [
    '(ab|c){2,5}[^x-z]\\d*',
    '^(?:yes|no), [\\w .]{1,20}\\.$',
    '(\\d{4})?(-|/)[A-Z]{2,}\\s',
  ].map((pattern) => Buffer.from(pattern)),
  words: [
    ...['(', ')', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$', '.', '\\', '(?:', '(?=', '(?!'],
    ...['{0,200}', '{1000}', '{2,}', '\\b', '\\1', '\\p{L}', '\\u{1F600}', '[^', '(a*)*', '\\x00'],
  ],
};

const GRAMMARS: Format = {
  seeds: [
    'root ::= "a" item ("," item)*\nitem ::= [a-z]+ | number\nnumber ::= "-"? [0-9]{1,3}\n',
    'root ::= expr\nexpr ::= term (("+" | "-") term)*\nterm ::= [0-9]+ | "(" expr ")"\n',
  ].map((source) => Buffer.from(source)),
  words: [
    ...['root', '::=', '"', "'", '(', ')', '[', ']', '*', '+', '?', '|', '#', '\n', '\\n', '\\x41'],
    ...['root ::= root\n', '{2,3}', '{0,200}', '[^', 'item', 'expr', '""'],
  ],
};

/** The length of a walk, in bytes. */
const MAX_TEXT = 64;

/** Checks that the text can go on or end after each step of a walk through the automaton. */
function checkWalk(automaton: Automaton, choices: Uint8Array): void {
  let state = automaton.start;
  const work = { visits: 0 };
  for (let i = 0; i < MAX_TEXT; i++) {
    const open = Array.from({ length: 256 }, (_, byte) => automaton.step(state, byte, work)).filter(
      (next) => next !== null,
    );
    const next = open[choices[i % choices.length]! % open.length];
    if (!next) {
      assert.ok(state.canEnd, 'a text can neither end nor go on');
      return;
    }
    state = next;
  }
}

/** Not a schema yet: the server refuses such a request before. */
class NotJson extends Error {}

function parseJson(file: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(file).toString());
  } catch {
    throw new NotJson();
  }
}

function checkFile(constraint: Constraint, file: Uint8Array): void {
  compileConstraint(constraint);
  checkWalk(constraintAutomaton(constraint), file);
}

/** What the compiler's own count allows, and as much garbage. */
const maxExtraBytes = 128 * 2 ** 20;

/** The targets. */
export const CONSTRAINT_TARGETS: readonly Target[] = [
  {
    name: 'json-schema',
    maxExtraBytes,
    ...SCHEMAS,
    isRefusal: (error) =>
      error instanceof NotJson || (error instanceof GrammarError && error.path !== ''),
    run: (file) => checkFile({ kind: 'json_schema', schema: parseJson(file) }, file),
  },
  {
    name: 'regex',
    maxExtraBytes,
    ...EXPRESSIONS,
    isRefusal: (error) => error instanceof GrammarError,
    run: (file) => checkFile({ kind: 'regex', pattern: Buffer.from(file).toString() }, file),
  },
  {
    name: 'grammar',
    maxExtraBytes,
    ...GRAMMARS,
    isRefusal: (error) => error instanceof GrammarError,
    run: (file) => checkFile({ kind: 'grammar', source: Buffer.from(file).toString() }, file),
  },
];

// Constraints are compiled in another process, with the results of the functions that it runs.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Constraint } from '../../src/contracts/generation.ts';
import { ConstraintCompiler } from '../../src/grammar/compiler.ts';
import { constraintNetwork } from '../../src/grammar/constraint.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { refusalOf } from './refusals.ts';
import { SCHEMAS } from './schemas.ts';
import { vocabularyOf } from './written.ts';

const CONSTRAINTS: readonly Constraint[] = [
  ...SCHEMAS.map(({ schema }) => ({ kind: 'json_schema' as const, schema })),
  { kind: 'regex', pattern: '(ab|c){2,5}[^x]' },
  { kind: 'grammar', source: 'root ::= "(" root? ")"' },
  { kind: 'choice', texts: ['yes', 'no', 'ä'] },
  {
    kind: 'tags',
    triggers: ['<f'],
    tags: [{ begin: '<f>', content: { kind: 'any_text' }, end: '</f>' }],
  },
];
const REFUSED: readonly Constraint[] = [
  { kind: 'json_schema', schema: { properties: { a: { type: 'strin' } } } },
  { kind: 'json_schema', schema: { type: 'integer', minimum: 2, maximum: 1 } },
  { kind: 'regex', pattern: '(a)\\1' },
  { kind: 'regex', pattern: '(a{0,200}){0,200}b' },
  { kind: 'grammar', source: 'root ::= root "a"' },
];
/** It takes 0.1 s or more. */
const LARGE: Constraint = {
  kind: 'json_schema',
  schema: {
    type: 'object',
    properties: Object.fromEntries(
      Array.from({ length: 400 }, (_, i) => [`property_${i}`, { type: 'string', maxLength: 10 }]),
    ),
    additionalProperties: false,
  },
};
const SMALL: Constraint = { kind: 'regex', pattern: 'a{3}' };

/** The processes of this file's compilers, and the replies of each. */
const children: { child: ChildProcess; results: number }[] = [];
subscribe('child_process', (message) => {
  const started = { child: (message as { process: ChildProcess }).process, results: 0 };
  started.child.on('message', (reply: object) => {
    if ('result' in reply) started.results++;
  });
  children.push(started);
});

test('networks are those of the functions on this thread', async () => {
  const compiler = new ConstraintCompiler();
  for (const constraint of CONSTRAINTS) {
    assert.deepEqual(await compiler.compile(constraint), constraintNetwork(constraint));
    await compiler.check(constraint);
  }
});

test('faults are those of the functions on this thread, with their paths', async () => {
  const compiler = new ConstraintCompiler();
  for (const constraint of REFUSED) {
    const { message, path } = refusalOf(constraint)!;
    await assert.rejects(compiler.check(constraint), { name: 'GrammarError', message, path });
  }
});

test('a matcher allows what that of a grammar from this thread allows', async () => {
  const tokenizer = vocabularyOf(['a', 'aa', 'b'], { withBytes: false });
  const matcher = await new Grammars(tokenizer, 3).createMatcherAside(SMALL);
  const twin = new Grammars(tokenizer, 3).createMatcher(SMALL);
  for (const id of [1, 0]) {
    assert.deepEqual(matcher.allowed(), twin.allowed());
    matcher.accept(id);
    twin.accept(id);
  }
  assert.ok(matcher.isComplete && twin.isComplete);
});

test('a slow constraint is refused by the clock, while others are compiled', async () => {
  const compiler = new ConstraintCompiler({ largeMs: 1 });
  const slow = compiler.check(LARGE);
  const isRefused = assert.rejects(slow, {
    name: 'GrammarError',
    message: /^takes too long to compile/,
    path: '#',
  });
  await compiler.check(SMALL);
  await isRefused;
  const before = children.length;
  await assert.rejects(compiler.check(LARGE), /takes too long/);
  assert.equal(children.length, before, 'the refusal is remembered');
});

test('equal constraints are compiled once', async () => {
  const before = children.length;
  const compiler = new ConstraintCompiler();
  const both = await Promise.all([compiler.compile(SMALL), compiler.compile({ ...SMALL })]);
  assert.deepEqual(both[0], both[1]);
  await compiler.compile(SMALL);
  assert.deepEqual(
    children.slice(before).map(({ results }) => results),
    [1],
  );
});

test('a process that dies is replaced', async () => {
  const before = children.length;
  const compiler = new ConstraintCompiler();
  const lost = compiler.check(SMALL);
  const isRefused = assert.rejects(lost, { name: 'ServeError', code: 'overloaded' });
  while (children.length === before) await Promise.resolve();
  children[before]!.child.kill('SIGKILL');
  await isRefused;
  await compiler.check(SMALL);
  const { child } = children[before + 1]!;
  child.ref(); // an idle one keeps nothing alive
  child.kill('SIGKILL');
  await once(child, 'exit');
  await compiler.check({ kind: 'text', text: 'another' });
  assert.equal(children.length, before + 3);
});

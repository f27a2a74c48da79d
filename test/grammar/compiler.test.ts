// Constraints are compiled in another process, with the results of the functions that it runs.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Constraint } from '../../src/contracts/generation.ts';
import { ConstraintCompiler } from '../../src/grammar/compiler.ts';
import { compileConstraint } from '../../src/grammar/constraint.ts';
import { pluck } from '../pluck.ts';
import { refusalOf } from './refusals.ts';
import { SCHEMAS } from './schemas.ts';

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
/** Returns a constraint that takes 0.1 s or more. */
function large(name: string): Constraint {
  const values = { enum: Array.from({ length: 32 }, (_, i) => `v ${i} of ${name}`) };
  const names = Array.from({ length: 60 }, (_, i) => `name_${i}`);
  const properties = Object.fromEntries(names.map((property) => [property, values]));
  const schema = { type: 'object', properties, required: names, additionalProperties: false };
  return { kind: 'json_schema', schema };
}
const LARGE = large('property');
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

/** Returns a constraint that takes 1 ms. */
const small = (name: string): Constraint => ({ kind: 'text', text: name });
/** The number of constraints that were compiled since there were so many children. */
const compiledSince = (count: number) =>
  children.slice(count).reduce((sum, { results }) => sum + results, 0);

test('constraints compile to what they compile to on this thread', async () => {
  const compiler = new ConstraintCompiler();
  for (const constraint of CONSTRAINTS) {
    assert.deepEqual(await compiler.compile(constraint), compileConstraint(constraint));
  }
});

test('faults are those of the functions on this thread, with their paths', async () => {
  const compiler = new ConstraintCompiler();
  for (const constraint of REFUSED) {
    const { message, path } = refusalOf(constraint)!;
    await assert.rejects(compiler.compile(constraint), { name: 'GrammarError', message, path });
  }
});

test('a slow constraint is refused by the clock, while others are compiled', async () => {
  const compiler = new ConstraintCompiler({ largeMs: 1 });
  const slow = compiler.compile(LARGE);
  const isRefused = assert.rejects(slow, {
    name: 'GrammarError',
    message: /^takes too long to compile/,
    path: '#',
  });
  await compiler.compile(SMALL);
  await isRefused;
  const before = children.length;
  await assert.rejects(compiler.compile(LARGE), /takes too long/);
  assert.equal(children.length, before, 'the refusal is remembered');
});

test('equal constraints are compiled once', async () => {
  const before = children.length;
  const compiler = new ConstraintCompiler();
  const both = await Promise.all([compiler.compile(SMALL), compiler.compile({ ...SMALL })]);
  assert.deepEqual(both[0], both[1]);
  await compiler.compile(SMALL);
  assert.deepEqual(pluck(children.slice(before), 'results'), [1]);
});

test('a process that dies is replaced', async () => {
  const before = children.length;
  const compiler = new ConstraintCompiler();
  const lost = compiler.compile(SMALL);
  const isRefused = assert.rejects(lost, { name: 'ServeError', code: 'overloaded' });
  while (children.length === before) await Promise.resolve();
  children[before]!.child.kill('SIGKILL');
  await isRefused;
  await compiler.compile(SMALL);
  const { child } = children[before + 1]!;
  child.ref(); // an idle one keeps nothing alive
  child.kill('SIGKILL');
  await once(child, 'exit');
  await compiler.compile({ kind: 'text', text: 'another' });
  assert.equal(children.length, before + 3);
});

test("T15: a tenant's constraint does not wait behind those of another tenant", async () => {
  const compiler = new ConstraintCompiler();
  await compiler.compile(LARGE, { tenant: 'a' });
  let done = 0;
  const others = ['1', '2', '3', '4', '5', '6'].map(async (name) => {
    await compiler.compile(large(name), { tenant: 'a' });
    done++;
  });
  await compiler.compile(LARGE, { tenant: 'b' });
  assert.equal(done, 0, 'one that is known waits for nothing');
  await compiler.compile(large('b'), { tenant: 'b' });
  assert.ok(done <= 2, `${done} of the other tenant's were first`);
  await Promise.all(others);
});

test('T15: a constraint that two tenants want is compiled once, at the first turn of either', async () => {
  const before = children.length;
  const compiler = new ConstraintCompiler();
  let done = 0;
  const others = ['1', '2', '3', '4', '5', 'shared'].map(async (name) => {
    await compiler.compile(large(name), { tenant: 'a' });
    done++;
  });
  await compiler.compile(large('shared'), { tenant: 'b' });
  assert.ok(done <= 3, `${done} of the other tenant's were first`);
  await Promise.all(others);
  assert.equal(compiledSince(before), 6);
});

test('a caller that leaves takes its waiting constraint along, unless another wants it', async () => {
  const before = children.length;
  const compiler = new ConstraintCompiler();
  const leaving = new AbortController();
  const running = compiler.compile(large('running'));
  const reason = new Error('no more time');
  const areLeft = ['left', 'shared'].map((name) => {
    return assert.rejects(
      compiler.compile(large(name), {
        tenant: 'a',
        signal: leaving.signal,
      }),
      reason,
    );
  });
  const shared = compiler.compile(large('shared'), { tenant: 'a' });
  leaving.abort(reason);
  await Promise.all(areLeft);
  assert.equal(compiledSince(before), 0, 'nobody has waited');
  await Promise.all([running, shared]);
  await compiler.compile(LARGE);
  assert.equal(compiledSince(before), 3);
});

test('T14: constraints are refused when those of the tenant, or of all, are too many', async () => {
  const compiler = new ConstraintCompiler();
  const leaving = new AbortController();
  const reason = new Error('the end');
  const { signal } = leaving;
  const fill = (tenant: string) => {
    return Array.from({ length: 512 }, (_, i) => {
      const caller = { tenant, signal: AbortSignal.any([signal]) };
      return assert.rejects(compiler.compile(small(`${tenant}${i}`), caller), reason);
    });
  };
  const check = (tenant: string) => compiler.compile(small('another'), { tenant });
  const running = compiler.compile(small('running'), { tenant: 'a' });
  const ofA = fill('a');
  await assert.rejects(check('a'), { code: 'rate_limit_exceeded', retryAfterS: 1 });
  const ofB = fill('b');
  await assert.rejects(check('c'), { code: 'overloaded', retryAfterS: 1 });
  leaving.abort(reason);
  await Promise.all([running, ...ofA, ...ofB]);
  await check('a');
});

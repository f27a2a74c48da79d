// Where aliases lead: to versions that exist, in shares, and back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pointerOf } from '../../../adapters/repository/manifest.ts';
import { countedStore, FAULTS, shelf, ZEN } from './shelf.ts';

async function withVersions(t: Parameters<typeof shelf>[0], count: number) {
  const parts = shelf(t);
  for (let i = 1; i <= count; i++)
    await parts.repository.publish(ZEN, { directory: parts.adapter(i) });
  return parts;
}

test('an alias leads to a version or to shares of several, and is removed', async (t) => {
  const { repository } = await withVersions(t, 2);
  await repository.moveAlias(ZEN, 'stable', { version: 1 });
  const split = [
    { version: 1, percent: 90 },
    { version: 2, percent: 10 },
  ];
  const canary = await repository.moveAlias(ZEN, 'stable', { split });
  assert.deepEqual(canary.aliases['stable'], { split });
  assert.deepEqual(canary.previous['stable'], { version: 1 });
  const removed = await repository.moveAlias(ZEN, 'stable', undefined);
  assert.deepEqual(removed.aliases, { latest: { version: 2 } });
  assert.deepEqual(Object.keys(removed.previous), ['latest']);
});

test('an alias that leads elsewhere by now is not moved', async (t) => {
  const { repository } = await withVersions(t, 2);
  await repository.moveAlias(ZEN, 'stable', { version: 2 });
  for (const next of [undefined, { version: 1 }]) {
    const { aliases } = await repository.moveAlias(ZEN, 'stable', next, { from: 1 });
    assert.deepEqual(aliases['stable'], { version: 2 });
  }
  const { aliases } = await repository.moveAlias(ZEN, 'stable', { version: 1 }, { from: 2 });
  assert.deepEqual(aliases['stable'], { version: 1 });
});

test('a rollback leads back, a second one forth again', async (t) => {
  const { repository } = await withVersions(t, 2);
  const back = await repository.rollback(ZEN, 'latest');
  assert.deepEqual(back.aliases['latest'], { version: 1 });
  const forth = await repository.rollback(ZEN, 'latest');
  assert.deepEqual(forth.aliases['latest'], { version: 2 });
});

test('a rollback of a split ends it, whatever its steps were, and is marked until the next change', async (t) => {
  const { repository } = await withVersions(t, 2);
  const steps = [
    { version: 1 },
    shares([1, 90], [2, 10]),
    shares([1, 50], [2, 50]),
    { version: 2 },
  ] as const;
  for (const step of steps) await repository.moveAlias(ZEN, 'stable', step);
  const back = await repository.rollback(ZEN, 'stable');
  assert.deepEqual(back.aliases['stable'], { version: 1 });
  assert.deepEqual(back.rolled_back, ['stable']);
  const undone = await repository.rollback(ZEN, 'stable');
  assert.deepEqual(undone.aliases['stable'], { version: 2 });
  assert.deepEqual(undone.rolled_back, []);
});

test('a change back to the target before a split is a rollback', async (t) => {
  const { repository } = await withVersions(t, 2);
  for (const step of [{ version: 1 }, shares([1, 90], [2, 10]), { version: 1 }] as const)
    await repository.moveAlias(ZEN, 'stable', step);
  const again = await repository.moveAlias(ZEN, 'latest', { version: 1 });
  assert.deepEqual(again.rolled_back, ['stable', 'latest']);
  const next = await repository.moveAlias(ZEN, 'stable', shares([1, 80], [2, 20]));
  assert.deepEqual(next.previous['stable'], { version: 1 });
  assert.deepEqual(next.rolled_back, ['latest']);
});

test('a rollback that is done and not told is done once', async (t) => {
  for (const fault of [
    FAULTS['is done and then fails'],
    FAULTS['is done, and tried again by the client (412)'],
  ]) {
    const { store, open } = await withVersions(t, 2);
    let isTold = false;
    const faulty = countedStore(store, (_, call) => {
      if (isTold || !call.startsWith('put')) return undefined;
      isTold = true;
      return fault;
    });
    const { aliases, revision } = await open(faulty).rollback(ZEN, 'latest');
    assert.deepEqual(aliases['latest'], { version: 1 });
    assert.equal(revision, 3);
  }
});

test('moving an alias to where it is changes nothing', async (t) => {
  const { repository } = await withVersions(t, 2);
  await repository.moveAlias(ZEN, 'stable', { version: 1 });
  const again = await repository.moveAlias(ZEN, 'stable', { version: 1 });
  assert.equal(again.revision, 3);
  assert.equal(pointerOf(again.previous, 'stable'), undefined);
});

const shares = (...all: [number, number][]) => ({
  split: all.map(([version, percent]) => ({ version, percent })),
});

for (const [what, pointer, code] of [
  ['a version that does not exist', { version: 9 }, 'not_found'],
  ['a share of a version that does not exist', shares([1, 50], [9, 50]), 'not_found'],
  ['shares that are not 100 in sum', shares([1, 50], [2, 49]), 'invalid_request'],
  ['two shares of one version', shares([1, 50], [1, 50]), 'invalid_request'],
  ['one share', shares([1, 100]), 'invalid_request'],
  ['version 0', { version: 0 }, 'invalid_request'],
] as const) {
  test(`an alias is not led to ${what}`, async (t) => {
    const { repository } = await withVersions(t, 2);
    await assert.rejects(repository.moveAlias(ZEN, 'stable', pointer), { code });
    const { aliases } = (await repository.readAliases('acme', 'zen'))!;
    assert.equal(aliases.revision, 2);
  });
}

test('thirds make a whole', async (t) => {
  const { repository } = await withVersions(t, 3);
  const thirds = shares([1, 33.3], [2, 33.3], [3, 33.4]);
  assert.deepEqual((await repository.moveAlias(ZEN, 'a', thirds)).aliases['a'], thirds);
});

test('names of what every object has are aliases like others', async (t) => {
  const { repository } = await withVersions(t, 1);
  const before = (await repository.readAliases('acme', 'zen'))!.aliases;
  for (const alias of ['constructor', 'toString', 'hasOwnProperty', '__proto__']) {
    assert.equal(pointerOf(before.aliases, alias), undefined);
  }
  const { aliases } = await repository.moveAlias(ZEN, 'constructor', { version: 1 });
  assert.deepEqual(pointerOf(aliases, 'constructor'), { version: 1 });
  for (const alias of ['__proto__', '../x', 'a:b', '']) {
    await assert.rejects(repository.moveAlias(ZEN, alias, { version: 1 }), { param: 'alias' });
  }
});

test('an alias that never led elsewhere is not rolled back', async (t) => {
  const { repository } = await withVersions(t, 1);
  await assert.rejects(repository.rollback(ZEN, 'latest'), { code: 'invalid_request' });
  await assert.rejects(repository.rollback(ZEN, 'stable'), { code: 'invalid_request' });
});

test('a removed version cannot be led or rolled back to', async (t) => {
  const { repository } = await withVersions(t, 2);
  await repository.removeVersion(ZEN, 1);
  await assert.rejects(repository.moveAlias(ZEN, 'stable', { version: 1 }), { code: 'not_found' });
  await assert.rejects(repository.rollback(ZEN, 'latest'), { code: 'invalid_request' });
});

// Which base is chosen: a folder, a name, the defaults in order, the toy model last; and what is imported on the way.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { chooseBase, DEFAULT_MODELS } from '../../src/compose/base.ts';
import { temporaryFolder } from '../fixtures.ts';

const root = temporaryFolder();

function makeArtifact(folder: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'lorikeet.json'), '{}');
}

/** A machine where only the models of `available` can be imported. */
function machine(name: string, available: readonly string[]) {
  const asked: string[] = [];
  const notices: string[] = [];
  const modelsDir = path.join(root, name, 'models');
  return {
    asked,
    notices,
    modelsDir,
    toyDir: '/toy',
    catalogue: DEFAULT_MODELS,
    async importModel(model: string, outDir: string) {
      asked.push(model);
      if (!available.includes(model)) throw new Error(`${model}: no network`);
      makeArtifact(outDir);
    },
    notify: (text: string) => notices.push(text),
  };
}

test('without a request the first default that can be imported is imported, once', async () => {
  const here = machine('wheel-only', [DEFAULT_MODELS[1]]);
  const expected = path.join(here.modelsDir, DEFAULT_MODELS[1]);
  assert.equal(await chooseBase(undefined, here), expected);
  assert.deepEqual(here.asked, DEFAULT_MODELS);
  assert.match(here.notices[0]!, /Cannot import smollm2-135m-instruct: .*no network/);
  assert.equal(await chooseBase(undefined, here), expected);
  assert.equal(here.asked.length, 2, 'the second start asks nobody');
});

test('if nothing can be imported the toy model is served, with a notice', async () => {
  const here = machine('offline', []);
  assert.equal(await chooseBase(undefined, here), '/toy');
  assert.match(here.notices.at(-1)!, /toy/);
});

test('an interrupted import is no reason to try the next', async () => {
  const here = machine('interrupted', []);
  here.importModel = async (model) => {
    here.asked.push(model);
    throw new DOMException('interrupted', 'AbortError');
  };
  await assert.rejects(chooseBase(undefined, here), { name: 'AbortError' });
  assert.equal(here.asked.length, 1);
});

test('a request is a folder, then an imported name, then a catalogue name', async () => {
  const here = machine('named', [DEFAULT_MODELS[0]]);
  const folder = path.join(root, 'some-folder');
  makeArtifact(folder);
  assert.equal(await chooseBase(folder, here), folder);
  makeArtifact(path.join(here.modelsDir, 'mine'));
  assert.equal(await chooseBase('mine', here), path.join(here.modelsDir, 'mine'));
  assert.deepEqual(here.asked, []);
  await chooseBase(DEFAULT_MODELS[0], here);
  assert.deepEqual(here.asked, [DEFAULT_MODELS[0]]);
});

test('a request that names nothing is a fault that says what there is', async () => {
  const here = machine('nothing', []);
  await assert.rejects(chooseBase('nope', here), (error: ConfigError) => {
    assert(error instanceof ConfigError);
    assert.match(error.message, /^--model: .*smollm2-135m-instruct/);
    return true;
  });
  const plain = path.join(root, 'plain');
  mkdirSync(plain);
  await assert.rejects(chooseBase(plain, here), /lorikeet import/);
});

test('a request whose import fails is the failure, not another model, but others are named', async () => {
  const here = machine('failing', []);
  makeArtifact(path.join(here.modelsDir, DEFAULT_MODELS[1]));
  await assert.rejects(chooseBase(DEFAULT_MODELS[0], here), /no network/);
  assert.deepEqual(here.notices, [`Imported already, for --model: ${DEFAULT_MODELS[1]}`]);
});

// An import builds the files that a start with the same settings reads, and a start builds only what is missing.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ProgramContext } from '../../src/compose/context.ts';
import { importForServing } from '../../src/compose/imported-base.ts';
import { prepareBase } from '../../src/compose/prepared-base.ts';
import { LAYOUT_VERSION } from '../../src/model/serving-weights.ts';
import { type Flags, loadConfig } from '../../src/settings/config.ts';
import { temporaryFolder } from '../fixtures.ts';

/** A folder for one import, and contexts that record what they report. */
function openHome(t: TestContext) {
  const home = temporaryFolder(t);
  const out = path.join(home, 'base');
  const cache = path.join(home, 'cache');
  const said: string[] = [];
  const progress: { phase: string; done: number; total: number }[] = [];
  const context = (flags: Flags = {}, signal = new AbortController().signal): ProgramContext => ({
    config: loadConfig({ model: out, weights: 'int8', ...flags }, { LORIKEET_HOME: home }),
    signal,
    reporter: {
      notify: (text) => void said.push(text),
      openProgress: async () => ({
        update: (phase, done, total) => void progress.push({ phase, done, total }),
        end() {},
      }),
    },
  });
  const request = {
    source: path.resolve('models/toy'),
    outDir: out,
    quantization: 'nf4',
    doubleQuantization: true,
    isBuilt: true,
  } as const;
  return { home, out, cache, said, progress, context, request };
}

/** The files below a folder, with their numbers and times, which a rewritten file does not keep. */
function filesIn(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.sort().map((name) => {
    const { ino, mtimeMs } = statSync(path.join(folder, name));
    return `${name} ${ino} ${mtimeMs}`;
  });
}

/** Each phase only grows, from nothing to its total, which it reaches once. */
function checkProgress(progress: readonly { phase: string; done: number; total: number }[]): void {
  for (const phase of ['verify', 'prepare']) {
    const seen = progress.filter((one) => one.phase === phase);
    const done = seen.map((one) => one.done);
    assert.equal(done[0], 0, phase);
    assert.deepEqual(
      done,
      [...new Set(done)].sort((a, b) => a - b),
      phase,
    );
    assert.deepEqual([...new Set(seen.map(({ total }) => total))], [done.at(-1)], phase);
  }
}

for (const flags of [{}, { weights: 'int4' }, { weights: 'nf4' }, { kv: 'int8' }]) {
  test(`after an import with ${JSON.stringify(flags)} a start builds nothing`, async (t) => {
    const { cache, said, progress, context, request } = openHome(t);
    await importForServing(request, context(flags));
    assert.equal(readdirSync(cache).length, 1);
    const built = filesIn(cache);
    checkProgress(progress);
    said.length = 0;
    progress.length = 0;
    await prepareBase(context(flags));
    assert.deepEqual(
      { said, progress, files: filesIn(cache) },
      { said, progress: [], files: built },
    );
    assert.ok(!said.some((text) => text.includes('Building')), said.join());
  });
}

test('an import without a build leaves it to the first start, which says so', async (t) => {
  const { cache, said, context, request } = openHome(t);
  await importForServing({ ...request, isBuilt: false }, context());
  assert.ok(!existsSync(cache));
  await prepareBase(context());
  assert.match(
    said.join('\n'),
    /^Building the files that a server reads\. .* has none of this base\.$/m,
  );
  await prepareBase(context({ weights: 'int4' }));
  assert.match(said.join('\n'), /has this base only in other forms: \w+-int8-/);
});

test('files of another layout are built anew, and the start says why', async (t) => {
  const { cache, said, context, request } = openHome(t);
  await importForServing(request, context());
  const [name] = readdirSync(cache);
  const older = name!.replace(`-v${LAYOUT_VERSION}`, `-v${LAYOUT_VERSION - 1}`);
  renameSync(path.join(cache, name!), path.join(cache, older));
  said.length = 0;
  await prepareBase(context());
  assert.match(said[0]!, new RegExp(`${older} has the layout of another version\\.$`));
  assert.deepEqual(readdirSync(cache).sort(), [older, name].sort());
});

test('a build that is interrupted leaves the base, nothing half-built, and a message', async (t) => {
  const { out, cache, said, context, request } = openHome(t);
  const stop = new AbortController();
  const running = context({}, stop.signal);
  const { reporter } = running;
  const stopping: ProgramContext = {
    ...running,
    reporter: {
      ...reporter,
      openProgress: async () => ({
        update: (phase) => phase === 'prepare' && stop.abort(new DOMException('', 'AbortError')),
        end() {},
      }),
    },
  };
  await assert.rejects(importForServing(request, stopping), { name: 'AbortError' });
  assert.ok(existsSync(path.join(out, 'lorikeet.json')));
  assert.deepEqual(readdirSync(cache), []);
  assert.equal(
    said.at(-1),
    `toy is imported into ${out}, but the files that a start reads are missing. lorikeet serve --model ${out} builds them.`,
  );
  await prepareBase(context());
  assert.equal(readdirSync(cache).length, 1);
});

test('a base stays imported if its files cannot be written', async (t) => {
  const { home, out, cache, said, context, request } = openHome(t);
  mkdirSync(home, { recursive: true });
  writeFileSync(cache, 'in the way');
  await assert.rejects(importForServing(request, context()), { code: 'EEXIST' });
  assert.ok(existsSync(path.join(out, 'lorikeet.json')));
  assert.match(said.at(-1)!, /builds them\.$/);
});

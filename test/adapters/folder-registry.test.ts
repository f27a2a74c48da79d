import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { adapterDigest } from '../../adapters/peft/files.ts';
import { FolderAdapters } from '../../adapters/registry/folder-registry.ts';
import { Registry } from '../../adapters/registry/registry.ts';
import { pinnedName } from '../../adapters/registry/resolved.ts';
import { createLog } from '../../src/common/log.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { until } from '../until.ts';
import { configBytes, sampleTensors } from './sample.ts';

const WEIGHTS = serializeSafetensors(sampleTensors());
const BASE = { id: 'sample', names: ['sample-alias'], digest: 'b'.repeat(64) };
const MISS = { code: 'model_not_found', status: 404, param: 'model' };
const LATER_MS = 3_600_000;
const ALL = { limit: 1000 };

/** A root with a registry whose clock is past every file's last change. */
function setUp(t: TestContext, now = () => Date.now() + LATER_MS) {
  const root = temporaryFolder(t);
  const lines: Record<string, unknown>[] = [];
  const log = createLog('info', { write: (line) => void lines.push(JSON.parse(line)) });
  const local = [new FolderAdapters(root, { baseNames: ['sample', 'sample-alias'], log, now })];
  const registry = new Registry({ base: BASE, local, now });
  const resolve = (name: string) => registry.resolve(LOCAL_TENANT, name);
  const digestOf = async (name: string) => {
    const found = await resolve(name);
    return found.kind === 'adapter' ? found.digest : assert.fail(`${name} is the base`);
  };
  return { root, lines, registry, resolve, digestOf, ids: () => idsOf(registry) };
}

async function idsOf(registry: Registry): Promise<string[]> {
  return pluck((await registry.list(LOCAL_TENANT, ALL)).items, 'id');
}

function publish(root: string, name: string, config = configBytes(), weights = WEIGHTS): string {
  const folder = path.join(root, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'adapter_config.json'), config);
  writeFileSync(path.join(folder, 'adapter_model.safetensors'), weights);
  return folder;
}

test('a folder is a model by its name, and its digest covers both files', async (t) => {
  const { root, resolve } = setUp(t);
  publish(root, 'First_v1.0');
  publish(root, 'second', configBytes({ lora_alpha: 2 }));
  const first = await resolve('First_v1.0');
  const second = await resolve('second');
  assert.ok(first.kind === 'adapter' && second.kind === 'adapter');
  assert.equal(first.digest, adapterDigest(configBytes(), WEIGHTS));
  const [part] = first.parts;
  assert.ok(part?.location.kind === 'folder');
  assert.equal(path.basename(part.location.directory), 'First_v1.0');
  assert.notEqual(first.digest, second.digest);
});

test('the base answers to its names, whatever folders there are', async (t) => {
  const { root, resolve, ids } = setUp(t);
  publish(root, 'base');
  for (const name of ['base', 'default', 'sample', 'sample-alias']) {
    assert.deepEqual(await resolve(name), { kind: 'base', id: 'sample' });
  }
  assert.deepEqual(await ids(), ['sample']);
  const local = [new FolderAdapters(undefined, { baseNames: ['sample'] })];
  const bare = new Registry({ base: BASE, local });
  assert.deepEqual(await bare.resolve(LOCAL_TENANT, 'base'), { kind: 'base', id: 'sample' });
  await assert.rejects(bare.resolve(LOCAL_TENANT, 'other'), MISS);
});

test('terms of the same content are one term with the sum of their weights', async (t) => {
  const { root, resolve } = setUp(t);
  for (const name of ['a', 'copy']) publish(root, name);
  publish(root, 'b', configBytes({ lora_alpha: 2 }));
  const termsOf = async (model: string) => {
    const resolved = await resolve(model);
    assert.ok(resolved.kind === 'adapter');
    assert.equal(resolved.id, model);
    return pinnedName(resolved.parts);
  };
  assert.equal(await termsOf('a+0.5*a'), '1.5*a');
  assert.equal(await termsOf('a+b+0.1*copy+0.2*a'), '1.3*a+b');
  assert.equal(await termsOf('0.5*a+0.5*a'), 'a');
  assert.equal(await termsOf('0.1*a+0.2*a+-0.3*a'), '0*a');
  assert.equal(await termsOf('4*a+a+-2*a'), '3*a'); // no order of the terms is refused
  assert.deepEqual(await resolve('0.5*a+0.5*a'), { ...(await resolve('a')), id: '0.5*a+0.5*a' });
  const tooMuch = { status: 400, param: 'model', message: /weights of a add up to 5/ };
  await assert.rejects(resolve('4*a+a'), tooMuch);
});

test('ranks over the limit are refused before anything is loaded', async (t) => {
  const { root } = setUp(t);
  const local = [new FolderAdapters(root, { baseNames: [] })];
  const registry = new Registry({ base: BASE, local, maxRank: 5 });
  const resolve = (model: string) => registry.resolve(LOCAL_TENANT, model);
  const tensors = (rank: number) => serializeSafetensors(sampleTensors({ rankOf: () => rank }));
  for (const rank of [2, 3, 6]) publish(root, `r${rank}`, configBytes({ r: rank }), tensors(rank));
  await resolve('r2+r3');
  await resolve('r3+0.5*r3'); // one adapter of rank 3
  const refused = { status: 422, code: 'adapter_invalid', param: 'model' };
  await assert.rejects(resolve('r6'), { ...refused, message: /rank 6; the limit is 5/ });
  await assert.rejects(resolve('r2+r3+2*b'), { status: 404 });
  publish(root, 'other', configBytes({ r: 2, lora_alpha: 1 }));
  await assert.rejects(resolve('r2+r3+other'), { ...refused, message: /2 \+ 3 \+ 2 = 7/ });
});

test('what cannot be served is not listed, and its reason can be asked for', async (t) => {
  const { root, ids } = setUp(t);
  publish(root, 'good');
  publish(root, 'velora', configBytes({ velora_config: { scale: 1 } }));
  publish(root, 'html', configBytes(), new TextEncoder().encode('<html>not found</html>'));
  publish(root, 'spaced name');
  const deep = new TextEncoder().encode(`{"peft_type":${'['.repeat(30_000)}${']'.repeat(30_000)}}`);
  publish(root, 'deep', deep); // parses, and then overflows whoever writes it out
  for (const _ of [1, 2]) assert.deepEqual(await ids(), ['sample', 'good']);
  const refused = await new FolderAdapters(root, { baseNames: [] }).refused();
  assert.deepEqual(pluck(refused, 'name'), ['deep', 'html', 'spaced name', 'velora']);
  const reasons = [/not JSON/, /header/, /cannot be a model name/, /velora_config/];
  for (const [i, reason] of reasons.entries()) assert.match(refused[i]!.reason, reason);
  publish(root, 'velora');
  assert.deepEqual(await ids(), ['sample', 'good', 'velora']);
});

test('an adapter that comes with the package is served until somebody uses its name', async (t) => {
  const { root } = setUp(t);
  const own = temporaryFolder(t);
  publish(root, 'zen');
  const find = (folder: string) => new FolderAdapters(folder, { baseNames: ['sample'] });
  const registry = new Registry({ base: BASE, local: [find(own)], bundled: find(root) });
  const folderOf = async () => {
    const found = await registry.resolve(LOCAL_TENANT, 'zen');
    const location = found.kind === 'adapter' ? found.parts[0]?.location : undefined;
    return location?.kind === 'folder' ? path.dirname(location.directory) : undefined;
  };
  assert.equal(await folderOf(), root);
  assert.deepEqual(await idsOf(registry), ['sample', 'zen']);
  publish(own, 'zen', configBytes({ lora_alpha: 2 }));
  assert.equal(await folderOf(), own);
  assert.deepEqual(await idsOf(registry), ['sample', 'zen']);
});

test('a list waits for no pattern, and leaves out what was refused for one', async (t) => {
  const { root, ids } = setUp(t);
  publish(root, 'good');
  const slow = '((?:(a?){10}){10}){10}'.repeat(80); // takes longer than the deadline of a second
  for (let i = 0; i < 2; i++) {
    publish(root, `slow-${i}`, configBytes({ rank_pattern: { [`${slow}${i}`]: 2 } }));
  }
  const startMs = performance.now();
  assert.equal((await ids()).length, 4);
  assert.ok(performance.now() - startMs < 1000);
  await until('them to be refused', async () => (await ids()).length === 2, { pollMs: 50 });
});

test('every miss has the same body', async (t) => {
  const { root, resolve } = setUp(t);
  publish(root, 'real');
  publish(root, '.hidden');
  publish(path.dirname(root), `${path.basename(root)}-outside`);
  t.after(() => rmSync(`${root}-outside`, { recursive: true }));
  mkdirSync(path.join(root, 'empty'));
  writeFileSync(path.join(root, 'file'), 'no folder');
  symlinkSync(`${root}-outside`, path.join(root, 'escape'));
  symlinkSync('.', path.join(root, 'self'));
  symlinkSync('loop', path.join(root, 'loop'));
  const outside = `../${path.basename(root)}-outside`;
  const names = [
    ['', 'unknown', 'empty', 'file', 'escape', 'self', 'loop', '.hidden', '.', '..', '~', outside],
    ['../real', 'real/', './real', 'a/../real', '/etc', 'real\0', 'real\\', 'C:real', 'real '],
    ['x'.repeat(255), 'x'.repeat(301), '\u202Elaer', 'rеal', '%2e%2e%2f', '__proto__'],
  ].flat();
  const bodies = new Set<string>();
  for (const name of names) {
    await assert.rejects(resolve(name), (error: Error) => {
      bodies.add(JSON.stringify({ ...error, message: error.message }));
      return true;
    });
  }
  assert.equal(bodies.size, 1, [...bodies].join('\n'));
  await assert.rejects(resolve('unknown'), MISS);
});

test('folders are added, changed and removed without a restart', async (t) => {
  const { root, resolve, digestOf, ids } = setUp(t);
  await assert.rejects(resolve('a'), MISS);
  const folder = publish(root, 'a');
  const before = await resolve('a');
  assert.deepEqual(await resolve('a'), before);
  const config = configBytes({ lora_alpha: 8 });
  publish(root, 'a', config);
  assert.equal(await digestOf('a'), adapterDigest(config, WEIGHTS));
  rmSync(folder, { recursive: true });
  await assert.rejects(resolve('a'), MISS);
  assert.deepEqual(await ids(), ['sample']);
});

test('a folder replaced by another one of equal sizes and times is another adapter', async (t) => {
  const { root, digestOf } = setUp(t);
  const times = (folder: string) => {
    for (const file of ['adapter_config.json', 'adapter_model.safetensors']) {
      utimesSync(path.join(folder, file), 1000, 1000);
    }
  };
  times(publish(root, 'a'));
  const before = await digestOf('a');
  times(publish(root, 'next', configBytes({ lora_alpha: 8 })));
  renameSync(path.join(root, 'a'), path.join(root, 'old'));
  renameSync(path.join(root, 'next'), path.join(root, 'a'));
  assert.notEqual(await digestOf('a'), before);
});

test('a write in the same tick as the one before is not missed', async (t) => {
  const { root, digestOf } = setUp(t, Date.now);
  for (let alpha = 1; alpha < 9; alpha++) {
    const config = configBytes({ lora_alpha: alpha }); // same length, same inode, perhaps the same time
    publish(root, 'a', config);
    assert.equal(await digestOf('a'), adapterDigest(config, WEIGHTS));
  }
});

test('requests at once share one look into the folder', async (t) => {
  const { root, lines, resolve } = setUp(t);
  publish(root, 'a', configBytes({ base_model_name_or_path: 'org/another' }));
  const found = await Promise.all(Array.from({ length: 50 }, () => resolve('a')));
  assert.equal(new Set(found.map((model) => JSON.stringify(model))).size, 1);
  assert.equal(lines.length, 1);
});

test('B57: another base model and files that are not used are warned of, once', async (t) => {
  const { root, lines, resolve } = setUp(t);
  publish(root, 'fits', configBytes({ base_model_name_or_path: '/data/models/sample/' }));
  publish(root, 'alias', configBytes({ base_model_name_or_path: 'org/sample-alias' }));
  publish(root, 'capitals', configBytes({ base_model_name_or_path: 'org/Sample' }));
  const other = publish(root, 'other', configBytes({ base_model_name_or_path: 'org/another' }));
  writeFileSync(path.join(other, 'chat_template.jinja'), '{{ no template }');
  for (const name of ['fits', 'alias', 'capitals', 'other', 'other']) await resolve(name);
  const told = lines.map(({ msg, adapter, trainedOn, ignored }) => [
    msg,
    adapter,
    trainedOn ?? ignored,
  ]);
  assert.deepEqual(told, [
    ['adapter names another base model', 'other', 'another'],
    ['adapter ships files not used', 'other', ['chat_template.jinja']],
  ]);
});

test('a folder that does not fit is refused when it is asked for, with one log line', async (t) => {
  for (const now of [Date.now, undefined]) {
    const { root, lines, ids, resolve } = setUp(t, now);
    const folder = publish(root, 'bad', configBytes({ velora_config: { scale: 1 } }));
    assert.deepEqual(await ids(), ['sample']);
    assert.deepEqual(lines, []);
    for (let i = 0; i < 3; i++)
      await assert.rejects(resolve('bad'), { status: 422, param: 'velora_config' });
    assert.equal(lines.length, 1);
    assert.equal(lines[0]?.['msg'], 'adapter refused');
    writeFileSync(path.join(folder, 'adapter_config.json'), configBytes());
    assert.equal((await resolve('bad')).kind, 'adapter');
  }
});

test('the list gives each adapter its base and its age', async (t) => {
  const { root, registry } = setUp(t);
  const folder = publish(root, 'b');
  publish(root, 'a');
  utimesSync(path.join(folder, 'adapter_config.json'), 1234, 1234);
  const entries = (await registry.list(LOCAL_TENANT, ALL)).items;
  assert.deepEqual(pluck(entries, 'id'), ['sample', 'a', 'b']);
  assert.deepEqual(entries[2], {
    id: 'b',
    created: 1234,
    parent: 'sample',
    root: 'b',
    owner: 'shared',
  });
  assert.equal(entries[0]?.parent, undefined);
});

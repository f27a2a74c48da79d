// lorikeet adapters: every command on a store in a folder, what it answers and how it refuses.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeAdapter } from '../adapters/repository/shelf.ts';
import { temporaryFolder } from '../fixtures.ts';
import { runCommand } from './command.ts';

/** A folder with a store in it, and the command on that. */
function shop(t: TestContext) {
  const home = temporaryFolder(t);
  const store = path.join(home, 'store');
  mkdirSync(store);
  async function run(line: string) {
    const place = line.includes('--store') ? [] : ['--store', store];
    return runCommand(['adapters', ...line.split(' '), ...place]);
  }
  return { home, store, run, adapter: (seed: number) => writeAdapter(home, seed) };
}

test('an adapter is pushed, listed, inspected, verified and pulled again, the same bytes', async (t) => {
  const { home, adapter, run } = shop(t);
  const directory = adapter(1);
  const pushed = await run(`push ${directory} --name zen --alias stable`);
  assert.equal(pushed.code, 0, pushed.error);
  assert.match(pushed.out, /^zen@1 is published \(rank 2, q_proj v_proj, /);
  assert.match(pushed.out, /model "zen" or "zen:latest" or "zen:stable"/);
  assert.match(pushed.error, /^push: 100% /m);
  const [listed, versions, inspected, verified, pulled] = await Promise.all([
    run('ls'),
    run('ls zen --json'),
    run('inspect zen:stable --json'),
    run('verify zen'),
    run(`pull zen@1 --out ${path.join(home, 'copy')}`),
  ]);
  assert.match(listed.out, /^zen {2}.* latest → 1, stable → 1\b/m);
  const { aliases } = JSON.parse(versions.out);
  assert.deepEqual(aliases, { latest: { version: 1 }, stable: { version: 1 } });
  const manifest = JSON.parse(inspected.out);
  assert.equal(manifest.version, 1);
  assert.match(verified.out, /^zen@1 is intact: 6 linears/);
  assert.equal(pulled.code, 0, pulled.error);
  assert.deepEqual(readdirSync(path.join(home, 'copy')).sort(), [
    'adapter_config.json',
    'adapter_model.safetensors',
    'manifest.json',
  ]);
  for (const file of ['adapter_config.json', 'adapter_model.safetensors']) {
    const bytes = readFileSync(path.join(home, 'copy', file));
    assert.ok(bytes.equals(readFileSync(path.join(directory, file))));
  }
});

test('an adapter is described, and the description is listed', async (t) => {
  const { adapter, run } = shop(t);
  await run(`push ${adapter(1)} --name zen`);
  assert.match((await run('about zen')).out, /^description {2}none$/m);
  const said = await run('about zen --description Quiet. --tag style --tag short --example Hi?');
  assert.match(said.out, /^description {2}Quiet\.\ntags {9}style, short\nexample {6}Hi\?$/m);
  const { revision, tags } = JSON.parse((await run('about zen --kind embedding --json')).out);
  assert.deepEqual([revision, tags], [2, ['style', 'short']]);
  assert.match((await run('ls')).out, /^zen .* latest → 1 {2} *Quiet\.$/m);
  const refused = await run('about zen --tag a/b');
  assert.match(refused.error, /--tag: must be up to 32 letters/);
  assert.equal(refused.code, 2);
  assert.equal((await run('about nothing')).code, 1);
});

test('a folder brings its own description, which replaces no other one', async (t) => {
  const { adapter, run } = shop(t);
  const directory = adapter(1);
  writeFileSync(path.join(directory, 'about.json'), '{"description": "Rhymes."}');
  await run(`push ${directory} --name zen`);
  assert.match((await run('about zen')).out, /^description {2}Rhymes\.$/m);
  await run('about zen --description Quiet.');
  const again = await run(`push ${directory} --name zen`);
  assert.equal(again.code, 0, again.error);
  assert.match((await run('about zen')).out, /^description {2}Quiet\.$/m);
});

test('sampling defaults beside the files travel in the manifest, and others are another version', async (t) => {
  const { adapter, run } = shop(t);
  const directory = adapter(1);
  const file = path.join(directory, 'generation_config.json');
  writeFileSync(file, '{"temperature": 0, "transformers_version": "4.40.0"}');
  const push = async () => JSON.parse((await run(`push ${directory} --name zen --json`)).out);
  const first = await push();
  assert.deepEqual(first.generation_config, { temperature: 0 });
  assert.equal((await push()).published, false);
  writeFileSync(file, '{"temperature": 0.5}');
  const { published, version, digest } = await push();
  assert.deepEqual([published, version, digest], [true, 2, first.digest]);
  writeFileSync(file, '{"temperature": -1}');
  assert.match(
    (await run(`push ${directory} --name zen`)).error,
    /generation_config\.json: temperature/,
  );
});

test('a response format and tools travel in the manifest, and others are another version', async (t) => {
  const { adapter, home, run } = shop(t);
  const directory = adapter(1);
  const write = (name: string, value: unknown) => {
    const file = path.join(home, name);
    writeFileSync(file, JSON.stringify(value));
    return file;
  };
  const format = { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' } } };
  const tools = [{ type: 'function', function: { name: 'f' } }];
  const flags = ` --response-format ${write('format.json', format)} --tools ${write('tools.json', tools)}`;
  const push = async (more: string) =>
    JSON.parse((await run(`push ${directory} --name zen --json${more}`)).out);
  assert.deepEqual((await push(flags)).request_defaults, { response_format: format, tools });
  assert.equal((await push(flags)).published, false);
  const { published, request_defaults } = await push('');
  assert.deepEqual([published, request_defaults], [true, undefined]);
  for (const [name, value, pattern] of [
    ['a', [], /a\.json: must be the value of the request field response_format/],
    ['b', { type: 'yaml' }, /request_defaults\.json: response_format\.type/],
    ['c', { type: 'json_schema', json_schema: { schema: { type: 'x' } } }, /response_format/],
  ] as const) {
    const file = write(`${name}.json`, value);
    const refused = await run(`push ${directory} --name zen --response-format ${file}`);
    assert.match(refused.error, pattern);
    assert.notEqual(refused.code, 0);
  }
});

test('new tokens travel in the manifest, and others are another version', async (t) => {
  const { adapter, run } = shop(t);
  const directory = adapter(1);
  const plain = { special: false, lstrip: false, rstrip: false };
  const write = (...tokens: object[]) => {
    const file = path.join(directory, 'tokenizer.json');
    writeFileSync(file, JSON.stringify({ added_tokens: tokens, model: {} }));
  };
  const push = async () => JSON.parse((await run(`push ${directory} --name zen --json`)).out);
  assert.equal((await push()).added_tokens, undefined);
  const token = { id: 300, content: 'new', ...plain };
  write(token);
  const first = await push();
  assert.deepEqual([first.published, first.added_tokens], [true, { tokens: [token] }]);
  assert.equal((await push()).published, false);
  write({ ...token, content: 'newer' });
  assert.equal((await push()).published, true);
  write({ ...token, id: -1 });
  assert.match(
    (await run(`push ${directory} --name zen`)).error,
    /tokenizer\.json: added_tokens\.0\.id/,
  );
  write(...Array.from({ length: 1025 }, (_, id) => ({ id, content: `w${id}`, ...plain })));
  assert.match((await run(`push ${directory} --name zen`)).error, /1025 tokens .* limit is 1024/);
});

test('aliases are split, rolled back and removed; versions go and their files after them', async (t) => {
  const { adapter, run } = shop(t);
  await run(`push ${adapter(1)} --name zen`);
  const second = JSON.parse((await run(`push ${adapter(2)} --name zen --json`)).out);
  assert.deepEqual([second.published, second.version], [true, 2]);
  const again = JSON.parse((await run(`push ${adapter(1)} --name zen --json`)).out);
  assert.deepEqual([again.published, again.version], [false, 1]);
  const split = await run('alias zen stable --split 90:1,10:2 --json');
  assert.deepEqual(JSON.parse(split.out).pointer.split, [
    { percent: 90, version: 1 },
    { percent: 10, version: 2 },
  ]);
  const ambiguous = await run('inspect zen:stable');
  assert.equal(ambiguous.code, 2);
  assert.match(ambiguous.error, /zen@1 or zen@2/);
  await run('alias zen stable 2');
  assert.match((await run('alias zen stable --rollback')).out, /points to 1 \(90%\), 2 \(10%\)/);
  const used = await run('rm zen@2 --yes');
  assert.equal(used.code, 1);
  assert.match(used.error, /zen@2 is in use: point latest, stable elsewhere/);
  assert.equal((await run('rm zen:stable --yes')).code, 0);
  assert.equal((await run('rm zen@1')).code, 2);
  assert.equal((await run('rm zen@1 --yes')).code, 0);
  assert.match((await run('ls zen')).out, /^zen@2 /m);
  assert.match((await run('gc')).out, /0 removed versions, 0 unfinished/);
  assert.match((await run('gc --grace 0')).out, /1 removed versions/);
});

test('a wrong line ends with 2, an absence with 1, a wrong setting with 78, each with what to do', async (t) => {
  const { home, adapter, run } = shop(t);
  await run(`push ${adapter(1)} --name zen`);
  const cases: [string, number, RegExp][] = [
    ['inspect zne', 1, /no adapter zne .*it has zen/],
    ['inspect zen@7', 1, /zen has no version 7; it has 1/],
    ['inspect zen:gold', 1, /no alias gold; it has latest/],
    ['inspect ../zen', 2, /must be NAME, NAME@VERSION or NAME:ALIAS/],
    ['alias zen stable', 2, /needs one of VERSION, --split and --rollback/],
    ['alias zen stable --split 50:1,40:1', 2, /shares add up to 90%, not to 100%/],
    ['alias zen stable --split 100:1', 2, /two to four shares/],
    ['alias zen stable --split 0:1,100:1', 2, /0:1 must be a share above 0%/],
    [`push ${adapter(1)} --name x --base nope`, 78, /^lorikeet: --base: Neither the folder/],
    ['alias zen stable 9', 1, /no version 9/],
    ['gc --grace soon', 2, /hours/],
    [`push ${adapter(1)} --name base`, 1, /is reserved/],
    [`push ${adapter(1)} --name zen --base ${home}`, 78, /is not an imported model/],
    [`push ${path.join(home, 'nothing')} --name zen`, 1, /refused: nothing: no such folder/],
    ['ls --tenant A/B', 2, /--tenant: must be a name/],
    ['gc --tenant acme', 2, /unknown option '--tenant'/],
    [`pull zen --out ${home}`, 2, /is not empty/],
    [
      `ls --store ${path.join(home, 'nowhere')}`,
      1,
      /nowhere does not exist\n {2}Check that the folder exists/,
    ],
  ];
  const outcomes = await Promise.all(cases.map(([line]) => run(line)));
  for (const [i, [line, code, pattern]] of cases.entries()) {
    assert.equal(outcomes[i]!.code, code, `${line}: ${outcomes[i]!.error}`);
    assert.match(outcomes[i]!.error, pattern, line);
  }
});

test('with --base an adapter is checked against the base, and bound to it', async (t) => {
  const { adapter, run } = shop(t);
  const { code, error } = await run(`push ${adapter(1)} --name zen --base models/toy`);
  assert.equal(code, 1);
  assert.match(error, /shape \[2,8\], expected/);
  assert.match((await run('ls')).out, /has no adapters/);
});

test('verify names the file that is not what was published', async (t) => {
  const { home, adapter, run } = shop(t);
  await run(`push ${adapter(1)} --name zen`);
  const file = path.join(home, 'store/local/zen/1/adapter_model.safetensors');
  const bytes = readFileSync(file);
  for (const [bad, pattern] of [
    [bytes.subarray(0, -1), /has \d+ bytes, not/],
    [Buffer.concat([bytes, bytes]), /has \d+ bytes, not/],
    [Buffer.from(bytes).fill(1, bytes.length - 1), /has the SHA-256/],
  ] as const) {
    writeFileSync(file, bad);
    const { code, error } = await run('verify zen');
    assert.equal(code, 1);
    assert.match(error, /adapter_model.safetensors/);
    assert.match(error, pattern);
  }
});

test('files that lie in the store by hand are adopted', async (t) => {
  const { store, adapter, run } = shop(t);
  const folder = path.join(store, 'local/zen/4');
  mkdirSync(folder, { recursive: true });
  const directory = adapter(1);
  for (const file of readdirSync(directory)) {
    writeFileSync(path.join(folder, file), readFileSync(path.join(directory, file)));
  }
  assert.match((await run('ls')).out, /has no adapters/);
  assert.equal((await run('adopt zen')).code, 2);
  assert.match((await run('adopt zen@4')).out, /zen@4 is published \(rank 2\)/);
  assert.match((await run('ls zen')).out, /^zen@4 .* latest$/m);
});

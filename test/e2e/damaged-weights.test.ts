// Weights that changed on the disk are never served: they are named, rebuilt from the model, and answer as before.
import assert from 'node:assert/strict';
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { ask, postJson } from '../api.ts';
import { tinyModel } from '../fixtures.ts';
import { until } from '../until.ts';
import { runLorikeet, type Serving, startServing, succeed } from './program.ts';

/** A table of 19 MB: a sample of a MiB leaves most of it unread, and the whole takes a second. */
const CONFIG = { vocab_size: 262_144, tie_word_embeddings: true, max_position_embeddings: 8192 };

const home = mkdtempSync(path.join(tmpdir(), 'lorikeet-e2e-'));
const base = path.join(home, 'models', 'wide');
after(() => rmSync(home, { recursive: true, force: true }));

before(async () => {
  const source = path.join(home, 'source');
  mkdirSync(source);
  const { tensors, configJson } = tinyModel(CONFIG).artifact;
  const values = new Map<string, Tensor>();
  for (const name of tensors.infos.keys()) values.set(name, tensors.read(name));
  writeFileSync(path.join(source, 'model.safetensors'), serializeSafetensors(values));
  writeFileSync(path.join(source, 'config.json'), JSON.stringify(configJson));
  await succeed(['import', source, '--out', base], home);
});

function weightsFile(): string {
  const cache = path.join(home, 'cache');
  const folder = readdirSync(cache).find((name) => /-int8(-plain|-packed)?-v\d+$/.test(name));
  return path.join(cache, folder!, 'weights.bin');
}

const COMMON = { model: 'base', prompt: [1, 2, 3], logprobs: 1, ignore_eos: true };

async function answer(url: string): Promise<unknown> {
  const body = { ...COMMON, max_tokens: 4, temperature: 0 };
  return (await ask<{ choices: unknown }>(`${url}/v1/completions`, body)).choices;
}

async function servedOnce(): Promise<{ choices: unknown; error: string }> {
  const server = await startServing(['--model', 'wide', '--slots', '2'], home);
  try {
    return { choices: await answer(server.url), error: server.output.error };
  } finally {
    assert.equal(await server.stop(), 0);
  }
}

/** Inverts bytes in place, like a bad disk. Size and name stay the same. */
function flip(file: string, position: number, count: number): void {
  const fd = openSync(file, 'r+');
  try {
    const bytes = readFileSync(file).subarray(position, position + count);
    writeSync(
      fd,
      bytes.map((byte) => ~byte),
      0,
      bytes.length,
      position,
    );
  } finally {
    closeSync(fd);
  }
}

const readyStatus = async ({ url }: Serving) => (await fetch(`${url}/readyz`)).status;

test('flipped and truncated serving files are named and rebuilt before the server is ready', async () => {
  const sound = await servedOnce();
  assert.doesNotMatch(sound.error, /damaged/);
  const damages: [RegExp, (file: string) => void][] = [
    [/weights\.bin is damaged: the SHA-256 of a sample differs/, (f) => flip(f, 2e6, 4e6)],
    [/weights\.bin is damaged: it has 1000 bytes instead of/, (f) => truncateSync(f, 1000)],
    [/weights\.bin is damaged: ENOENT/, (f) => rmSync(f)],
    [
      /layout\.json is damaged/,
      (f) => writeFileSync(path.join(path.dirname(f), 'layout.json'), '{'),
    ],
    [
      /checksums\.json is damaged/,
      (f) => writeFileSync(path.join(path.dirname(f), 'checksums.json'), '{}'),
    ],
  ];
  for (const [message, damage] of damages) {
    damage(weightsFile());
    const { choices, error } = await servedOnce();
    assert.match(error, message);
    assert.match(error, new RegExp(`Rebuilding it from ${base}`));
    assert.deepEqual(choices, sound.choices);
  }
});

test('a folder without checksums, as older versions built them, is built again', async () => {
  await servedOnce();
  const file = weightsFile();
  rmSync(path.join(path.dirname(file), 'checksums.json'));
  flip(file, 2e6, 4e6);
  const before = statSync(file).ino;
  await servedOnce();
  assert.notEqual(statSync(file).ino, before);
  const { code, out } = await runLorikeet(['verify', '--model', 'wide', '--json'], home);
  assert.equal(code, 0, out);
  assert.equal(JSON.parse(out).checks.length, 2);
});

test('damage that the sample misses is found after the start: the stream ends with an error, then it serves again', async () => {
  const sound = await servedOnce();
  const file = weightsFile();
  // Between the first two blocks of the sample.
  flip(file, 60_000, 100);
  const args = ['--model', 'wide', '--slots', '2', '--max-seq', '8192'];
  const server = await startServing(args, home);
  try {
    assert.equal(await readyStatus(server), 200);
    const stream = await postJson(`${server.url}/v1/completions`, {
      ...{ ...COMMON, max_tokens: 8000, stream: true },
    });
    assert.equal(stream.status, 200);
    let lowest = 200;
    const text = stream.text();
    await until('503', async () => {
      lowest = await readyStatus(server);
      return lowest === 503;
    });
    assert.match(await text, /"code":"engine_restarting"/);
    assert.doesNotMatch(await text, /\[DONE\]/);
    await until('ready again', async () => (await readyStatus(server)) === 200);
    assert.match(server.output.error, /weights\.bin is damaged: its SHA-256 differs/);
    assert.deepEqual(await answer(server.url), sound.choices);
  } finally {
    assert.equal(await server.stop(), 0);
  }
  const { code } = await runLorikeet(['verify', '--model', 'wide'], home);
  assert.equal(code, 0);
});

test('verify names damaged serving files and a damaged model; a damaged model is not built from', async () => {
  await servedOnce();
  flip(weightsFile(), 60_000, 100);
  const model = path.join(home, 'damaged');
  cpSync(base, model, { recursive: true });
  flip(path.join(model, 'model.safetensors'), 5e6, 1);
  const { code, out } = await runLorikeet(['verify', '--model', model], home);
  assert.equal(code, 1);
  assert.match(out, /damaged\/model\.safetensors: .*no longer have the digest in lorikeet\.json/);
  assert.match(out, /weights\.bin: its SHA-256 differs/);
  // The serving files are marked: this start has to build them.
  const served = await runLorikeet(['serve', '--port', '0', '--model', model], home);
  assert.equal(served.code, 1);
  assert.match(served.error, /model\.safetensors: .*Import the model again: lorikeet import/);
  const data = path.join(home, 'rows.jsonl');
  writeFileSync(
    data,
    `${JSON.stringify({ input_ids: [1, 2, 3, 4], labels: [1, 2, 3, 4] })}\n`.repeat(16),
  );
  const train = ['train', '--model', model, '--data', data, '--out', path.join(home, 'run')];
  const trained = await runLorikeet(train, home);
  assert.equal(trained.code, 1);
  assert.match(trained.error, /Import the model again: lorikeet import/);
});

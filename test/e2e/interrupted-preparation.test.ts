// A start or an import that is stopped while it prepares the base ends within seconds, and the next one is whole.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { writeSafetensors } from '../../src/formats/safetensors.ts';
import { tinyModel } from '../fixtures.ts';
import { spawnLorikeet, startServing, succeed } from './program.ts';

/** Orchestrators kill after 30 s, of which a server that serves takes 25 s to drain. */
const STOP_MS = 2000;
const work = mkdtempSync(path.join(tmpdir(), 'lorikeet-e2e-'));
const source = path.join(work, 'source');
const base = path.join(work, 'base');
/** The files that a start builds if nobody stops it. */
let whole: string[];

before(async () => {
  await writeCheckpoint();
  await succeed(['import', source, '--out', base], work);
  whole = await filesAfterStart(path.join(work, 'whole'));
});
after(() => rmSync(work, { recursive: true, force: true }));

/** A model with the toy's tokenizer, so that it is calibrated, which takes seconds to prepare. */
async function writeCheckpoint(): Promise<void> {
  const toy = path.resolve('models/toy');
  mkdirSync(source);
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    copyFileSync(path.join(toy, file), path.join(source, file));
  const { vocab_size } = JSON.parse(readFileSync(path.join(toy, 'config.json'), 'utf8'));
  const shape = { hidden_size: 512, intermediate_size: 2048, num_hidden_layers: 8 };
  const { artifact } = tinyModel({ ...shape, num_attention_heads: 8, vocab_size });
  writeFileSync(path.join(source, 'config.json'), JSON.stringify(artifact.configJson));
  await writeSafetensors(path.join(source, 'model.safetensors'), artifact.tensors);
}

/** Starts a server, and returns the serving folder's files with the checksums of the weights. */
async function filesAfterStart(home: string): Promise<string[]> {
  const server = await startServing(['--model', base], home);
  assert.equal(await server.stop(), 0);
  const cache = path.join(home, 'cache');
  const checksums = readdirSync(cache).map((folder) =>
    readFileSync(path.join(cache, folder, 'checksums.json'), 'utf8'),
  );
  return [...(readdirSync(cache, { recursive: true }) as string[]), ...checksums];
}

/** Whether the weights of a build are written in blocks, with which the base reads a text. */
function isCalibrating(home: string): boolean {
  const cache = path.join(home, 'cache');
  if (!existsSync(cache)) return false;
  return readdirSync(cache, { recursive: true }).some((file) => `${file}`.endsWith('layout.json'));
}

interface Stopped {
  readonly code: number | null;
  readonly ms: number;
  readonly error: string;
}

/** Runs a command, and sends it the signal at the given moment. */
async function stopAt(
  command: readonly string[],
  home: string,
  { when, signal }: { when: (error: string) => boolean; signal: NodeJS.Signals },
): Promise<Stopped> {
  const { child, output } = spawnLorikeet(command, home);
  const closed = once(child, 'close');
  while (!when(output.error)) {
    assert.equal(child.exitCode, null, `ended before the moment: ${output.error}`);
    await setTimeout(2);
  }
  const start = performance.now();
  child.kill(signal);
  const [code] = await closed;
  return { code, ms: performance.now() - start, error: output.error };
}

const shows = (text: string) => (error: string) => error.includes(text);
const CALIBRATION = 'a calibration';
const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;
const STOPS: readonly (readonly [NodeJS.Signals, moment: string])[] = [
  ['SIGTERM', 'prepare: 0%'],
  ['SIGTERM', CALIBRATION],
  ['SIGINT', 'prepare: 25%'],
  ['SIGKILL', CALIBRATION],
  ...(isLong
    ? ([
        ['SIGTERM', 'prepare: 25%'],
        ['SIGTERM', 'prepare: 75%'],
        ['SIGKILL', 'prepare: 25%'],
      ] as const)
    : []),
];

for (const [signal, moment] of STOPS) {
  const title = `F24: ${signal} at "${moment}" ends a start, and the next one is whole`;
  test(title, async () => {
    const home = path.join(work, `${moment} ${signal}`.replace(/\W+/g, '-')); // messages name it
    const when = moment === CALIBRATION ? () => isCalibrating(home) : shows(moment);
    const serve = ['serve', '--port', '0', '--model', base];
    const { code, ms, error } = await stopAt(serve, home, { when, signal });
    assert.ok(!error.includes('prepare: 100%'), error);
    if (signal !== 'SIGKILL') {
      assert.equal(code, 0, error);
      assert.ok(ms < STOP_MS, `${ms} ms`);
      // The next start is a first one.
      assert.deepEqual(readdirSync(home, { recursive: true }), ['cache']);
    } else assert.deepEqual(await filesAfterStart(home), whole);
  });
}

for (const moment of ['quantize: 25%', 'write: 0%', 'write: 75%']) {
  test(`F24: SIGTERM at "${moment}" ends an import, which leaves nothing`, async () => {
    const out = path.join(work, moment, 'base');
    const command = ['import', source, '--out', out];
    const stopped = await stopAt(command, work, { when: shows(moment), signal: 'SIGTERM' });
    assert.equal(stopped.code, 1, 'the base is not there');
    assert.ok(stopped.ms < STOP_MS, `${stopped.ms} ms`);
    assert.deepEqual(readdirSync(path.dirname(out)), []);
  });
}

test('F24: a base that is not prewarmed is a failure', async () => {
  const home = path.join(work, 'prewarm');
  const command = ['serve', '--prewarm', '--model', base];
  const { code } = await stopAt(command, home, { when: shows('prepare: 0'), signal: 'SIGTERM' });
  assert.equal(code, 1);
});

// `lorikeet eval`, and the card at the end of a run, as their users see them.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { hashFile } from '../../src/common/regular-file.ts';
import { VERSION } from '../../src/common/version.ts';
import { readCard } from '../../src/contracts/evaluation-card.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath } from '../shared.ts';
import { type Outcome, runLorikeet } from './program.ts';
import { readLines, writeRows } from './rows.ts';
import { fetchBase } from './served.ts';

const TOY = path.resolve('models/toy');
const QUICK = '--rank 4 --batch-size 4 --learning-rate 1e-2 --epochs 4 --threads 1'.split(' ');

/** A data folder, its rows, and commands in it. */
function workplace(t: { after(end: () => void): void }) {
  const dir = temporaryFolder(t);
  const rows = writeRows(dir);
  const at = (name: string) => path.join(dir, name);
  const run = (...args: string[]): Promise<Outcome> => runLorikeet(args, dir);
  const train = (out: string, ...args: string[]) =>
    run('train', '--model', TOY, '--data', rows, '--out', at(out), ...QUICK, ...args);
  return { at, rows, run, train };
}

/** `letters` is trained here first. Nothing changes it later. */
const shared = workplace({ after });

test('T41: a run ends with its card, which its version keeps with its origin; the same adapter has the same one again', async () => {
  const { at, rows, run, train } = shared;
  const trained = await train('run', '--name', 'letters', '--validation', rows);
  assert.equal(trained.code, 0, trained.error);
  assert.match(trained.error, /gate validation +passed: \d\.\d+ is < \d\.\d+/);
  const inspected = await run('adapters', 'inspect', 'letters');
  assert.match(inspected.out, /^evaluation {2,}gate finite: passed: 0 is <= 0$/m);
  const manifest = JSON.parse((await run('adapters', 'inspect', 'letters', '--json')).out);
  const file = await hashFile(rows);
  assert.deepEqual(manifest.training, {
    ...{ program: `lorikeet ${VERSION}`, data: file, validation: file },
  });
  assert.match(inspected.out, new RegExp(`^trained by +lorikeet ${VERSION}$`, 'm'));
  assert.match(inspected.out, new RegExp(`^validation file .* SHA-256 ${file.sha256}$`, 'm'));
  await run('adapters', 'push', at('run/adapter'), '--name', 'copy');
  const copy = JSON.parse((await run('adapters', 'inspect', 'copy', '--json')).out);
  assert.deepEqual(copy.training, manifest.training);
  const card = readCard(manifest.metrics.evaluation)!;
  for (const adapter of ['letters', 'letters@1', 'letters:latest', at('run/adapter')]) {
    const measured = await run('eval', adapter, '--model', TOY, '--data', rows, '--json');
    assert.equal(measured.code, 0, measured.error);
    const again = readCard(JSON.parse(measured.out))!;
    assert.deepEqual(
      again.gates.map(({ gate, passed }) => [gate, passed]),
      card.gates.map(({ gate, passed }) => [gate, passed]),
    );
    const [one, other] = [again, card].map((each) => Number(each['validation_loss']));
    assert.ok(Math.abs(one! - other!) < 1e-3);
  }
  const margin = await run('eval', 'letters', '--model', TOY, '--data', rows, '--margin', '20');
  assert.equal(margin.code, 1);
  assert.match(margin.out, /gate validation +REFUSED/);
  assert.match(margin.error, /^lorikeet: gate validation: its validation loss is/m);
});

test('what cannot be measured is refused: no such adapter, other base, bad rows, bad flag', async () => {
  const { at, rows, run } = shared;
  const plain = at('plain');
  await run('import', TOY, '--out', plain, '--quantization', 'none');
  writeFileSync(at('bad.jsonl'), '{"text":"a"}\n{"text":}\n');
  const cases: [args: string[], code: number, says: RegExp][] = [
    [['leters', '--model', TOY], 1, /no adapter leters .*it has copy, letters/],
    [['letters@7', '--model', TOY], 1, /letters has no version 7; it has 1/],
    [[`${at('nowhere')}/`, '--model', TOY], 1, /refused: nowhere: no such folder/],
    [['letters', '--model', plain], 78, /model: letters@1 was trained on the base with the digest/],
    [['letters', '--model', TOY, '--data', at('bad.jsonl')], 1, /line 2: is not JSON/],
    [['letters', '--model', TOY, '--data', at('none.jsonl')], 1, /none.jsonl: does not exist/],
    [['letters', '--model', TOY, '--data', rows, '--margin', 'x'], 2, /--margin: must be/],
    [['letters', '--model', TOY, '--response-format', at('none.json')], 2, /none.json: /],
    [['letters', '--model', TOY, '--response-format', rows], 2, /rows.jsonl: /],
    [['letters', '--model', TOY, '--tool-format', 'x'], 2, /--tool-format.*hermes/],
    [['a+b', '--model', TOY], 2, /must be NAME/],
  ];
  for (const [args, code, says] of cases) {
    const outcome = await run('eval', ...args);
    assert.equal(outcome.code, code, `${args.join(' ')}: ${outcome.error}`);
    assert.match(outcome.error, says);
    assert.equal(outcome.out, '');
  }
});

test('with --gate a run that learned nothing is not published, nor when it is gone on with', async (t) => {
  const { at, run, train } = workplace(t);
  const gated = await train('run', '--name', 'zeros', '--gate', '--learning-rate', '1e-12');
  const resumed = await run('train', '--resume', at('run'));
  for (const { code, error, out } of [gated, resumed]) {
    assert.equal(code, 1);
    assert.match(error, /^lorikeet: gate applied: it changes log-probabilities by 0 on average/m);
    assert.match(error, /It is not published\. The adapter is in /);
    assert.equal(out, '');
  }
  assert.equal(readLines(at('run/events.jsonl')).at(-1)!['type'], 'failed');
  assert.equal(readdirSync(at('run/snapshots')).length, 3);
  assert.ok(!existsSync(at('store/local/zeros')));
  const open = await train('other', '--name', 'zeros', '--learning-rate', '1e-12');
  assert.equal(open.code, 0, open.error);
  assert.match(open.error, /warning: gate applied: [\s\S]*New adapter zeros@1/);
});

test('a resumed run publishes in the same place', async (t) => {
  const { at, run, train } = workplace(t);
  const adapters = at('adapters');
  const first = await train('run', '--name', 'letters', '--adapters', adapters);
  assert.equal(first.code, 0, first.error);
  rmSync(path.join(adapters, 'letters'), { recursive: true });
  const resumed = await run('train', '--resume', at('run'));
  assert.equal(resumed.code, 0, resumed.error);
  assert.match(resumed.out, new RegExp(`--adapters ${adapters}`));
  const bytes = (folder: string) => readFileSync(path.join(folder, 'adapter_model.safetensors'));
  assert.ok(bytes(path.join(adapters, 'letters')).equals(bytes(at('run/adapter'))));
  assert.ok(!existsSync(at('store/local/letters')));
});

test("peft's own adapter of the real base passes every gate on rows that it has not seen", async (t) => {
  const base = await fetchBase();
  const [adapters, data] = [sharedPath('adapters'), sharedPath('data')];
  if ('reason' in base || !adapters || !data) return t.skip('needs the base and shared data');
  const { at, run } = workplace(t);
  const valid = readFileSync(path.join(data, 'wordnet/valid.jsonl'), 'utf8').split('\n');
  writeFileSync(at('valid.jsonl'), valid.slice(0, 8).join('\n'));
  const adapter = path.join(adapters, 'wordnet');
  const model = ['--model', base.dir, '--data', at('valid.jsonl'), '--json'];
  const { code, out, error } = await run('eval', adapter, ...model);
  assert.equal(code, 0, error);
  const card = readCard(JSON.parse(out))!;
  assert.equal(card.gates.length, 6);
  assert.ok(Number(card['validation_loss']) < 0.5 && Number(card['base_validation_loss']) > 5);
  assert.ok(Number(card['validation_token_accuracy']) > 0.9);
});

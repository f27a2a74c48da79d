// Reinforcement by the command, on the toy base: completions and embeddings come from a server's engine in the trainer's process, and
// a grader rewards how alike they are to an answer.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { until } from '../until.ts';
import { runLorikeet, spawnLorikeet, succeed } from './program.ts';

const home = temporaryFolder();
const at = (name: string) => path.join(home, name);
const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;

const compared = (name: string, metric: string) => ({
  ...{ type: 'text_similarity', name, evaluation_metric: metric },
  ...{ input: '{{sample.output_text}}', reference: '{{item.wanted}}' },
});

/** The embeddings come from the engine that samples. */
const GRADER = {
  type: 'multi',
  name: 'close',
  graders: { alike: compared('alike', 'fuzzy_match'), meaning: compared('meaning', 'cosine') },
  calculate_output: 'alike + 0.01 * meaning',
};

const JUDGE = {
  ...{ type: 'score_model', name: 'judge', model: 'unknown-judge' },
  input: [{ role: 'user', content: 'Is {{sample.output_text}} a color?' }],
};

function writeInputs(grader: object): string[] {
  const rows = (count: number, from: number) =>
    Array.from({ length: count }, (_, i) => ({
      messages: [{ role: 'user', content: `What is ${from + i}?` }],
      wanted: 'Blue.',
    }));
  const write = (name: string, lines: readonly object[]) => {
    writeFileSync(at(name), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    return at(name);
  };
  return [
    ...['--data', write('rows.jsonl', rows(16, 0))],
    ...['--validation', write('held-out.jsonl', rows(8, 100))],
    ...['--grader', write('grader.json', [grader])],
  ];
}

/** Enough steps for the reward to double with any seed and any form of the weights, which draw other samples. */
const trainArgs = (out: string, grader: object = GRADER) => [
  ...['train', '--model', path.resolve('models/toy'), '--objective', 'reinforcement'],
  ...[...writeInputs(grader), '--out', at(out), '--completion-length', '8', '--batch-size', '8'],
  ...['--epochs', '7', '--learning-rate', '1e-2', '--rank', '4', '--threads', '1'],
];

const metricsOf = (out: string): Record<string, number>[] =>
  readFileSync(path.join(at(out), 'metrics.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line));

const weightsOf = (out: string) =>
  readFileSync(path.join(at(out), 'adapter', 'adapter_model.safetensors')).toString('hex');

describe('a run that learns from rewards', () => {
  test('raises them, and samples as the trainer would', async () => {
    const { code, out, error } = await runLorikeet(trainArgs('run'), home);
    assert.equal(code, 0, error);
    const metrics = metricsOf('run');
    assert.equal(metrics.length, 14);
    const [first, last] = [metrics[0]!, metrics.at(-1)!];
    assert.ok(last['reward']! > 1.5 * first['reward']!, `${first['reward']}, ${last['reward']}`);
    assert.ok(last['eval_reward']! > 1.3 * first['reward']!);
    for (const step of metrics) assert.ok(step['sampling/sampling_logp_difference/mean']! < 0.1);
    assert.match(`${out}${error}`, /reward +0\.\d/);
    assert.ok(!existsSync(path.join(at('run'), 'sampling')));
  });

  test('does not start if its grader asks a model that does not exist', async () => {
    const { code, error } = await runLorikeet(trainArgs('judged', JUDGE), home);
    assert.equal(code, 78);
    assert.match(error, /--grader: asks unknown-judge\. The model does not exist/);
    assert.ok(!existsSync(path.join(at('judged'), 'metrics.jsonl')));
  });

  const skip = isLong ? false : 'LORIKEET_E2E_LONG is not set';
  test('ends with the same bytes after a pause', { skip }, async () => {
    const { child, output } = spawnLorikeet(trainArgs('paused'), home);
    const closed = once(child, 'close');
    await until('three steps', async () => {
      if (!existsSync(path.join(at('paused'), 'metrics.jsonl'))) return undefined;
      return metricsOf('paused').length >= 3;
    });
    child.kill('SIGTERM');
    await closed;
    assert.match(`${output.out}${output.error}`, /Paused/);
    await succeed(['train', '--resume', at('paused')], home);
    assert.equal(weightsOf('paused'), weightsOf('run'));
  });
});

// `lorikeet eval`: any adapter, on any rows, as the end of its own run saw it.
import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type AdapterFiles, readAdapterFiles } from '../../adapters/peft/files.ts';
import { fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import type { AddedTokens } from '../../src/contracts/added-tokens.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { cardRows, readCard } from '../../src/contracts/evaluation-card.ts';
import {
  ADAPTER_LIMITS,
  parseSafetensors,
  serializeSafetensors,
} from '../../src/formats/safetensors.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { DatasetError } from '../../trainer/data/example.ts';
import {
  cardOf,
  type Evaluated,
  evaluateFiles,
  questions,
  refusing,
  runToy,
  TOY,
  turns,
  writeRows,
} from './toy-runs.ts';

const ANSWER = 'It is blue.';

async function trained(t: TestContext) {
  const validation = writeRows(t, questions(8, ANSWER, 100));
  const run = await runToy(t, { data: writeRows(t, questions(32, ANSWER)), validation });
  return {
    files: await readAdapterFiles(path.join(run.dir, 'adapter')),
    validation,
    card: cardOf(run),
  };
}

/** The adapter with other values in some of its tensors. */
function changed(files: AdapterFiles, change: (values: Float32Array, name: string) => void) {
  const { tensors } = parseSafetensors(files.weightsBytes, ADAPTER_LIMITS);
  const others = new Map<string, Tensor>();
  for (const [name, tensor] of tensors) {
    const values = toFloat32(tensor).slice();
    change(values, name);
    others.set(name, fromFloat32(values, tensor.shape, 'F32'));
  }
  return { ...files, weightsBytes: serializeSafetensors(others) };
}

const verdict = ({ gates }: EvaluationCard, gate: string) =>
  gates.find((one) => one.gate === gate)!;

test("an adapter's card is the one of its own run", async (t) => {
  const { files, validation, card } = await trained(t);
  const { card: measured, text } = await evaluateFiles(files, { data: validation });
  assert.deepEqual(Object.keys(measured), Object.keys(card));
  for (const [key, value] of Object.entries(card)) {
    if (typeof value !== 'number') continue;
    assert.ok(Math.abs(Number(measured[key]) - value) < 1e-4, `${key}: ${measured[key]}, ${value}`);
  }
  assert.deepEqual(refusing(measured), []);
  assert.match(text, /^adapter +it\nbase +toy\ngate finite +passed: 0 is <= 0\n/);
  assert.match(text, /\nvalidation_examples +8\n/);
});

test('without rows the base and the adapter are compared on the fixed text alone', async (t) => {
  const { files } = await trained(t);
  const { card } = await evaluateFiles(files);
  assert.deepEqual(card.skipped, [{ gate: 'validation', reason: 'there are no validation rows' }]);
  assert.deepEqual(refusing(card), []);
  assert.ok(verdict(card, 'applied').value > 0.1);
});

test('an adapter of zeros, of infinities and of huge weights, each by its own gate', async (t) => {
  const { files, validation: data } = await trained(t);
  const zeros = await evaluateFiles(
    changed(files, (values) => values.fill(0)),
    { data },
  );
  assert.deepEqual(refusing(zeros.card), ['applied', 'validation']);
  assert.equal(verdict(zeros.card, 'applied').value, 0);
  assert.equal(zeros.card['text_loss'], zeros.card['base_text_loss']);
  const holes = changed(files, (values, name) => {
    if (name.includes('layers.0.mlp.up_proj.lora_A')) values.set([Number.NaN, Infinity], 3);
  });
  const infinite = await evaluateFiles(holes, { data });
  assert.deepEqual(refusing(infinite.card), ['finite']);
  assert.equal(verdict(infinite.card, 'finite').value, 2);
  assert.deepEqual(
    infinite.card.skipped.map(({ reason }) => reason),
    Array(4).fill('its weights are out of bounds'),
  );
  const huge = await evaluateFiles(changed(files, (values) => values.fill(900, 0, 1)));
  assert.deepEqual(refusing(huge.card), ['weights'], 'scaling included: 2 x 900');
  assert.equal(verdict(huge.card, 'weights').value, 1800);
});

test('a margin is asked of the validation loss', async (t) => {
  const { files, validation: data } = await trained(t);
  const { card } = await evaluateFiles(files, { data, gate: { margin: 6 } });
  assert.deepEqual(refusing(card), ['validation']);
  assert.match(cardRows(card).join('\n'), /gate validation,REFUSED: 0\.\d+ is not < -0\.\d+/);
});

test('rows are read with the tokens of the adapter, which must have rows in the base', async (t) => {
  const { files } = await trained(t);
  const tokensOf = (id: number): AddedTokens => ({
    tokens: [{ id, content: 'sky blue', special: false, lstrip: false, rstrip: false }],
  });
  const addedTokens = tokensOf(1); // a control token of the toy that nobody uses
  const text = 'What is a sky blue day?';
  const tokenizer = (await loadTokenizer(TOY))!.extended(addedTokens);
  const ids = [...tokenizer.encode(text, { specials: false, affixes: true }), 3];
  assert.ok(ids.includes(1));
  const lossOf = async (row: object, facts: Evaluated = {}) => {
    const { card } = await evaluateFiles(files, { data: writeRows(t, [row]), ...facts });
    return card['validation_loss'];
  };
  const plain = await lossOf({ text });
  const own = await lossOf({ text }, { addedTokens });
  assert.equal(own, await lossOf({ input_ids: ids, labels: ids }));
  assert.notEqual(own, plain);
  await assert.rejects(evaluateFiles(files, { addedTokens: tokensOf(1024) }), {
    param: 'added_tokens',
    message: /has token 1024, but the base has 1024 rows/,
  });
});

test('rows of which nothing is learned are not looked at', async (t) => {
  const { files } = await trained(t);
  const masked = { messages: [{ role: 'assistant', content: 'a', weight: 0 }] };
  const data = writeRows(t, [...Array(10).fill(masked), ...questions(3, ANSWER, 50)]);
  const { card } = await evaluateFiles(files, { data });
  assert.deepEqual(refusing(card), []);
  assert.equal(verdict(card, 'finite').value, 0);
});

test('what is wrong with base, adapter or rows is refused by its name', async (t) => {
  const { files } = await trained(t);
  const other = evaluateFiles(files, { baseDigest: 'f'.repeat(64) });
  await assert.rejects(other, {
    name: 'ConfigError',
    message:
      /^model: it was trained on the base with the digest f{12}, but toy has [0-9a-f]{12}\. Name the base/,
  });
  const { tensors } = parseSafetensors(files.weightsBytes, ADAPTER_LIMITS);
  const [first, ...rest] = tensors;
  const lacking = { ...files, weightsBytes: serializeSafetensors(new Map(rest)) };
  await assert.rejects(evaluateFiles(lacking), {
    name: 'ServeError',
    code: 'adapter_invalid',
    param: first![0],
  });
  const data = writeRows(t, [turns('a', 'b'), { messages: [] }]);
  await assert.rejects(evaluateFiles(files, { data }), (error) => {
    assert.ok(error instanceof DatasetError);
    assert.deepEqual([error.fault.param, error.fault.faults[0]?.line], ['validation_file', 2]);
    return true;
  });
});

test('a card is read back from JSON, and anything else is none', async (t) => {
  const { card } = await trained(t);
  assert.deepEqual(readCard(JSON.parse(JSON.stringify(card))), card);
  for (const value of [undefined, 1, {}, { gates: [], skipped: 1 }, { gates: [{ gate: 'x' }] }]) {
    assert.equal(readCard(value), undefined);
  }
});

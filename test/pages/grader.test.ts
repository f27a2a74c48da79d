// Templates of graders are valid ones, and rows are found in a file that arrives in pieces.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { grade, PythonError } from '../../src/graders/grade.ts';
import { graderSchema } from '../../src/graders/schema.ts';
import { toSample } from '../../src/graders/template.ts';
import {
  faultsOf,
  faultText,
  missingNames,
  PYTHON,
  readRow,
  TEMPLATES,
  templateOf,
  verdictOn,
  writeTemplate,
} from '../../src/pages/fine-tuning/new-job/grader.ts';

const PRINT = 'import json, sys\nprint(grade(*json.loads(sys.argv[1])))';
const CALLS = {
  /** The templates are trusted, so they need no sandbox. */
  async runPython(source: string, { sample, item }: { sample: unknown; item: unknown }) {
    const args = ['-c', source + PRINT, JSON.stringify([sample, item])];
    const ran = await promisify(execFile)('python3', args).catch((error) => {
      throw new PythonError('runtime', String(error.stderr));
    });
    return Number(ran.stdout);
  },
  embed: () => assert.fail('no template compares embeddings'),
  ask: async () => ({ text: '{"result": 0.5}', promptTokens: 1, completionTokens: 1 }),
};

test('every template rewards an output that is what a key of its row says', async () => {
  const row = readRow('{"messages": [], "tools": null, "wanted": "Blue.", "level": 2}')!;
  assert.deepEqual(row.item, { wanted: 'Blue.', level: 2 });
  for (const { id } of TEMPLATES) {
    const grader = graderSchema.parse(JSON.parse(writeTemplate(id, row)));
    assert.equal(grader.type, id);
    const graded = await grade(grader, { item: row.item, sample: toSample('Blue.') }, CALLS);
    assert.equal(graded.reward, id === 'score_model' ? 0.5 : 1);
    const { errors } = await grade(grader, { item: {}, sample: toSample('') }, CALLS);
    const metadata = { errors } as unknown as Parameters<typeof faultsOf>[0]['metadata'];
    const fault = id === PYTHON ? /KeyError/ : faultText('invalid_variable_error');
    assert.match(faultsOf({ metadata } as never), new RegExp(fault));
    assert.deepEqual(missingNames(writeTemplate(id, undefined), row), ['item.answer']);
    assert.deepEqual(missingNames(writeTemplate(id, row), row), []);
  }
  assert.equal(readRow('[1'), undefined);
});

test('a template follows its kind, and the verdict names what is wrong', () => {
  for (const { id } of TEMPLATES) assert.equal(templateOf(writeTemplate(id)), id);
  assert.equal(templateOf('{'), undefined);
  const row = readRow('{"messages": [], "wanted": "Blue."}');
  const about = { refusal: '', row, number: 3 };
  assert.equal(verdictOn(writeTemplate('multi', row), about), 'Valid');
  assert.match(verdictOn(writeTemplate(), about), /row 3 lacks item.answer. It has wanted./);
  assert.match(verdictOn('{', about), /^Not JSON: /);
  assert.equal(verdictOn('{}', { ...about, refusal: 'type: is missing' }), 'type: is missing');
});

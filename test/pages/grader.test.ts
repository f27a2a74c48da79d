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
  readLine,
  readRow,
  TEMPLATES,
  writeTemplate,
} from '../../src/pages/grader.js';

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

test('a line is found in a file that arrives in pieces of any size', async () => {
  const lines = ['{"a": 1}', '', '{"ü": "€"}', '{"last": 3}'];
  for (const end of ['', '\n']) {
    const bytes = new TextEncoder().encode(lines.join('\n') + end);
    for (const size of [1, 2, 3, 7, 100]) {
      const open = () =>
        new ReadableStream<Uint8Array<ArrayBuffer>>({
          start(controller) {
            for (let at = 0; at < bytes.length; at += size) {
              controller.enqueue(bytes.slice(at, at + size));
            }
            controller.close();
          },
        });
      for (const [i, line] of lines.entries()) assert.equal(await readLine(open(), i + 1), line);
      assert.equal(await readLine(open(), 5), undefined);
    }
  }
});

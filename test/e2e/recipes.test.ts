// Types the recipes: their commands, and their programs in Python and TypeScript with OpenAI's clients. With LORIKEET_E2E_LONG the
// base and the training are those of the pages, and so are the shown answers. Otherwise the toy base stands in.
import assert from 'node:assert/strict';
import { cpSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { openShell, PAGE_TIMEOUT_MS, typePage } from './checkout-shell.ts';
import { answerOf, examplesOf } from './documents.ts';
import { execute } from './execute.ts';
import { pythonWith } from './python-venv.ts';
import { writeToyAdapter } from './toy-adapter.ts';
import { runTypeScript } from './typescript-programs.ts';

const FOLDER = 'docs/recipes';
/** What both programs of a recipe print. */
const PRINTED: Readonly<Record<string, RegExp>> = {
  'classify-tickets': /^(billing|shipping|account|returns)\s*$/,
  'extract-json': /age\W+name\W+(int|number)\s*$/,
  'tone-per-customer': /^tone-acme: [\s\S]*\ntone-globex: /,
  'tool-calls': /^called get_weather\n(stop|length|tool_calls)\s*$/,
  'train-on-a-gpu': /^tickets\s*$/,
  'merge-to-gguf': /^(stop|length)\s*$/,
};
/** The toy base has too few tokens to write JSON. */
const WRITES_JSON = new Set(['extract-json', 'tool-calls']);
/** Programs that need a GPU. They are only parsed. */
const TRAINING = /^from (?:datasets|unsloth)\b/;

const python = await pythonWith('examples/train-then-serve/requirements.txt');

test('each recipe has an expectation', () => {
  const pages = readdirSync(FOLDER).map((name) => path.basename(name, '.md'));
  assert.deepEqual(pages.filter((name) => name !== 'README').sort(), Object.keys(PRINTED).sort());
});

for (const [name, printed] of Object.entries(PRINTED)) {
  test(`the recipe ${name} works`, { timeout: PAGE_TIMEOUT_MS }, async (t) => {
    const page = path.join(FOLDER, `${name}.md`);
    const shell = await openShell(t);
    if (shell.reason) return t.skip(shell.reason);
    if (WRITES_JSON.has(name) && !shell.isLong)
      return t.skip('the toy base cannot write JSON, and LORIKEET_E2E_LONG is not set');
    const at = (file: string) => path.join(shell.folder, file);
    shell.variables['LORIKEET_TRAIN_PRIORITY'] = 'nice';
    if (name === 'train-on-a-gpu') {
      if (shell.isLong) cpSync('models/demo/zen', at('tickets-adapter'), { recursive: true });
      else writeToyAdapter(at('tickets-adapter'), 1);
    }
    const answers: string[] = [];
    const outputs: Record<string, string> = {};
    await typePage(shell, page, [
      [/^curl/, async (command) => answers.push(answerOf(await shell.ask(command)))],
      [TRAINING, parsePython],
      [
        /^from openai import/m,
        async (program) => {
          await parsePython(program);
          if ('reason' in python) return t.diagnostic(python.reason);
          const options = { cwd: shell.folder, env: { PATH: process.env['PATH'] } };
          const { stdout } = await execute(
            python.python,
            ['-c', shell.atFreePort(program)],
            options,
          );
          outputs['Python'] = stdout;
        },
      ],
      [
        /^import OpenAI/,
        async (program) => {
          const text = shell.atFreePort(program);
          outputs['TypeScript'] = await runTypeScript(at('program.mts'), text, {});
        },
      ],
    ]);
    assert.equal(answers.length, 1);
    const [{ answer = undefined } = {}] = examplesOf(page);
    if (shell.isLong && answer) assert.equal(answers[0], answer);
    assert.match(outputs['TypeScript'] ?? '', printed);
    if ('python' in python) assert.match(outputs['Python'] ?? '', printed);
  });
}

async function parsePython(program: string): Promise<void> {
  await execute('python3', ['-c', 'import ast, sys; ast.parse(sys.argv[1])', program]);
}

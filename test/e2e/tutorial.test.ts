// Types every command of docs/tutorial.md, in order. With LORIKEET_E2E_LONG the base is the real one, the training is as long as on
// the page, and the answers are those that the page shows. Otherwise the commands work, which says nothing about the answers.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { openShell, PAGE_TIMEOUT_MS, typePage } from './checkout-shell.ts';
import { answerOf, examplesOf } from './documents.ts';

const PAGE = 'docs/tutorial.md';

test('the commands of the tutorial work', { timeout: PAGE_TIMEOUT_MS }, async (t) => {
  const shell = await openShell(t);
  if (shell.reason) return t.skip(shell.reason);
  const responses: { model: string; choices: [{ message: { content: string } }] }[] = [];
  await typePage(shell, PAGE, [
    [/^curl/, async (command) => responses.push(await shell.ask(command))],
    [
      /^KEY=/,
      async (command) => {
        const [, create] = /^KEY=\$\((.*)\)$/.exec(command)!;
        shell.variables['KEY'] = (await shell.run(`${create} 2>/dev/null`)).trim();
        addDefaultModel(path.join(shell.home, 'keys.json'));
      },
    ],
  ]);
  const examples = examplesOf(PAGE);
  assert.equal(responses.length, examples.length);
  assert.equal(responses.length, 3);
  for (const [i, response] of responses.entries()) {
    assert.match(response.model, /^tickets/);
    const { answer } = examples[i]!;
    if (shell.isLong && answer) assert.equal(answerOf(response), answer);
  }
  const choice = answerOf(responses[1]!);
  assert.ok(['billing', 'shipping', 'account', 'returns'].includes(choice), choice);
});

/** Makes the change of the keys file that the page shows. */
function addDefaultModel(file: string): void {
  const shown = /^"tenants": (\{.*\})$/m.exec(readFileSync(PAGE, 'utf8'))![1]!;
  const keys = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...keys, tenants: JSON.parse(shown) }));
}

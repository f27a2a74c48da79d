// The playground as a workbench, in a real browser on the toy base: results of calls, answers that are changed or continued, JSON,
// the context, and where things are on the screen.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { pluck } from '../pluck.ts';
import { accessFaults, overhang, PHONE, servePages, test, textOf } from './browser.ts';
import { chat, scriptAnswers, send, sentBodies, untilTrue } from './playground-page.ts';

const pages = servePages(() => ['--slots', '4', '--weights', 'f32']);
const { open } = pages;

interface Rect {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}
const rectOf = (page: Page, selector: string) =>
  page.evaluate<Rect>(`(() => {
    const { top, bottom, left, right } = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect();
    return { top, bottom, left, right };
  })()`);

/** Answers chat requests with these deltas, one request after the other. */
async function answerWith(page: Page, answers: readonly { delta: object; reason: string }[]) {
  const rest = [...answers];
  await page.route('**/v1/chat/completions', (route) => {
    const { delta, reason } = rest.shift()!;
    const event = { choices: [{ index: 0, delta, finish_reason: reason }] };
    const body = `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`;
    return route.fulfill({ contentType: 'text/event-stream', body });
  });
}

test('results of calls are sent to the model, and stay in the chat', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const calls = ['a', 'b'].map((id, index) => ({
    ...{ index, id, type: 'function' },
    function: { name: `get_${id}`, arguments: '{"city":"Oslo"}' },
  }));
  await answerWith(page, [
    { delta: { tool_calls: calls }, reason: 'tool_calls' },
    { delta: { content: 'It is sunny.' }, reason: 'stop' },
    { delta: { content: 'Still.' }, reason: 'stop' },
  ]);
  const bodies = sentBodies(page);
  await chat(page, 'Weather?');
  const button = page.getByRole('button', { name: 'Continue with the results' });
  await page.getByLabel('Result of get_a').fill('sunny');
  assert.ok(await button.isDisabled());
  await page.getByLabel('Result of get_b').fill('{"wind": 3}');
  assert.deepEqual(await accessFaults(page), []);
  await button.click();
  await page.locator('.answer .text', { hasText: 'It is sunny.' }).waitFor();
  const results = bodies[1]!.messages.slice(2);
  assert.deepEqual(pluck(bodies[1]!.messages, 'role'), ['user', 'assistant', 'tool', 'tool']);
  assert.deepEqual(results, [
    { role: 'tool', tool_call_id: 'a', content: 'sunny' },
    { role: 'tool', tool_call_id: 'b', content: '{"wind": 3}' },
  ]);
  await page.reload();
  await page.locator('.answer .text', { hasText: 'It is sunny.' }).waitFor();
  assert.equal(await page.getByLabel('Result of get_a').inputValue(), 'sunny');
  await chat(page, 'And now?');
  assert.deepEqual(pluck(bodies[2]!.messages, 'role'), [
    ...['user', 'assistant', 'tool', 'tool', 'assistant', 'user'],
  ]);
});

test('an answer that broke off or reached its limit is continued', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await answerWith(page, [
    { delta: { content: 'Once upon' }, reason: 'length' },
    { delta: { content: ' a time.' }, reason: 'stop' },
  ]);
  const bodies = sentBodies(page);
  await chat(page, 'A tale');
  await page.getByRole('button', { name: 'Continue: toy' }).click();
  await page.locator('.answer .text', { hasText: 'Once upon a time.' }).waitFor();
  assert.equal(await page.locator('.turn').count(), 1);
  const { messages, continue_final_message, add_generation_prompt } = bodies[1]!;
  assert.deepEqual(messages.at(-1), { role: 'assistant', content: 'Once upon' });
  assert.deepEqual([continue_final_message, add_generation_prompt], [true, false]);
  await page.locator('#send-button').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Continue: toy' }).count(), 0);
});

test('the server continues a stopped answer', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await chat(page, 'Hello'); // reaches max tokens
  const text = page.locator('.answer .text.stack'); // plain until Markdown is loaded
  const before = await textOf(text);
  await page.getByRole('button', { name: 'Continue: toy' }).click();
  await page.locator('#send-button').waitFor();
  const after = await textOf(text);
  assert.ok(after.startsWith(before) && after.length > before.length, after);
});

test('a changed answer is a version of its turn, and later prompts see it', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await chat(page, 'Hello');
  const bodies = sentBodies(page);
  await page.getByRole('button', { name: 'Change: toy' }).click();
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.type('Mine');
  await page.keyboard.press('Enter');
  await page.locator('.answer .text', { hasText: /^Mine$/ }).waitFor();
  await page.locator('.switcher', { hasText: '2 of 2' }).waitFor();
  await chat(page, 'And?');
  assert.equal(bodies[0]!.messages[1]!.content, 'Mine');
  await page.getByRole('button', { name: 'Previous answer to prompt 1' }).click();
  assert.equal(await page.locator('.turn').count(), 1);
});

test('JSON is indented and in a fixed width, and a key that is there twice is marked', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await page.locator('#response_format-editor summary').click();
  await page.locator('#response_format-example').click();
  await answerWith(page, [{ delta: { content: '{"a":1,"b":{"a":2},"a":3}' }, reason: 'stop' }]);
  await chat(page, 'Hello');
  const text = page.locator('.answer .text');
  assert.equal(await text.textContent(), '{\n  "a": 1,\n  "b": {\n    "a": 2\n  },\n  "a": 3\n}');
  const font = "getComputedStyle(document.querySelector('.answer .text')).fontFamily";
  assert.match(await page.evaluate(font), /mono/i);
  assert.deepEqual(await text.locator('.duplicate').allTextContents(), ['"a"']);
  assert.equal(await text.locator('.hljs-attr').count(), 4);
  assert.deepEqual(await accessFaults(page), []);
});

test('code is colored by its language, and other code stays as it is', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const content = '```py\ndef f():\n    return "<b>"\n```\n\n```klingon\ndef\n```\n';
  await answerWith(page, [{ delta: { content }, reason: 'stop' }]);
  await chat(page, 'Hello');
  await page.locator('.code .hljs-keyword', { hasText: 'def' }).waitFor();
  assert.deepEqual(await page.locator('.code pre').allTextContents(), [
    ...['def f():\n    return "<b>"', 'def'],
  ]);
  assert.equal(await page.locator('.code').nth(1).locator('span[class^=hljs]').count(), 0);
  assert.deepEqual(await accessFaults(page), []);
});

test('the context that a message fills is shown before it is sent', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const tokens = async () => {
    await page.locator('#context', { hasText: /^\s*\d+ of 128 tokens$/ }).waitFor();
    return Number.parseInt((await textOf(page.locator('#context'))).trim(), 10);
  };
  await page.locator('#prompt').fill('one');
  const few = await tokens();
  await page.locator('#prompt').fill('one two three four five six seven');
  await page.locator('#context', { hasNotText: ` ${few} of` }).waitFor();
  await untilTrue(page, `parseInt(document.getElementById('context')?.textContent) > ${few}`);
  assert.deepEqual(await accessFaults(page), []);
});

test('a prompt with variables is saved, filled in and removed', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await page.locator('#system').fill('Be brief.');
  await page.locator('#prompt').fill('Translate {{text}} to {{language}}.');
  await page.locator('#prompts-button').click();
  await page.locator('#prompt-name').fill('Translation');
  await page.locator('#prompt-save').click();
  await page.getByRole('button', { name: 'Translation', exact: true }).waitFor();
  assert.deepEqual(await accessFaults(page), []);
  await page.locator('#prompts-close').click();
  await page.goto(`${pages.server.url}/?model=base`);
  await page.locator('#prompts-button').click();
  await page.getByRole('button', { name: 'Translation', exact: true }).click();
  await page.locator('#variable-text:focus').waitFor();
  await page.locator('#variable-text').fill('yes');
  await page.locator('#variable-language').fill('French');
  await page.locator('#prompt-insert').click();
  assert.equal(await page.locator('#prompt').inputValue(), 'Translate yes to French.');
  assert.equal(await page.locator('#system').inputValue(), 'Be brief.');
  // A second one is added to what was typed, and taken back.
  await page.locator('#system').fill('Be rude.');
  await page.locator('#prompts-button').click();
  await page.getByRole('button', { name: 'Translation', exact: true }).click();
  await page.locator('#prompt-insert').click();
  assert.match(
    await page.locator('#prompt').inputValue(),
    /^Translate yes to French\.\n\nTranslate/,
  );
  assert.equal(await page.locator('#system').inputValue(), 'Be brief.');
  await page.locator('#undo-button').click();
  assert.equal(await page.locator('#prompt').inputValue(), 'Translate yes to French.');
  assert.equal(await page.locator('#system').inputValue(), 'Be rude.');
  await page.locator('#prompts-button').click();
  await page.getByRole('button', { name: 'Delete: Translation' }).click();
  await page.locator('#confirm-yes').click();
  await page.locator('#prompts-dialog', { hasText: 'None yet' }).waitFor();
  assert.equal(await page.evaluate('document.activeElement.id'), 'prompt-list');
});

test('a prompt is run over the rows of a file with each model, and the answers are saved', async (t) => {
  const { page } = await open(t, '/?model=toy&beside=nobody');
  await page.locator('#max_tokens').fill('4');
  await page.locator('#prompt').fill('Sort: {{text}}');
  await page.locator('#rows-button').click();
  const bodies = sentBodies(page);
  const choose = (name: string, text: string) =>
    page
      .locator('input#rows-file')
      .setInputFiles({ name, mimeType: 'text/csv', buffer: Buffer.from(text) });
  await choose('rows.csv', 'title\none\n');
  await page.locator('#rows-problem', { hasText: 'no column text. It has title.' }).waitFor();
  assert.ok(await page.locator('#rows-run').isDisabled());
  await choose('rows.csv', 'id,text\n1,"a, b"\n2,c\n3,d\n');
  await page.locator('#rows-state', { hasText: '3 rows: id, text' }).waitFor();
  await page.locator('#rows-run').click();
  await page.locator('#rows-state', { hasText: '3 of 3 rows answered, 3 failed' }).waitFor();
  assert.deepEqual(await accessFaults(page), []);
  const asked = bodies.filter(({ model }) => model === 'toy').map(({ messages }) => messages[0]!);
  assert.deepEqual(pluck(asked, 'content').sort(), ['Sort: a, b', 'Sort: c', 'Sort: d']);
  const [file] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download JSONL' }).click(),
  ]);
  const rows = readFileSync(await file.path(), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(pluck(rows, 'text'), ['a, b', 'c', 'd']);
  assert.ok(rows.every(({ toy, 'nobody: problem': problem }) => toy && /exist/.test(problem)));
});

test('text files are attached to a message, and others are refused', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const bodies = sentBodies(page);
  await page.locator('#prompt').fill('Sum up:');
  const attach = (name: string, bytes: Uint8Array) =>
    page
      .locator('#attached')
      .setInputFiles({ name, mimeType: 'text/plain', buffer: Buffer.from(bytes) });
  await attach('picture.png', Uint8Array.of(0x89, 0x50, 0xff, 0));
  await page.locator('#problem', { hasText: 'picture.png is not a text file' }).waitFor();
  await attach('notes.txt', Buffer.from('some notes\n'));
  await page.locator('#problem').waitFor({ state: 'hidden' });
  await page.locator('#prompt').press('Enter');
  await page.locator('.said summary', { hasText: 'notes.txt' }).click();
  await page.locator('.said pre', { hasText: 'some notes' }).waitFor();
  await page.locator('#send-button').waitFor();
  const content = 'Sum up:\n<file name="notes.txt">\nsome notes\n</file>';
  assert.equal(bodies[0]!.messages[0]!.content, content);
  assert.deepEqual(await accessFaults(page), []);
});

test('four answers are two by two, between the chats and the settings', async (t) => {
  const { page } = await open(t, '/?model=toy&beside=base&beside=toy&beside=base', {
    viewport: { width: 1600, height: 900 },
  });
  await chat(page, 'Hello');
  const boxes = await Promise.all(
    [0, 1, 2, 3].map((i) => page.locator('.answer').nth(i).boundingBox()),
  );
  const [a, b, c, d] = boxes.map((box) => box!);
  assert.ok(a!.y === b!.y && c!.y === d!.y && a!.y < c!.y && a!.x === c!.x && b!.x === d!.x);
  const talk = await rectOf(page, '#talk');
  assert.ok((await rectOf(page, '#chats')).right <= talk.left);
  assert.ok((await rectOf(page, '#settings')).left >= talk.right);
  for (const id of ['chats', 'settings']) await page.locator(`#${id} > summary`).click();
  const wide = await rectOf(page, '#talk');
  assert.ok(wide.right - wide.left > talk.right - talk.left + 300, 'closed ones leave their room');
});

test('an empty chat has no button to its end', async (t) => {
  const { page } = await open(t, '/?model=toy', { viewport: { width: 700, height: 500 } });
  const answers = await scriptAnswers(page);
  await send(page, 'Hello');
  await answers.push('a line\n\n'.repeat(60));
  await answers.finish();
  await page.locator('.answer .facts', { hasText: 'token' }).waitFor(); // the chat grows no more
  await untilTrue(page, 'scrollY > 400');
  await page.mouse.move(300, 200);
  await page.mouse.wheel(0, -400);
  await page.locator('#end-button').waitFor();
  await page.evaluate("document.getElementById('new-button').click()"); // without scrolling
  await page.locator('.turn').waitFor({ state: 'detached' });
  assert.ok(await page.locator('#end-button').isHidden());
});

test('at the end of a long chat the headings of the panels are below the header', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const answers = await scriptAnswers(page);
  await page.evaluate("for (const part of document.querySelectorAll('.more')) part.open = true");
  await send(page, 'Hello');
  await answers.push('a line\n\n'.repeat(60));
  await answers.finish();
  await page.locator('#send-button').waitFor();
  await page.evaluate('scrollTo(0, document.documentElement.scrollHeight)');
  const { bottom } = await rectOf(page, 'header');
  for (const id of ['chats', 'settings']) {
    const { top } = await rectOf(page, `#${id} h2`);
    assert.ok(top >= bottom, `${id}: ${top} under ${bottom}`);
  }
});

test('the buttons of every chat are whole, and nothing moves when they appear', async (t) => {
  const { page } = await open(t, '/?model=toy');
  for (const title of ['One', 'Two', 'Three', 'Four']) {
    await chat(page, title);
    await page.locator('#new-button').click();
    await page.locator('.turn').waitFor({ state: 'detached' });
  }
  await page.locator('.chat').nth(3).waitFor();
  const { bottom } = await rectOf(page, '#chat-list');
  await page.locator('.chat', { hasText: 'One' }).hover();
  const box = await page.getByRole('button', { name: 'Delete: One' }).boundingBox();
  assert.ok(box!.y + box!.height <= bottom);
  assert.equal((await rectOf(page, '#chat-list')).bottom, bottom);
});

test('the workbench fits a phone', async (t) => {
  const { page } = await open(t, '/?model=toy', PHONE);
  await page.locator('#prompt').fill('Hello');
  await page.locator('#send-button').tap();
  await page.locator('.answer .facts', { hasText: 'token' }).waitFor();
  assert.equal(await page.evaluate('document.activeElement.id'), 'send-button');
  await page.getByRole('button', { name: 'Change: toy' }).click();
  assert.equal(await overhang(page), 0);
});

// The playground in a real browser, on the toy base: chats, failed turns, editing, links and keyboard use, on a fast and a slow
// network, and with a server that dies.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { withResolvers } from '../../src/common/waiting.ts';
import { pluck } from '../pluck.ts';
import {
  accessFaults,
  openPage,
  overhang,
  PHONE,
  servePages,
  slowDown,
  THEMES,
  TOY_MODEL,
  test,
  textOf,
} from './browser.ts';
import { execute } from './execute.ts';
import { tabTo } from './keyboard.ts';
import { chat, readCode, scriptAnswers, send, sentBodies, untilTrue } from './playground-page.ts';
import { startServing } from './program.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const FLAGS = ['--slots', '4', '--weights', 'f32'];
const pages = servePages((home) => {
  for (const [i, name] of ['parrot', 'zebra'].entries()) {
    writeToyAdapter(path.join(home, 'adapters', name), i + 1);
  }
  return [...FLAGS, '--adapters', path.join(home, 'adapters')];
});
const { open } = pages;

const models = (page: Page) =>
  page.locator('#models input').evaluateAll((inputs) => inputs.map((i) => (i as never)['value']));

test('it opens with an adapter and its base side by side, and three example prompts', async (t) => {
  const { page } = await open(t, '/');
  await page.locator('#chosen', { hasText: 'parrot, toy' }).waitFor({ state: 'attached' });
  assert.equal(await page.evaluate('document.activeElement.id'), 'prompt');
  await page.locator('.starter').first().waitFor();
  assert.equal(await page.locator('.starter').count(), 3);
  const bodies = sentBodies(page);
  await page.locator('.starter').first().click();
  await page.locator('#send-button').waitFor();
  assert.deepEqual(await page.locator('.answer h3').allTextContents(), ['parrot', 'toy']);
  const [first, second] = await page.locator('.answer .text').allTextContents();
  assert.ok(first && second && first !== second);
  for (const facts of await page.locator('.answer .facts').allTextContents()) {
    assert.match(facts, /\d+ tokens · first token after .* · \d+ tokens\/s/);
  }
  // No parameter was set, so none is sent, and the model's defaults apply.
  assert.deepEqual(Object.keys(bodies[0]!).sort(), [
    'messages',
    'model',
    'stream',
    'stream_options',
  ]);
  assert.equal(await page.evaluate('document.activeElement.id'), 'prompt');
});

test("the fields show the model's defaults, and only set parameters are sent", async (t) => {
  const { page } = await open(t, '/pages/icon.svg');
  await page.route('**/v1/models/zebra', async (route) => {
    const generation_config = { temperature: 0.2, top_p: 0.9, max_tokens: 64 };
    await route.fulfill({ json: { id: 'zebra', object: 'model', generation_config } });
  });
  await page.goto(`${pages.server.url}/?model=zebra`);
  const placeholder = (id: string) => page.locator(`#${id}`).getAttribute('placeholder');
  await page.locator('#temperature[placeholder="0.2"]').waitFor();
  assert.equal(await placeholder('top_p'), '0.9');
  assert.equal(await placeholder('max_tokens'), '64');
  assert.equal(await placeholder('repetition_penalty'), '1');
  await page.locator('#model').fill('parrot');
  await page.locator('#model').blur();
  await page.locator('#temperature[placeholder="1"]').waitFor();
  const bodies = sentBodies(page);
  await page.locator('#temperature').fill('0');
  await chat(page, 'Hello');
  const { temperature, top_p, max_tokens } = bodies[0] as Record<string, number>;
  assert.deepEqual([temperature, top_p, max_tokens], [0, undefined, 24]);
});

test('a failed turn leaves the chat, and its text returns', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await chat(page, 'Hello');
  const tooLong = 'word '.repeat(200).trim(); // of a context of 128
  await chat(page, tooLong);
  assert.match(await textOf(page.locator('.turn .problem').last()), /context|tokens/);
  assert.equal(await page.locator('#prompt').inputValue(), tooLong);
  await page.locator('.turn.failed').waitFor();
  const bodies = sentBodies(page);
  await chat(page, 'Again');
  assert.equal(await page.locator('.turn').count(), 2);
  assert.equal(await page.locator('.turn.failed').count(), 0);
  assert.deepEqual(pluck(bodies[0]!.messages, 'role'), ['user', 'assistant', 'user']);
  assert.ok(bodies[0]!.messages.every(({ content }) => content !== '' && content !== tooLong));
});

test('if one of two models fails, it forgets the turn and the other remembers it', async (t) => {
  const { page } = await open(t, '/?model=toy&beside=nobody');
  await chat(page, 'Hello');
  assert.match(await textOf(page.locator('.answer.failed .problem')), /does not exist/);
  assert.equal(await page.locator('#prompt').inputValue(), ''); // the turn stands
  const bodies = sentBodies(page);
  await chat(page, 'Again');
  const roles = Object.fromEntries(
    bodies.map(({ model, messages }) => [model, messages.map(({ role }) => role)]),
  );
  assert.deepEqual(roles, { toy: ['user', 'assistant', 'user'], nobody: ['user'] });
});

test('a retry adds a variant and an edit a branch, and a removed turn is restored', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const said = () => page.locator('.said').allTextContents();
  for (const text of ['One', 'Two', 'Three']) await chat(page, text);
  const turn = (i: number) => page.locator('.turn').nth(i);
  await turn(2).getByRole('button', { name: 'Retry' }).click();
  await page.locator('#send-button').waitFor();
  assert.deepEqual(await said(), ['One', 'Two', 'Three']);
  await turn(2).locator('.switcher', { hasText: '2 of 2' }).waitFor();

  const bodies = sentBodies(page);
  await turn(1).hover();
  await turn(1).getByRole('button', { name: 'Edit' }).click();
  await page.keyboard.type(' and a half');
  await page.keyboard.press('Enter');
  await page.locator('.said', { hasText: 'Two and a half' }).waitFor();
  await page.locator('#send-button').waitFor();
  assert.deepEqual(await said(), ['One', 'Two and a half']);
  assert.deepEqual(
    bodies
      .at(-1)!
      .messages.filter(({ role }) => role === 'user')
      .map(({ content }) => content),
    ['One', 'Two and a half'],
  );
  await page.getByRole('button', { name: 'Previous version of prompt 2' }).press('Enter');
  assert.deepEqual(await said(), ['One', 'Two', 'Three']);
  const label = 'document.activeElement.ariaLabel';
  assert.equal(await page.evaluate(label), 'Previous version of prompt 2');
  await page.getByRole('button', { name: 'Previous answer to prompt 3' }).click();
  await turn(2).locator('.switcher', { hasText: '1 of 2' }).waitFor();
  assert.deepEqual(await accessFaults(page), []);

  await turn(0).hover();
  await turn(0).getByRole('button', { name: 'Delete' }).click();
  assert.deepEqual(await said(), ['Two', 'Three']);
  assert.equal(await page.evaluate('document.activeElement.id'), 'prompt');
  await page.locator('#undo-button').click();
  assert.deepEqual(await said(), ['One', 'Two', 'Three']);
});

test('one answer is stopped alone, and all answers by the button or by Escape', async (t) => {
  const { page } = await open(t, '/?model=parrot&beside=zebra&beside=toy');
  await page.route('**/v1/chat/completions', async (route) => {
    if (route.request().postDataJSON().model === 'toy') await route.continue();
    // The others never answer.
  });
  await page.locator('#max_tokens').fill('24');
  const sendHello = async () => {
    await send(page, 'Hello');
    await page.locator('.turn').last().locator('.facts', { hasText: 'token' }).waitFor();
  };
  await sendHello();
  await page.getByRole('button', { name: 'Stop: zebra' }).click();
  const answer = (name: string) => page.locator(`.answer[aria-label="Answer of ${name}"]`).last();
  await answer('zebra').locator('.facts', { hasText: 'stopped' }).waitFor();
  assert.equal(await page.evaluate('document.activeElement.ariaLabel'), 'Answer of zebra');
  assert.equal(await answer('parrot').getAttribute('aria-busy'), 'true');
  await page.locator('#stop-button').click();
  await answer('parrot').locator('.facts', { hasText: 'stopped' }).waitFor();
  await page.locator('#send-button').waitFor();
  await sendHello();
  await page.keyboard.press('Escape');
  await page.locator('#send-button').waitFor();
  assert.equal(await page.locator('.facts', { hasText: 'stopped' }).count(), 4);
});

test('up to four models answer side by side; fields are added and removed', async (t) => {
  const { page } = await open(t, '/?model=parrot');
  for (const name of ['zebra', 'toy', 'base']) {
    await page.locator('#add-model').click();
    await page.keyboard.type(name);
    await page.keyboard.press('Tab');
  }
  assert.ok(await page.locator('#add-model').isHidden());
  assert.deepEqual(new URL(page.url()).searchParams.getAll('beside'), ['zebra', 'toy', 'base']);
  await chat(page, 'Hello');
  assert.deepEqual(await page.locator('.answer h3').allTextContents(), [
    'parrot',
    'zebra',
    'toy',
    'base',
  ]);
  await page.getByRole('button', { name: 'Remove model 3' }).click();
  assert.deepEqual(await models(page), ['parrot', 'zebra', 'base']);
  await page.reload();
  assert.deepEqual(await models(page), ['parrot', 'zebra', 'base']);
});

test('models are picked from the list or typed', async (t) => {
  const { page } = await open(t, '/');
  await page.locator('#chosen', { hasText: 'toy' }).waitFor({ state: 'attached' });
  await page.locator('#model').click();
  const options = page.locator('#model-list [role=option] span');
  assert.deepEqual(await options.allTextContents(), ['toy', 'parrot', 'zebra']);
  await page.locator('#model').fill('ZEB');
  assert.deepEqual(await options.allTextContents(), ['zebra']);
  await options.first().click();
  assert.equal(await page.locator('#model').inputValue(), 'zebra');
  assert.equal(new URL(page.url()).searchParams.get('model'), 'zebra');
});

test('the chat survives a reload and other pages, and is exported, left and opened again', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await page.locator('#system').fill('Be brief.');
  await chat(page, 'One');
  await chat(page, 'Two');
  await page.locator('#prompt').fill('not sent');
  const answers = page.locator('.answer .text.stack'); // a text is plain until Markdown is loaded
  await answers.nth(1).waitFor();
  const shown = await answers.allTextContents();
  await page.reload();
  await answers.nth(1).waitFor();
  assert.deepEqual(await answers.allTextContents(), shown);
  await page.locator('nav a', { hasText: 'Status' }).click();
  await page.locator('nav a', { hasText: 'Playground' }).click();
  await answers.nth(1).waitFor();
  assert.deepEqual(await answers.allTextContents(), shown);
  assert.deepEqual(await models(page), ['toy']);
  assert.equal(await page.locator('#system').inputValue(), 'Be brief.');
  assert.equal(await page.locator('#prompt').inputValue(), 'not sent');

  const [file] = await Promise.all([
    page.waitForEvent('download'),
    page.locator('#export-button').click(),
  ]);
  const text = readFileSync(await file.path(), 'utf8');
  const [{ title, chat: exported }] = JSON.parse(text);
  assert.deepEqual([title, exported.models], ['One', ['toy']]);

  await page.locator('#new-button').click();
  await page.locator('.turn').first().waitFor({ state: 'detached' });
  assert.equal(await page.locator('#prompt').inputValue(), '');
  await page.locator('#system').fill('');
  await page.locator('.chat', { hasText: 'One' }).click();
  await answers.nth(1).waitFor();
  assert.deepEqual(await answers.allTextContents(), shown);
  assert.equal(await page.locator('#system').inputValue(), 'Be brief.');

  // A new browser without any chat reads the file, once it knows whose chats it shows.
  const other = (await open(t, '/pages/icon.svg')).page;
  const identity = withResolvers<void>();
  await other.route('**/v1/me', (route) => identity.promise.then(() => route.continue()));
  await other.goto(pages.server.url);
  const add = other.locator('#chats-import');
  assert.ok(await add.isDisabled());
  identity.resolve();
  const [chooser] = await Promise.all([other.waitForEvent('filechooser'), add.click()]);
  await chooser.setFiles(await file.path());
  await other.locator('.chat', { hasText: 'One' }).click();
  await other.locator('.answer .text p').nth(1).waitFor(); // Markdown comes on demand
  assert.deepEqual(await other.locator('.answer .text').allTextContents(), shown);
});

test('chats are searched, renamed and deleted, and a deleted one is restored', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const titles = () => page.locator('.chat span').allTextContents();
  await chat(page, 'About Lyon');
  await page.locator('#new-button').click();
  await chat(page, 'About Oslo');
  await page.locator('.chat[aria-current]', { hasText: 'Oslo' }).waitFor();
  assert.deepEqual(await titles(), ['About Oslo', 'About Lyon']);
  assert.deepEqual(await accessFaults(page), []);
  await page.locator('#chat-search').fill('LYON');
  await page.locator('.chat', { hasText: 'Oslo' }).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Rename: About Lyon' }).press('Enter');
  await page.keyboard.type('France');
  await page.keyboard.press('Enter');
  await page.locator('.chat', { hasText: 'France' }).waitFor();
  assert.equal(await page.evaluate('document.activeElement.ariaLabel'), 'Rename: France');
  await page.locator('#chat-search').fill('');
  await page.getByRole('button', { name: 'Delete: About Oslo' }).press('Enter');
  await page.locator('.turn').waitFor({ state: 'detached' });
  await page.reload();
  await page.locator('.chat').waitFor();
  assert.deepEqual(await titles(), ['France']);
  await page.getByRole('button', { name: 'Delete: France' }).press('Enter');
  await page.locator('.chat').waitFor({ state: 'detached' });
  await page.locator('#undo-button').click();
  await page.locator('.chat', { hasText: 'France' }).click();
  await page.locator('.said', { hasText: 'About Lyon' }).waitFor();
});

test('a closed tab loses no part of an answer, and two tabs lose nothing of each other', async (t) => {
  const { page, context } = await open(t, '/?model=toy');
  const answers = await scriptAnswers(page);
  await send(page, 'One');
  await answers.push('The first half');
  await Promise.all([page.waitForEvent('close'), page.close({ runBeforeUnload: true })]);
  const [first, second] = [await context.newPage(), await context.newPage()];
  for (const tab of [first, second]) {
    await tab.goto(`${pages.server.url}/?model=toy`);
    await tab.locator('.chat', { hasText: 'One' }).click();
    await tab.locator('.answer .text', { hasText: 'The first half' }).waitFor();
  }
  await chat(first, 'Two');
  await second.locator('.said', { hasText: 'Two' }).waitFor();
  await Promise.all([chat(first, 'Three'), chat(second, 'Four')]);
  for (const tab of [first, second]) {
    await tab.locator('.switcher', { hasText: 'of 2' }).waitFor();
    assert.equal(await tab.locator('.turn').count(), 3);
  }
  await first.getByRole('button', { name: /^Delete: One/ }).press('Enter');
  await second.locator('#undo-text', { hasText: 'deleted in another tab' }).waitFor();
  await second.locator('#undo-button').click();
  await first.locator('.chat', { hasText: 'One' }).waitFor();
});

test("chats that 0.3.0's pages stored are shown, continued, and searched", async (t) => {
  const { page } = await open(t, '/pages/icon.svg');
  const answer = { model: 'toy', text: 'Ahoy', calls: [], facts: [], logprobs: [], classes: [] };
  const turn = { id: '000000001', parent: '', prompt: 'Old', chosenAt: 1, removals: 0 };
  const stored = {
    ...{ id: 'old', updatedAt: 1e12, removals: 0 },
    title: { value: '', at: 0 },
    draft: { value: 'not sent', at: 2 },
    settings: { value: '?model=toy', at: 2 },
    turns: [{ ...turn, answers: [{ ...answer, isJson: false, state: 'done', problem: '' }] }],
  };
  await page.evaluate(`new Promise((resolve) => {
    const opening = indexedDB.open('lorikeet /', 1);
    opening.onupgradeneeded = () => {
      for (const name of ['chats', 'summaries']) opening.result.createObjectStore(name);
    };
    opening.onsuccess = () => {
      const transaction = opening.result.transaction(['chats', 'summaries'], 'readwrite');
      const chat = ${JSON.stringify(stored)};
      transaction.objectStore('chats').put(chat, ['local', 'old']);
      transaction.objectStore('summaries').put({ id: 'old', title: 'Old', updatedAt: 1e12 }, ['local', 'old']);
      transaction.oncomplete = () => resolve(opening.result.close());
    };
  })`);
  await page.goto(`${pages.server.url}/`);
  await page.locator('#chat-search').fill('ahoy');
  await page.locator('.chat', { hasText: 'Old' }).click();
  await page.locator('.answer .text', { hasText: 'Ahoy' }).waitFor();
  assert.equal(await page.locator('#prompt').inputValue(), 'not sent');
  await chat(page, 'New');
  await page.reload();
  await page.locator('.said', { hasText: 'New' }).waitFor();
  assert.deepEqual(await page.locator('.said').allTextContents(), ['Old', 'New']);
});

test('a chat for which the browser has no room stays in its tab', async (t) => {
  const { page, context } = await open(t, '/?model=toy');
  const session = await context.newCDPSession(page);
  const { origin } = new URL(page.url());
  await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1 });
  await chat(page, 'Hello');
  await page.locator('#storage-problem', { hasText: 'is used up' }).waitFor();
  await page.locator('#new-button').click();
  await page.locator('#confirm-no').click();
  assert.equal(await page.locator('.said').textContent(), 'Hello');
  await session.send('Storage.overrideQuotaForOrigin', { origin });
  await chat(page, 'Again');
  await page.locator('#storage-problem').waitFor({ state: 'hidden' });
  await page.reload();
  await page.locator('.said', { hasText: 'Again' }).waitFor();
});

test('a link contains models, settings and the prompt, and no server gets what was typed', async (t) => {
  const { page, context } = await open(t, '/?model=parrot&beside=toy');
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.locator('#preset').selectOption('Balanced');
  await page.locator('#max_tokens').fill('7');
  await page.locator('#system').fill('Answer & rhyme.');
  await page.locator('#prompt').fill('Why #1?');
  await page.getByRole('button', { name: 'Copy link' }).click();
  await page.locator('.head button', { hasText: 'Copied' }).waitFor();
  const link = await page.evaluate<string>('navigator.clipboard.readText()');

  const other = await context.newPage();
  const asked: string[] = [];
  other.on('request', (request) => asked.push(request.url()));
  await other.goto(link);
  await other.locator('#chosen', { hasText: 'parrot, toy' }).waitFor({ state: 'attached' });
  const value = (id: string) => other.locator(`#${id}`).inputValue();
  assert.deepEqual(await models(other), ['parrot', 'toy']);
  assert.deepEqual(
    await Promise.all(
      ['temperature', 'top_p', 'max_tokens', 'preset', 'system', 'prompt'].map(value),
    ),
    ['0.7', '0.9', '7', 'Balanced', 'Answer & rhyme.', 'Why #1?'],
  );
  assert.ok(asked.every((url) => !/rhyme|Why/.test(url.split('#')[0]!)));
  await other.evaluate("location.hash = 'system=Shout.&seed=5'");
  await other.locator('#chosen', { hasText: 'parrot, toy' }).waitFor({ state: 'attached' });
  await untilTrue(other, "document.getElementById('seed').value === '5'");
  assert.deepEqual(await Promise.all(['system', 'max_tokens', 'prompt'].map(value)), [
    ...['Shout.', '', 'Why #1?'],
  ]);
});

test('a link to other models starts a new chat, and the previous one is in the list', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await chat(page, 'Hello');
  await page.locator('.answer').waitFor();
  await page.goto(`${pages.server.url}/?model=zebra&beside=toy`);
  await page.locator('.chat', { hasText: 'Hello' }).waitFor();
  assert.equal(await page.locator('.turn').count(), 0);
  await page.locator('.chat').click();
  assert.equal(await page.locator('.said').textContent(), 'Hello');
  assert.deepEqual(await models(page), ['toy']);
});

test('an answer that has not begun says what it waits for', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const answers = await scriptAnswers(page);
  const queued = { state: 'queued', reason: 'no_slot', prompt_tokens: 9 };
  await page.route('**/v1/requests?id=*', (route) =>
    route.fulfill({ json: { object: 'list', data: [queued], is_training: false } }),
  );
  await send(page, 'Hello');
  const facts = page.locator('.answer .facts');
  await facts.filter({ hasText: /^queued: all slots are taken · \d+ m?s$/ }).waitFor();
  await answers.push('Hi');
  await facts.filter({ hasText: /^$/ }).waitFor({ state: 'attached' });
  await answers.finish();
});

test('tokens are shown with their probabilities', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await chat(page, 'Hello');
  assert.equal(await page.getByRole('button', { name: 'Tokens: toy' }).count(), 0);
  await page.locator('#logprobs').check();
  await chat(page, 'Hello');
  const last = page.locator('.answer').last();
  const text = await last.locator('.text').textContent();
  await last.getByRole('button', { name: 'Tokens: toy' }).click();
  assert.equal(await last.locator('.token').count(), 24);
  assert.ok(await last.locator('.text').isHidden());
  await last.locator('.token').first().click();
  await page.keyboard.press('ArrowRight');
  assert.equal(await last.locator('.token[aria-pressed=true]').count(), 1);
  assert.ok((await last.locator('.alternatives p').count()) >= 5);
  assert.match(await textOf(last.locator('.alternatives .chosen')), /[\d.]+%/);
  assert.deepEqual(await accessFaults(page), []);
  await last.getByRole('button', { name: 'Tokens: toy' }).click();
  assert.equal(await last.locator('.text').textContent(), text);
});

const ANSWER = `# Title

Some **bold**, \`a < b &amp; c\` and <img src=x onerror="globalThis.hacked = 1"> &lt;b&gt;.

\`\`\`python
print("<b>")
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

- [x] done
- [link](https://example.org/) and [bad](javascript:globalThis.hacked=1)

![picture](https://example.org/a.png)

<script>globalThis.hacked = 1</script>
`;

test('Markdown is rendered, HTML stays text, and code is copied', async (t) => {
  const { page, context } = await open(t, '/?model=toy');
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const answers = await scriptAnswers(page);
  await send(page, 'Hello');
  for (let i = 0; i < ANSWER.length; i += 7) await answers.push(ANSWER.slice(i, i + 7));
  await answers.finish();
  await page.locator('#send-button').waitFor();
  const text = page.locator('.answer .text');
  assert.equal(await text.locator('h4').textContent(), 'Title');
  assert.equal(await text.locator('p code').first().textContent(), 'a < b &amp; c');
  assert.equal(await text.locator('tbody :is(th, td)').count(), 2);
  assert.equal(await text.locator('li').count(), 2);
  assert.deepEqual(
    await text.locator('a').evaluateAll((links) => links.map((a) => a.getAttribute('href'))),
    ['https://example.org/', 'https://example.org/a.png'],
  );
  assert.equal(await text.locator('img, script').count(), 0);
  const shown = await textOf(text);
  assert.ok(shown.includes('<img src=x onerror') && shown.includes('<script>'));
  assert.ok(shown.includes('<b>.'));
  assert.equal(await page.evaluate('globalThis.hacked'), undefined);
  await text.getByRole('button', { name: 'Copy the code' }).click();
  await text.locator('button', { hasText: 'Copied' }).waitFor();
  assert.equal(await page.evaluate('navigator.clipboard.readText()'), 'print("<b>")');
  assert.deepEqual(await accessFaults(page), []);
  await page.locator('#plain').check();
  assert.equal(await text.textContent(), ANSWER);
});

test('the page follows the answer only while the user is at its end', async (t) => {
  const { page } = await open(t, '/?model=toy', { viewport: { width: 700, height: 500 } });
  const answers = await scriptAnswers(page);
  await send(page, 'Hello');
  const grow = async () => {
    const lines = "document.querySelectorAll('.answer p').length";
    const before = await page.evaluate<number>(lines);
    await answers.push('a line\n\n'.repeat(10));
    await untilTrue(page, `${lines} >= ${before} + 9`);
  };
  const isAtEnd =
    "document.getElementById('talk').getBoundingClientRect().bottom - innerHeight <= 1";
  for (let i = 0; i < 3; i++) {
    await grow();
    await untilTrue(page, isAtEnd);
  }
  await page.mouse.move(300, 200);
  await page.mouse.wheel(0, -200);
  await page.locator('#end-button').waitFor();
  const y = await page.evaluate<number>('scrollY');
  for (let i = 0; i < 3; i++) await grow();
  assert.equal(await page.evaluate('scrollY'), y);
  await page.locator('#end-button').click();
  await untilTrue(page, isAtEnd);
  await grow();
  await untilTrue(page, isAtEnd);
  // In the frame in which the page follows, as a wheel that scrolls by little at first.
  await page.evaluate(`
    const area = document.getElementById('talk');
    const before = area.offsetHeight;
    new ResizeObserver((sizes, observer) => {
      if (area.offsetHeight === before) return;
      observer.disconnect();
      scrollBy({ top: -100, behavior: 'instant' });
    }).observe(area);
  `);
  await grow();
  await page.locator('#end-button').waitFor();
  await answers.finish();
  await page.locator('#send-button').waitFor();
});

test('a short answer moves nothing, and the page has no button to its end', async (t) => {
  const { page } = await open(t, '/?model=toy');
  await chat(page, 'Hello');
  await page.locator('#response_format-editor summary').click();
  assert.equal(await page.evaluate('scrollY'), 0);
  assert.ok(await page.locator('#end-button').isHidden());
});

test('the code is the current chat, and runs when copied', async (t) => {
  const { page, context } = await open(t, '/?model=parrot');
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.locator('#prompt').fill("It's a test");
  await page.locator('#max_tokens').fill('5');
  assert.match(await readCode(page, 'Python'), /model="parrot",/);
  await page.keyboard.press('ArrowRight');
  assert.match(await textOf(page.locator('#code-panel pre')), /import OpenAI/);
  await page.keyboard.press('ArrowRight');
  await tabTo(page, '#code-panel pre');
  await page.getByRole('button', { name: 'Copy the code' }).click();
  await page.locator('#code-dialog button', { hasText: 'Copied' }).waitFor();
  const copied = await page.evaluate<string>('navigator.clipboard.readText()');
  assert.equal(copied, await page.locator('#code-panel pre').textContent());
  const { stdout } = await execute('bash', ['-c', copied]);
  assert.equal(JSON.parse(stdout).usage.completion_tokens, 5);
});

test('a schema is checked as typed, and the reason of the server is beside it', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const bodies = sentBodies(page);
  const verdict = page.locator('#response_format-verdict');
  await page.locator('#response_format-editor summary').click();
  await page.locator('#response_format').fill('{"minLength": 3, ');
  assert.match(await textOf(verdict), /^Not JSON: /);
  await send(page, 'Hello');
  assert.equal(await page.evaluate('document.activeElement.id'), 'response_format');
  await page.locator('#problem', { hasText: 'not sent: the response format' }).waitFor();
  assert.equal(bodies.length, 0);
  const schema = { type: 'string', minLength: 3, maxLength: 1 };
  await page.locator('#response_format').fill(JSON.stringify(schema));
  assert.equal(await verdict.textContent(), 'Valid JSON');
  await chat(page, 'Hello');
  assert.deepEqual(bodies[0]!['response_format'], {
    type: 'json_schema',
    json_schema: { name: 'answer', schema },
  });
  await page.locator('#response_format-verdict', { hasText: '#/minLength is above' }).waitFor();
  assert.deepEqual(await accessFaults(page), []);
});

test("an adapter's own format gets a verdict as a typed one does", async (t) => {
  const { page } = await open(t, '/pages/icon.svg');
  await page.route('**/v1/models/zebra', async (route) => {
    const request_defaults = { response_format: { type: 'json_object' } };
    await route.fulfill({ json: { id: 'zebra', object: 'model', request_defaults } });
  });
  await page.route('**/v1/chat/completions', (route) => {
    const delta = { content: '{"stripes":' };
    const event = { choices: [{ index: 0, delta, finish_reason: 'length' }] };
    const body = `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`;
    return route.fulfill({ contentType: 'text/event-stream', body });
  });
  await page.goto(`${pages.server.url}/?model=zebra&beside=parrot`);
  await chat(page, 'Hello');
  assert.deepEqual(await page.locator('.validity').allTextContents(), ['incomplete JSON', '']);
});

test('a classifier shows its classes, and gets texts instead of a chat', async (t) => {
  const { page } = await open(t, '/pages/icon.svg');
  const labels = ['bad', 'good'];
  await page.route('**/v1/models/zebra', (route) =>
    route.fulfill({ json: { id: 'zebra', object: 'model', labels } }),
  );
  const inputs: string[] = [];
  await page.route('**/classify', (route) => {
    inputs.push(route.request().postDataJSON().input);
    const data = [{ index: 0, label: 'good', probs: [0.25, 0.75], num_classes: 2 }];
    return route.fulfill({ json: { object: 'list', data } });
  });
  await page.goto(`${pages.server.url}/?model=zebra`);
  await page.locator('#lead', { hasText: 'a class: bad, good.' }).waitFor();
  await chat(page, 'What a day');
  await chat(page, 'And night');
  assert.deepEqual(inputs, ['What a day', 'And night']);
  const last = page.locator('.answer').last();
  assert.equal(await last.locator('.text').textContent(), 'good');
  assert.deepEqual(await last.locator('.alternatives p').allTextContents(), ['good75%', 'bad25%']);
  assert.deepEqual(await accessFaults(page), []);
  const turns = page.locator('.turn');
  assert.deepEqual(await turns.evaluateAll((all) => all.map((one) => one.ariaLabel)), [
    ...['Turn 1', 'Turn 2'],
  ]);
  assert.match(await readCode(page, 'curl'), /\/classify .*"input": "And night"/s);
  await tabTo(page, '#code-panel pre'); // which scrolls with keys
});

test('calls are shown and checked, and the next prompt contains them', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const called = { name: 'get_weather', arguments: '{"city":"Oslo"}' };
  await page.route('**/v1/chat/completions', (route) => {
    const delta = { tool_calls: [{ index: 0, id: 'a', type: 'function', function: called }] };
    const event = { choices: [{ index: 0, delta, finish_reason: 'tool_calls' }] };
    const body = `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`;
    return route.fulfill({ contentType: 'text/event-stream', body });
  });
  const bodies = sentBodies(page);
  await page.locator('#tools-editor summary').click();
  await page.locator('#tools-example').click();
  await page.locator('#tool_choice').selectOption('required');
  await chat(page, 'Weather?');
  assert.match(await textOf(page.locator('.call')), /get_weather.*"city": "Oslo"/s);
  assert.equal(await page.locator('.validity').textContent(), 'valid arguments');
  assert.deepEqual(await accessFaults(page), []);
  await chat(page, 'And?');
  const [first, second] = bodies;
  assert.equal(first!['tool_choice'], 'required');
  assert.deepEqual(second!.messages[1], {
    role: 'assistant',
    content: null,
    tool_calls: [{ id: 'a', type: 'function', function: called }],
  });
  assert.match(await readCode(page, 'Python'), /tools=\[.*get_weather.*print\(.*message\)/s);
});

test('everything works with the keyboard alone', async (t) => {
  const { page } = await open(t, '/');
  await page.locator('#chosen', { hasText: 'toy' }).waitFor({ state: 'attached' });
  await tabTo(page, '#model');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  assert.equal(await page.locator('#model').inputValue(), 'zebra');
  await page.evaluate('document.activeElement.blur()');
  await tabTo(page, '#prompt');
  await page.keyboard.type('Hello');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('there');
  await page.keyboard.press('Enter');
  await page.locator('#stop-button').waitFor({ state: 'hidden' });
  await page.locator('.answer .facts', { hasText: 'token' }).first().waitFor();
  assert.equal(await page.locator('.said').textContent(), 'Hello\nthere');
  await page.locator('#send-button').waitFor();
  assert.equal(await page.evaluate('document.activeElement.id'), 'prompt');
});

test('with a second of latency the first prompt waits for the models, and no input is lost', async (t) => {
  const { page } = await open(t, '/pages/icon.svg');
  await slowDown(page, 1_000);
  await page.goto(`${pages.server.url}/`);
  await page.locator('.starter').first().waitFor({ state: 'attached' });
  await send(page, 'Hello');
  await page.locator('#stop-button').waitFor();
  await page.locator('.answer .facts', { hasText: 'token' }).nth(1).waitFor();
  assert.deepEqual(await page.locator('.answer h3').allTextContents(), ['parrot', 'toy']);
  assert.equal(await page.locator('.turn').count(), 1);
});

test('no text is lost if the server dies, and the chat continues when it is back', async (t) => {
  const args = [...TOY_MODEL, ...FLAGS, '--adapters', path.join(pages.home, 'adapters')];
  let mortal = await startServing(args, path.join(pages.home, 'mortal'));
  const { port } = new URL(mortal.url);
  const { page } = await openPage(t, pages.browser, `${mortal.url}/?model=toy`);
  await chat(page, 'One');
  // A long answer, which is still streaming when the server dies.
  mortal.child.kill('SIGSTOP');
  await send(page, 'Two');
  await page.locator('.answer[aria-busy]').waitFor();
  const closed = once(mortal.child, 'close');
  mortal.child.kill('SIGKILL');
  await closed;
  await page.locator('.turn.failed .problem', { hasText: /broke off|does not answer/ }).waitFor();
  assert.equal(await page.locator('#prompt').inputValue(), 'Two');
  await page.getByRole('button', { name: 'Retry: toy' }).click();
  await page.locator('.turn.failed .problem', { hasText: 'does not answer' }).waitFor();

  mortal = await startServing([...args, '--port', port], path.join(pages.home, 'mortal'));
  t.after(() => mortal.stop());
  const bodies = sentBodies(page);
  await page.getByRole('button', { name: 'Retry: toy' }).click();
  await page.locator('.turn').last().locator('.facts', { hasText: 'token' }).waitFor();
  assert.equal(await page.locator('.turn.failed').count(), 0);
  assert.deepEqual(pluck(bodies[0]!.messages, 'role'), ['user', 'assistant', 'user']);
});

test('the part of an answer that arrived before the connection broke off is kept', async (t) => {
  const { page } = await open(t, '/?model=toy');
  const answers = await scriptAnswers(page);
  const answer = async (prompt: string, text: string) => {
    await page.evaluate('delete globalThis.answer');
    await send(page, prompt);
    await answers.push(text);
  };
  await answer('One', 'The first half');
  await answers.breakOff();
  await page.locator('.answer .problem', { hasText: 'broke off' }).waitFor();
  await answer('Two', 'Whole');
  await answers.finish();
  await page.locator('#send-button').waitFor();
  const shown = () => page.locator('.answer .text').allTextContents();
  assert.deepEqual(await shown(), ['The first half', 'Whole']);
  await page.evaluate('delete globalThis.answer');
  await page.getByRole('button', { name: 'Retry: toy' }).click();
  await answers.push('New');
  await answers.finish();
  await page.locator('#send-button').waitFor();
  assert.deepEqual(await shown(), ['New']);
  await page.getByRole('button', { name: 'Previous answer to prompt 1' }).click();
  assert.deepEqual(await shown(), ['The first half', 'Whole']);
  await page.reload();
  await page.locator('.answer').nth(1).waitFor();
  assert.deepEqual(await shown(), ['The first half', 'Whole']);
});

test('two answers are side by side, and stacked on a phone', async (t) => {
  for (const [options, isBeside] of [
    [{}, true],
    [PHONE, false],
  ] as const) {
    const { page } = await open(t, '/', options);
    await page.locator('#chosen', { hasText: 'parrot, toy' }).waitFor({ state: 'attached' });
    await chat(page, 'Hello');
    const boxes = await Promise.all(
      [0, 1].map((i) => page.locator('.answer').nth(i).boundingBox()),
    );
    assert.equal(boxes[0]!.y === boxes[1]!.y, isBeside);
  }
});

/** The states of the page that are checked. */
const STATES: Record<string, (page: Page) => Promise<void>> = {
  'an empty chat': async (page) => {
    await page.locator('.starter').first().waitFor();
    assert.equal(await page.evaluate('scrollY'), 0);
  },
  'a chat with every setting open': async (page) => {
    await chat(page, `Hello ${'a'.repeat(80)}`);
    await page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true");
    await page.locator('#model').click();
  },
  'a failed turn': async (page) => {
    await chat(page, 'word '.repeat(200));
    await page.locator('.turn.failed').waitFor();
  },
  'a prompt that is edited': async (page) => {
    await chat(page, 'Hello');
    await page.getByRole('button', { name: 'Edit' }).click();
  },
  'the code': async (page) => {
    await readCode(page, 'TypeScript');
  },
};
for (const [name, show] of Object.entries(STATES)) {
  for (const colorScheme of THEMES) {
    test(`axe finds nothing serious in ${name}, ${colorScheme}`, async (t) => {
      const { page } = await open(t, '/', { colorScheme });
      await page.locator('#chosen', { hasText: 'toy' }).waitFor({ state: 'attached' });
      await show(page);
      assert.deepEqual(await accessFaults(page), []);
    });
  }
  test(`${name} fits a phone`, async (t) => {
    const { page } = await open(t, '/', PHONE);
    await page.locator('#chosen', { hasText: 'toy' }).waitFor({ state: 'attached' });
    await show(page);
    assert.equal(await overhang(page), 0);
    await page.locator('nav a', { hasText: 'API docs' }).waitFor();
    const edge = "document.querySelector('nav li:last-child').getBoundingClientRect().right";
    assert.ok((await page.evaluate<number>(edge)) <= 360);
  });
}

// Commands, flags, scripts, variables and links in the documents exist.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { runCommandLine } from '../../src/cli/command-line.ts';
import { listSettings, TEST_VARIABLES } from '../../src/settings/config.ts';

const ALL_DOCUMENTS = [
  ...['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md'],
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => path.join('docs', name)),
];
/** The pages for users. */
const FILES = ALL_DOCUMENTS.filter(
  (file) => file === 'README.md' || /^docs\/(evidence\/|recipes\/)?[^/]+$/.test(file),
);

/** Flags of npm, Docker, llama-server, the benchmarks and the fuzzer. */
const OTHER_PROGRAMS = new Set([
  '--model-server-metrics-port',
  '--ignore-scripts',
  '--build-arg',
  '--shape',
  '--peers',
  '--write',
  '--outtype',
  '--version',
  '--against',
  '--streams',
  '--rounds',
  '--only',
  '--test',
  '--import',
  '--expose-gc',
  '--target',
  '--node',
  '--cases',
  '--minutes',
  '--seconds',
  '--rest',
  '--chaos',
  '--seeds',
  '--bugs',
]);

/** A command in a document. */
interface Shown {
  readonly words: readonly string[];
  readonly flags: readonly string[];
}

function shownIn(file: string): Shown[] {
  const blocks = readFileSync(file, 'utf8').matchAll(/^```sh\n([\s\S]*?)^```/gm);
  return Array.from(blocks, ([, block]) => block!.replaceAll(/\\\n/g, ' ').split('\n'))
    .flat()
    .flatMap((line) => {
      const [, rest] = /^(?:[A-Z_]+=\S+ |KEY=\$\()*(?:npx )?lorikeet (.*?)\)?$/.exec(line) ?? [];
      if (rest === undefined) return [];
      const parts = rest.replace(/\s+#.*$/, '').split(/\s+/);
      const words = parts.slice(0, parts.findIndex((part) => !/^[a-z]+$/.test(part)) >>> 0);
      return [{ words, flags: parts.filter((part) => part.startsWith('--')) }];
    });
}

async function helpOf(words: readonly string[]): Promise<string> {
  let text = '';
  const out = (part: string) => {
    text += part;
  };
  assert.equal(await runCommandLine([...words, '--help', 'all'], { out, error: out }), 0, text);
  return text;
}

test('commands are found in the documents', () => {
  const count = FILES.map((file) => shownIn(file).length).reduce((sum, n) => sum + n, 0);
  assert.ok(count > 40, `${count}`);
});

for (const file of FILES) {
  test(`${file} shows commands and flags that exist`, async () => {
    for (const { words, flags } of shownIn(file)) {
      const isGroup = words[0] === 'adapters' || words[0] === 'keys';
      const command = words.slice(0, isGroup ? 2 : 1);
      const help = await helpOf(command);
      assert.match(help, new RegExp(`^Usage: lorikeet ${command.join(' ')}`), command.join(' '));
      for (const flag of flags) {
        assert.ok(help.includes(flag.split('=')[0]!), `${command.join(' ')} ${flag}`);
      }
    }
  });
}

test("the owner's addresses are in package.json only, and none of them is real yet", () => {
  const { homepage, repository, bugs } = JSON.parse(readFileSync('package.json', 'utf8'));
  for (const address of [homepage, repository.url, bugs.url, bugs.email]) {
    assert.match(address, /\.invalid\b/, 'replace this test when the owner has filled them in');
  }
  for (const file of ALL_DOCUMENTS) {
    assert.doesNotMatch(readFileSync(file, 'utf8'), /lorikeet\.invalid|git\.invalid/, file);
  }
});

test('npm scripts in the documents exist', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
  let count = 0;
  for (const file of ALL_DOCUMENTS) {
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/npm run ([a-z0-9:]+)/g)) {
      assert.ok(Object.hasOwn(scripts, name!), `${file}: npm run ${name}`);
      count++;
    }
  }
  assert.ok(count > 5);
});

test('flags and variables in running text exist', async () => {
  const settings = listSettings();
  const known = new Set(settings.flatMap(({ env, flag }) => [env, flag ?? env]));
  for (const name of TEST_VARIABLES) known.add(name);
  const groups = ['adapters', 'keys'];
  for (const command of ['serve', 'import', 'train', 'plan', 'merge', 'eval', 'size', ...groups]) {
    const help = await helpOf([command]);
    for (const [flag] of help.matchAll(/--[a-z][a-z0-9-]*/g)) known.add(flag);
    if (!groups.includes(command)) continue;
    for (const [, name] of help.matchAll(/^ {2}([a-z]+) /gm)) {
      for (const [flag] of (await helpOf([command, name!])).matchAll(/--[a-z][a-z0-9-]*/g))
        known.add(flag);
    }
  }
  for (const file of [...FILES, 'CONTRIBUTING.md']) {
    const text = readFileSync(file, 'utf8').replaceAll(/^```[\s\S]*?^```/gm, '');
    const unknown = [...text.matchAll(/`([^`\n]+)`/g)]
      .flatMap(
        ([, code]) => code!.match(/(?<![\w-])(--[a-z][a-z0-9-]*|LORIKEET_[A-Z0-9_]+)/g) ?? [],
      )
      .filter((name) => !known.has(name) && !OTHER_PROGRAMS.has(name));
    assert.deepEqual(unknown, [], file);
  }
});

test('links between the documents are not broken', () => {
  for (const file of ALL_DOCUMENTS) {
    const links = readFileSync(file, 'utf8').matchAll(
      /\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g,
    );
    for (const [link, target, anchor] of links) {
      const place = target ? path.join(path.dirname(file), target) : file;
      assert.doesNotThrow(() => readdirSync(path.dirname(place)), `${file}: ${link}`);
      const found = readdirSync(path.dirname(place)).includes(path.basename(place));
      assert.ok(found, `${file}: ${link}`);
      if (anchor === undefined) continue;
      assert.ok(anchorsOf(place).has(anchor), `${file}: ${link}: no such heading`);
    }
  }
});

test('the index lists every page', () => {
  const index = readFileSync('docs/README.md', 'utf8');
  for (const file of FILES.filter((name) => name !== 'README.md' && name !== 'docs/README.md')) {
    assert.ok(index.includes(`](${path.relative('docs', file)})`), file);
  }
});

/** The anchors of a document's headings, as GitHub makes them. */
function anchorsOf(file: string): Set<string> {
  const headings = readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm);
  return new Set(
    Array.from(headings, ([, heading]) =>
      heading!
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}

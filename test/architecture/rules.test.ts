// The layout's rules over the real tree, and for each rule a source that breaks it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import {
  codeMapFaults,
  cycleFaults,
  defaultExportFaults,
  environmentFaults,
  fileLengthFaults,
  glossaryFaults,
  headerFaults,
  keptRejectionFaults,
  LAYERS,
  lateAwaitFaults,
  layerFaults,
  reExportFaults,
  repeatedNameFaults,
  singleImporterFaults,
  tsxImportFaults,
  unusedGrantFaults,
  upwardGrantFaults,
} from './rules.ts';
import { readSources, type SourceFile } from './source.ts';

const sources = readSources(['src', 'adapters', 'trainer'].filter((folder) => existsSync(folder)));

function source(path: string, text: string): SourceFile {
  return { path, text };
}

interface Rule {
  /** The test's name: what holds. */
  readonly holds: string;
  readonly faults: (files: readonly SourceFile[]) => string[];
  /** Each breaks the rule. */
  readonly broken: readonly (readonly SourceFile[])[];
}

const RULES: readonly Rule[] = [
  {
    holds: 'imports go down the layers only',
    faults: layerFaults,
    broken: [
      [source('src/ort/env.ts', "import { log } from '../engine/engine.ts';")],
      [source('src/engine/engine.ts', "import { App, type B } from '../http/app.ts';")],
      [source('src/http/app.ts', "const { x } = await import('../engine/engine.ts');")],
      [source('src/http/app.ts', "import { Scheduler } from '../scheduler/scheduler.ts';")],
      [source('trainer/run/train.ts', "export { app } from '../../src/http/app.ts';")],
      [source('src/common/errors.ts', "import '../adapters/peft/weights.ts';")],
      [source('src/ort/a.ts', "import type { B } from '../http/b.ts';\nexport type { B };")],
      // The types of a layer may be granted alone.
      [source('src/engine/engine.ts', "import { Matcher } from '../grammar/matcher.ts';")],
      [source('src/pages/api.ts', "import { ServeError } from '../common/errors.ts';")],
      [source('src/http/app.ts', "import { el } from '../pages/browser.ts';")],
      [source('src/utils/text.ts', '')],
      // The command line parses and prints only.
      [source('src/cli/command-line.ts', "const { x } = await import('../http/app.ts');")],
      [source('src/cli/command-line.ts', "import { Engine } from '../engine/engine.ts';")],
      [source('src/cli/command-line.ts', "import { s } from '../../adapters/store/store.ts';")],
      [source('src/main.ts', "import { createApp } from './http/app.ts';")],
      [source('trainer/main.ts', "import { greet } from '../src/cli/serve-command.ts';")],
      [source('src/compose/server.ts', "import { greet } from '../cli/serve-command.ts';")],
    ],
  },
  {
    holds: 'koffi, the runtime, the S3 client and other packages each have one room',
    faults: singleImporterFaults,
    broken: [
      [source('src/engine/engine.ts', "import koffi from 'koffi';")],
      [source('src/main.ts', "import.meta.resolve('onnxruntime-node');")],
      [source('adapters/registry/registry.ts', "import { S3 } from '@aws-sdk/client-s3';")],
      [source('src/engine-client/client.ts', "import { Hono } from 'hono';")],
    ],
  },
  {
    holds: 'process.env is read by src/settings/config.ts alone',
    faults: environmentFaults,
    broken: [
      [source('src/main.ts', "const port = process.env['PORT'];")],
      [source('src/main.ts', "import { env } from 'node:process';")],
      [source('src/main.ts', "const isSame = process.env['PORT'] === port;")],
    ],
  },
  {
    holds: 'there are no import cycles',
    faults: cycleFaults,
    broken: [
      [
        source('src/a.ts', "import { b } from './b.ts';"),
        source('src/b.ts', "import { c } from './c.ts';"),
        source('src/c.ts', "import { a } from './a.ts';"),
      ],
      [
        source('src/a.ts', "import type { B } from './b.ts';"),
        source('src/b.ts', "import type {\n  A,\n} from './a.ts';"),
      ],
    ],
  },
  {
    holds: 'there are no default exports',
    faults: defaultExportFaults,
    broken: [
      [source('src/a.ts', 'export default function a() {}')],
      [source('src/a.ts', 'const a = 1;\nexport { a as default };')],
    ],
  },
  {
    holds: 'there are no barrels',
    faults: reExportFaults,
    broken: [[source('src/index.ts', "export * from './a.ts';")]],
  },
  {
    holds: 'a name is exported by one file',
    faults: repeatedNameFaults,
    broken: [
      [
        source('src/a.ts', 'export interface Fault {}'),
        source('trainer/b.ts', 'export async function Fault() {}'),
      ],
    ],
  },
  {
    holds: 'files stay under 400 lines',
    faults: fileLengthFaults,
    broken: [[source('src/a.ts', 'const a = 1;\n'.repeat(401))]],
  },
  {
    holds: 'every file opens with what it does',
    faults: headerFaults,
    broken: [[source('src/a.ts', 'const a = 1;\n')]],
  },
  {
    holds: 'no promise that was rejected is kept for later callers',
    faults: keptRejectionFaults,
    broken: [
      [
        source(
          'src/a.ts',
          'class A {\n  #swept: Promise<void> | undefined;\n  f() { this.#swept ??= sweep(); }\n}',
        ),
      ],
      [source('src/a.ts', 'let site: Promise<Site> | undefined;\nsite ??= readSite();')],
      [source('src/a.ts', 'let site;\nsite ??= readSite();\nasync function readSite() {}')],
      [
        source(
          'src/a.ts',
          "runs: Partial<Record<'a' | 'b', Promise<Run>>>;\nruns[kind] ??= create(kind);",
        ),
      ],
      [
        source(
          'src/pages/a.js',
          '/** @type {Promise<number> | undefined} */\nlet a;\na ??= ask();',
        ),
      ],
      [
        source(
          'src/a.ts',
          'const flights = new Map<string, Promise<Found>>();\nflights.set(key, find(key));',
        ),
      ],
    ],
  },
];

for (const { holds, faults, broken } of RULES) {
  test(holds, () => assert.deepEqual(faults(sources), []));
  test(`the rule "${holds}" can fail`, () => {
    for (const files of broken) assert.equal(faults(files).length, 1, files[0]!.text.slice(0, 80));
  });
}

test('a test file awaits before its first test or in a test', () => {
  assert.deepEqual(lateAwaitFaults(readSources(['test'])), []);
  const late = "test('a', f);\nconst b = await g();\ntest('b', f);\n";
  assert.equal(lateAwaitFaults([source('test/a.test.ts', late)]).length, 1);
});

test('a module of the pages without TSX imports none with it, except types', () => {
  assert.deepEqual(tsxImportFaults(sources), []);
  const text = "import type { A } from './a.tsx';\nimport { b } from './b.tsx';\n";
  assert.equal(tsxImportFaults([source('src/pages/c.ts', text)]).length, 1);
});

test('a comment or a string is no import', () => {
  const text =
    "// import 'koffi'\n/* from 'koffi' */ const url = 'https://koffi'; // process.env\n";
  const file = [source('src/main.ts', text)];
  assert.deepEqual([...singleImporterFaults(file), ...environmentFaults(file)], []);
});

test('every layer has files', () => {
  const empty = LAYERS.filter(({ files }) => !sources.some(({ path }) => files.test(path)));
  assert.deepEqual(
    empty.map(({ name }) => name),
    [],
  );
});

test('every grant of the layer table is used, and an unused one is found', () => {
  assert.deepEqual(unusedGrantFaults(sources), []);
  const withoutOrt = sources.filter(({ path }) => !path.startsWith('src/engine/'));
  const unused = unusedGrantFaults(withoutOrt);
  assert.ok(unused.includes('engine may import ort but does not'));
  assert.ok(unused.some((fault) => fault.startsWith('engine may import types of peft but does')));
});

test('every grant is for a layer further down in the table, and another one is found', () => {
  assert.deepEqual(upwardGrantFaults(LAYERS), []);
  const files = /^src\/common\//;
  const [ground] = upwardGrantFaults([{ name: 'common', files, may: [], types: ['http app'] }]);
  assert.equal(ground, 'common may import http app, which is not below it');
});

test('functions stay under 100 lines', () => {
  const functionOf = (lines: number) => `export function f() {\n${'  f();\n'.repeat(lines)}}\n`;
  assert.doesNotMatch(lint(functionOf(90)), /noExcessiveLinesPerFunction/);
  assert.match(lint(functionOf(101)), /noExcessiveLinesPerFunction/);
});

test('functions that take any number of arguments are not called with a spread', () => {
  const calls = ['Math.max(0, ...all)', 'a.b.push(...all)', 'String.fromCodePoint(...all.map(f))'];
  for (const call of calls) assert.match(lint(`${call};\n`), /overflows the stack/, call);
  assert.doesNotMatch(lint('f(...all);\nall.push([...all], f(...all));\n'), /overflows/);
});

test("ARCHITECTURE.md's code map lists every folder", () => {
  const paths = [
    ...sources.map((file) => file.path),
    ...['bin', 'native', 'scripts', 'src/onnx/proto', 'src/tinker/proto'].flatMap((folder) =>
      readdirSync(folder).map((name) => `${folder}/${name}`),
    ),
    ...testFolders().map((folder) => `${folder}/x`),
  ];
  assert.deepEqual(codeMapFaults(readFileSync('ARCHITECTURE.md', 'utf8'), paths), []);
});

test('the code map fails on a folder too few and a folder too many', () => {
  const map = '## Code map\n| folder | what |\n| `src/a/` | a |\n| `src/b/` | b |\n\n## Next\n';
  assert.deepEqual(codeMapFaults(map, ['src/a/x.ts', 'src/c/y.ts']), [
    'src/c/: not in the code map',
    'src/b/: not in the tree',
  ]);
});

test('code has no word that the glossary gives up', () => {
  const glossary = /^## Glossary\n[\s\S]*?(?=^## )/m.exec(readFileSync('ARCHITECTURE.md', 'utf8'))!;
  assert.deepEqual(glossaryFaults(glossary[0], sources), []);
  const rows =
    '| term | meaning | not |\n| a | b | c, `d` in `src/x` |\n| e | f | `g`, `h` |\n| i | j | `k*` |\n';
  const files = [
    source('src/x/a.ts', 'const d = c;'),
    source('src/y/b.ts', 'const d = h;'),
    source('src/y/c.ts', 'const toKey = 1;'),
    source('src/y/e.ts', "const text = 'k';"),
  ];
  assert.deepEqual(glossaryFaults(rows, files), [
    'src/x/a.ts: the glossary has another name for d',
    'src/y/b.ts: the glossary has another name for h',
    'src/y/c.ts: the glossary has another name for k*',
  ]);
});

test('every file that ARCHITECTURE.md names exists', () => {
  const text = readFileSync('ARCHITECTURE.md', 'utf8');
  const named = [...text.matchAll(/`((?:src|adapters|trainer|test|docs)\/[\w./-]+)`/g)];
  assert.ok(named.length > 20);
  assert.deepEqual(
    named.map(([, name]) => name!).filter((name) => !existsSync(name)),
    [],
  );
});

/** The folders of `test/` that mirror no folder of the code. */
function testFolders(): string[] {
  const isMirror = (name: string) => ['.', 'src'].some((top) => existsSync(path.join(top, name)));
  return readdirSync('test', { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !isMirror(entry.name))
    .map(({ name }) => `test/${name}`);
}

/** What the project's own lint rules say about one source. */
function lint(text: string): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'lorikeet-lint-'));
  try {
    const { linter, plugins } = JSON.parse(readFileSync('biome.json', 'utf8'));
    const files = plugins.map(({ path: file }: { path: string }) => path.resolve(file));
    writeFileSync(path.join(folder, 'biome.json'), JSON.stringify({ linter, plugins: files }));
    writeFileSync(path.join(folder, 'example.ts'), text);
    const biome = path.resolve('node_modules/@biomejs/biome/bin/biome');
    const { stdout, stderr } = spawnSync(process.execPath, [biome, 'lint', '--colors=off'], {
      cwd: folder,
      encoding: 'utf8',
    });
    assert.match(stdout + stderr, /Checked 2 files/);
    return stdout + stderr;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

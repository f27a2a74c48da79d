// The architecture's rules as functions from sources to faults (one line each). What may import what is a table.
import { importsOf, runtimeImportsOf, type SourceFile, stripComments } from './source.ts';

/** A layer is the first row whose pattern matches; it may import itself, and `may`; most may also import `BOTTOM`. */
interface Layer {
  readonly name: string;
  readonly files: RegExp;
  readonly may: readonly string[];
  /** The layers whose types it may import, but nothing that exists at run time. */
  readonly types?: readonly string[];
  /** It may not even import `BOTTOM`. */
  readonly isAlone?: true;
}

/** Every layer may also import these three. */
const BOTTOM = ['settings', 'contracts', 'common'];

export const LAYERS: readonly Layer[] = [
  // The entry points. They start a program and know nothing of its parts.
  { name: 'main', files: /^src\/main\.ts$/, may: ['cli'] },
  { name: 'engine main', files: /^src\/engine-process\.ts$/, may: ['compose'] },
  { name: 'trainer main', files: /^trainer\/main\.ts$/, may: ['compose', 'trainer'] },
  // Parses and prints only. The work is behind the composition root.
  { name: 'cli', files: /^src\/cli\//, may: ['compose'] },
  {
    // The composition root: the only layer that knows all others.
    name: 'compose',
    files: /^src\/compose\//,
    may: [
      'http app',
      'http deps',
      'http request',
      'http wire',
      'cluster',
      'batches',
      'jobs',
      'tinker',
      'conversations',
      'usage',
      'engine client',
      'scheduler',
      'trainer',
      'engine',
      'cache',
      'tiers',
      'registry',
      'repository',
      'peft',
      'store',
      'tenants',
      'telemetry',
      'import',
      'calibration',
      'adapted base',
      'model',
      'graders',
      'grammar',
      'tokenizer',
      'tools',
    ],
  },
  // Runs in browsers. It takes types from the contracts and everything else from the server.
  { name: 'pages', files: /^src\/pages\//, may: [], types: ['contracts'], isAlone: true },
  // The HTTP side, in the order in which a request crosses it backwards: each floor imports those below it.
  {
    name: 'http app',
    files: /^src\/http\/(?!deps)\w+\.ts$/,
    may: ['http routes', 'http deps', 'http wire', 'tenants', 'telemetry'],
    types: ['batches'],
  },
  {
    name: 'http routes',
    files: /^src\/http\/routes\//,
    may: [
      'http dialects',
      'http request',
      'http generation',
      'http schema',
      'http wire',
      'graders',
      'jobs',
      'tinker',
      'registry',
      'repository',
      'telemetry',
    ],
    types: ['http deps', 'batches', 'conversations', 'usage', 'engine client', 'tenants'],
  },
  {
    // What routes share.
    name: 'http deps',
    files: /^src\/http\/deps\.ts$/,
    may: ['http request', 'http wire', 'tenants', 'telemetry'],
    types: [
      'http generation',
      'batches',
      'jobs',
      'tinker',
      'conversations',
      'usage',
      'registry',
      'repository',
      'graders',
    ],
  },
  {
    // One API for generating text each.
    name: 'http dialects',
    files: /^src\/http\/dialects\//,
    may: ['http request', 'http schema', 'http wire', 'tools'],
    types: ['http generation', 'conversations', 'tokenizer'],
  },
  {
    // From a checked body to sequences.
    name: 'http request',
    files: /^src\/http\/request\//,
    may: [
      'http generation',
      'http schema',
      'http wire',
      'registry',
      'grammar',
      'tokenizer',
      'tools',
    ],
    types: ['cache'],
  },
  {
    // From sequences to the client.
    name: 'http generation',
    files: /^src\/http\/generation\//,
    may: ['http wire', 'registry', 'tokenizer'],
    types: ['tiers', 'engine client', 'scheduler', 'usage', 'telemetry', 'tools'],
  },
  {
    name: 'http schema',
    files: /^src\/http\/schema\//,
    may: ['http wire', 'graders'],
    types: ['jobs', 'tools'],
  },
  { name: 'http wire', files: /^src\/http\/wire\//, may: [], types: ['tenants', 'telemetry'] },
  // The runner that trains in a Kubernetes cluster: one implementation of the jobs' contract.
  { name: 'cluster', files: /^src\/cluster\//, may: ['jobs', 'store'] },
  // Answers requests from files, by the function that answers single ones.
  { name: 'batches', files: /^src\/batches\//, may: ['jobs', 'store', 'rows'] },
  // Training loops of clients: trains by messages, samples by the function that answers single requests.
  { name: 'tinker', files: /^src\/tinker\//, may: ['jobs', 'repository', 'peft', 'store'] },
  // Talks to the trainer by messages only, because the trainer is a program of its own.
  { name: 'jobs', files: /^src\/jobs\//, may: ['repository', 'store', 'rows'] },
  // Responses that the server keeps for later requests.
  { name: 'conversations', files: /^src\/conversations\//, may: ['store'] },
  { name: 'usage', files: /^src\/usage\//, may: ['store'] },
  {
    // All that the server process sees of the engine.
    name: 'engine client',
    files: /^src\/engine-client\//,
    may: ['scheduler'],
    types: ['cache'],
  },
  {
    name: 'scheduler',
    files: /^src\/scheduler\//,
    may: ['engine'],
    types: ['cache', 'peft'],
  },
  {
    name: 'trainer',
    files: /^trainer\//,
    may: [
      'ort',
      'repository',
      'peft',
      'adapted base',
      'import',
      'model',
      'rows',
      'onnx',
      'quant',
      'tokenizer',
      'tools',
      'grammar',
      'formats',
      'graders',
    ],
  },
  {
    name: 'engine',
    files: /^src\/engine\//,
    may: ['model', 'ort', 'onnx'],
    types: ['peft', 'quant', 'grammar'],
  },
  { name: 'cache', files: /^adapters\/cache\//, may: ['peft', 'model'] },
  { name: 'tiers', files: /^adapters\/tiers\//, may: ['registry', 'repository', 'peft', 'store'] },
  { name: 'registry', files: /^adapters\/registry\//, may: ['repository', 'peft', 'store'] },
  { name: 'repository', files: /^adapters\/repository\//, may: ['peft', 'store'] },
  // The base's weights for the reader of adapters.
  {
    name: 'adapted base',
    files: /^src\/adapted-base\//,
    may: ['import', 'ort', 'onnx'],
    types: ['peft'],
  },
  { name: 'peft', files: /^adapters\/peft\//, may: ['model', 'formats'] },
  { name: 'store', files: /^adapters\/store\//, may: [] },
  { name: 'tenants', files: /^src\/tenants\//, may: [] },
  { name: 'telemetry', files: /^src\/telemetry\//, may: [] },
  { name: 'import', files: /^src\/import\//, may: ['model', 'quant', 'formats', 'tokenizer'] },
  { name: 'calibration', files: /^src\/calibration\//, may: [] },
  { name: 'model', files: /^src\/model\//, may: ['onnx', 'quant'] },
  { name: 'ort', files: /^src\/ort\//, may: [] },
  { name: 'onnx', files: /^src\/onnx\//, may: [] },
  { name: 'quant', files: /^src\/quant\//, may: [] },
  { name: 'rows', files: /^src\/rows\//, may: [] },
  // Tools in prompts and calls in answers, for requests and training rows alike.
  { name: 'tools', files: /^src\/tools\//, may: ['tokenizer'] },
  { name: 'graders', files: /^src\/graders\//, may: [] },
  { name: 'grammar', files: /^src\/grammar\//, may: [] },
  { name: 'tokenizer', files: /^src\/tokenizer\//, may: [] },
  { name: 'formats', files: /^src\/formats\//, may: [] },
  { name: 'settings', files: /^src\/settings\//, may: [] },
  { name: 'contracts', files: /^src\/contracts\//, may: [] },
  { name: 'common', files: /^src\/common\//, may: [] },
];

/** Package (or its prefix) → the only files that may import it. */
const SINGLE_IMPORTERS: readonly (readonly [RegExp, RegExp])[] = [
  [/^koffi$/, /^src\/ort\//],
  [/^onnxruntime/, /^src\/ort\//],
  [/^@aws-sdk\//, /^adapters\/store\/s3\.ts$/],
  // ONNX models, and the event files of TensorBoard.
  [/^@bufbuild\//, /^(src\/onnx\/|src\/tinker\/|trainer\/run\/event-file\.ts$)/],
  [/^@huggingface\/(hub|gguf)/, /^src\/(import|formats)\//],
  [/^@huggingface\/(tokenizers|jinja)/, /^src\/tokenizer\//],
  // The contracts use the schema library that comes with hono's package.
  [/^@hono\/zod-openapi$/, /^src\/(http|contracts)\//],
  [/^(hono(\/|$)|@hono\/(?!zod-openapi))/, /^src\/http\//],
  [/^(commander|cli-progress)$/, /^src\/cli\//],
  // Loading it takes time: only with --limits.
  [/^@redis\//, /^src\/tenants\/redis-ledger\.ts$/],
  [/^pino$/, /^src\/common\/log\.ts$/],
  // Loading it takes 0.2 s: only behind the door of src/telemetry/otel/open.ts.
  [/^@opentelemetry\//, /^src\/telemetry\/otel\//],
];

/** A file that needs more than this holds two things. */
const MAX_FILE_LINES = 400;

export function layerFaults(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const layer = layerOf(file.path);
    if (!layer) return [`${file.path}: belongs to no layer`];
    const runtime = new Set(runtimeImportsOf(file));
    return importsOf(file)
      .filter((target) => /^(src|adapters|trainer)\//.test(target))
      .filter((target) => !/\/proto\/.*\.js$|\.json$/.test(target))
      .flatMap((target) => {
        const below = layerOf(target)?.name ?? 'no layer';
        const isBottom = BOTTOM.includes(below) && mayReachBottom(layer, below);
        const grants = runtime.has(target) ? layer.may : [...layer.may, ...(layer.types ?? [])];
        const allowed = below === layer.name || isBottom || grants.includes(below);
        return allowed ? [] : [`${file.path}: ${layer.name} may not import ${below} (${target})`];
      });
  });
}

/** Grants of the layer table that no import uses, or that would suffice for types. */
export function unusedGrantFaults(files: readonly SourceFile[]): string[] {
  const arrows = (importsIn: typeof importsOf) =>
    new Set(
      files.flatMap((file) =>
        importsIn(file).map((target) => `${layerOf(file.path)?.name} ${layerOf(target)?.name}`),
      ),
    );
  const [all, runtime] = [arrows(importsOf), arrows(runtimeImportsOf)];
  return LAYERS.flatMap(({ name, may, types = [] }) => [
    ...may
      .filter((below) => !runtime.has(`${name} ${below}`))
      .map((below) => `${name} may import ${below} but does not`),
    ...types
      .filter((below) => runtime.has(`${name} ${below}`) || !all.has(`${name} ${below}`))
      .map((below) => `${name} may import types of ${below} but does not, or imports more`),
  ]);
}

/** Grants for a layer that is not further down in the table. */
export function upwardGrantFaults(layers: readonly Layer[]): string[] {
  return layers.flatMap(({ name, may, types = [] }, row) =>
    [...may, ...types]
      .filter((below) => !layers.slice(row + 1).some((layer) => layer.name === below))
      .map((below) => `${name} may import ${below}, which is not below it`),
  );
}

/** The layer table in Markdown, as it stands in CONTRIBUTING.md. */
export function layerTable(): string {
  const rows = LAYERS.map(({ name, files, may, types = [] }) => {
    const where = files.source
      .replace(/\(\?!\w+\)/, '')
      .replaceAll('\\w+', '*')
      .replace(/^\^|\$$|\\/g, '');
    return `| ${name} | \`${where}\` | ${may.join(', ')} | ${types.join(', ')} |\n`;
  });
  return `| layer | files | may import | types only of |\n|---|---|---|---|\n${rows.join('')}`;
}

export function singleImporterFaults(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) =>
    runtimeImportsOf(file).flatMap((target) =>
      SINGLE_IMPORTERS.filter(([name, owner]) => name.test(target) && !owner.test(file.path)).map(
        ([, owner]) => `${file.path}: ${target} belongs to ${owner.source}`,
      ),
    ),
  );
}

/** Setting a variable for a library is no read. */
const ENVIRONMENT_READ = /\bprocess\s*\.\s*env\b(?!\['\w+'\] = )|\benv\b[^;]*from 'node:process'/;

export function environmentFaults(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => file.path !== 'src/settings/config.ts')
    .filter((file) => ENVIRONMENT_READ.test(code(file)))
    .map((file) => `${file.path}: only src/settings/config.ts reads process.env`);
}

export function defaultExportFaults(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => /^export default\b|\bas default\b/m.test(code(file)))
    .map((file) => `${file.path}: has a default export`);
}

/** A barrel is a file of re-exports; every import names the file that holds the thing. */
export function reExportFaults(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => /^export \* from/m.test(code(file)))
    .map((file) => `${file.path}: re-exports everything of another file`);
}

export function fileLengthFaults(files: readonly SourceFile[]): string[] {
  return files
    .map((file) => ({ path: file.path, lines: file.text.split('\n').length - 1 }))
    .filter(({ lines }) => lines > MAX_FILE_LINES)
    .map(({ path, lines }) => `${path}: ${lines} lines, more than ${MAX_FILE_LINES}`);
}

export function headerFaults(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => !/^(\/\/|\/\*)/.test(file.text))
    .map((file) => `${file.path}: does not open with what it does`);
}

/**
 * Test files that await between their tests. Once the tests so far have ended, Node runs the hooks that end the file, and
 * the later tests find their folders removed.
 */
export function lateAwaitFaults(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => /^(?:test|describe)\([\s\S]*^(?!async )\S.*\bawait\b/m.test(code(file)))
    .map((file) => `${file.path}: awaits after its first test`);
}

/** Modules of the pages without TSX that import one with it. Tests of stores load them on Node 24, which reads no TSX. */
export function tsxImportFaults(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => path.startsWith('src/pages/') && path.endsWith('.ts'))
    .flatMap((file) => runtimeImportsOf(file).map((imported) => [file.path, imported] as const))
    .filter(([, imported]) => imported.endsWith('.tsx'))
    .map(([path, imported]) => `${path}: imports ${imported}`);
}

/**
 * Words that the glossary gives up (`word` or `word` in `folder`, in its last column), in code below the folders. `word*` stands
 * for all names that contain the word. Texts for users may have these words.
 */
export function glossaryFaults(document: string, files: readonly SourceFile[]): string[] {
  const rows = [...document.matchAll(/^\|[^|\n]*\|[^|\n]*\|([^|\n]*`[^|\n]*)\|$/gm)];
  return rows.flatMap(([, cell]) => {
    const [words, folders] = cell!.split(' in ').map((part) => [...part.matchAll(/`([^`]+)`/g)]);
    const isBelow = ({ path }: SourceFile) =>
      !folders || folders.some(([, folder]) => path.startsWith(`${folder}/`));
    return files
      .filter(isBelow)
      .flatMap((file) =>
        words!
          .filter(([, word]) =>
            (word!.endsWith('*')
              ? new RegExp(word!.slice(0, -1), 'i')
              : new RegExp(`\\b${word}\\b`)
            ).test(withoutTexts(code(file))),
          )
          .map(([, word]) => `${file.path}: the glossary has another name for ${word}`),
      );
  });
}

function withoutTexts(text: string): string {
  return text.replace(/'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g, '');
}

/** Import cycles, those of types included, each told once. */
export function cycleFaults(files: readonly SourceFile[]): string[] {
  const graph = new Map(files.map((file) => [file.path, importsOf(file)]));
  const done = new Set<string>();
  const faults: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) faults.push([...trail.slice(start), path].join(' -> '));
    if (start >= 0 || done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return faults;
}

/** Exported functions, classes and types whose name another file exports, too. Pages have names of their own. */
export function repeatedNameFaults(files: readonly SourceFile[]): string[] {
  const homes = new Map<string, string[]>();
  const declaration =
    /^export (?:async )?(?:abstract )?(?:function\*?|class|interface|type) (\w+)/gm;
  for (const { path, text } of files.filter((file) => !file.path.startsWith('src/pages/'))) {
    for (const [, name] of text.matchAll(declaration)) {
      homes.set(name!, [...(homes.get(name!) ?? []), path]);
    }
  }
  return [...homes]
    .filter(([, paths]) => paths.length > 1)
    .map(([name, paths]) => `${name} is exported by ${paths.join(' and ')}`);
}

/** Folders that ARCHITECTURE.md's code map does not list, and rows without a folder. `paths` are those of files. */
export function codeMapFaults(document: string, paths: readonly string[]): string[] {
  const section = /^## Code map\n([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(document)?.[1] ?? '';
  const listed = new Set([...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, folder]) => folder!));
  const folders = new Set(paths.map((file) => file.slice(0, file.lastIndexOf('/') + 1)));
  return [
    ...[...folders].filter((folder) => !listed.has(folder)).map((f) => `${f}: not in the code map`),
    ...[...listed].filter((folder) => !folders.has(folder)).map((f) => `${f}: not in the tree`),
  ];
}

/** Names that hold promises: fields, variables, values of maps; also those that JSDoc types. */
const HOLDS_PROMISE =
  /([#\w]+)\??: [^;=()]*\bPromise<|@type \{[^}]*\bPromise<[^\n]*\n\s*(?:let|const) (\w+)/g;
const ASSIGNED_ONCE = /([#\w]+)(?:\[[^\]]*\])? \?\?=\s*(?:this\.)?([#\w]+)[^;]*;/g;

/**
 * A promise that is kept for later callers must not be kept once it has rejected: `lazy` sees to that, and so does a
 * `.finally` that forgets it. A map of promises has somebody who deletes from it.
 */
export function keptRejectionFaults(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const text = code(file);
    const held = [...file.text.matchAll(HOLDS_PROMISE)].map(([, typed, inDoc]) => typed ?? inDoc!);
    const isAsync = (name: string) => new RegExp(`\\basync (?:function )?${name}\\(`).test(text);
    const once = [...text.matchAll(ASSIGNED_ONCE)]
      .filter(([, name, made]) => held.includes(name!) || isAsync(made!))
      .filter(([statement]) => !statement.includes('.finally('))
      .map(([, name]) => `${file.path}: ${name} keeps a promise that may reject`);
    const maps = [...text.matchAll(/([#\w]+) = new Map<[^=(]*\bPromise<[^=(]*>\(/g)]
      .filter(([, name]) => !text.includes(`${name}.delete(`))
      .map(([, name]) => `${file.path}: nothing is deleted from ${name}`);
    return [...once, ...maps];
  });
}

/** `BOTTOM` itself imports downward only: settings and contracts import common. */
function mayReachBottom(layer: Layer, below: string): boolean {
  if (layer.isAlone) return false;
  return !BOTTOM.includes(layer.name) || BOTTOM.indexOf(layer.name) < BOTTOM.indexOf(below);
}

function layerOf(path: string): Layer | undefined {
  return LAYERS.find((layer) => layer.files.test(path));
}

function code(file: SourceFile): string {
  return stripComments(file.text);
}

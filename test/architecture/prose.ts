// The patterns of stilted English that a test can see, in comments, strings and documents, and exports without a
// docstring. `npx tsx test/architecture/prose.ts [folder or file …]` lists what it finds.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { readSources, type SourceFile } from './source.ts';

/** A pattern, and what to write instead. */
interface Pattern {
  readonly find: RegExp;
  readonly instead: string;
}

/** "where" is for places. */
const WHERE: Pattern = {
  find: /\b[Ww]here (a|an|the|it|there|its|this|that|they|he|she|one|no|some|nobody|who|what|all|none|any|each)\b|, where\b/,
  instead: '"if" for a condition',
};

const COMMENT_PATTERNS: readonly Pattern[] = [
  WHERE,
  { find: /^(Of|Those|What|Whoever|Whose) [a-z]/, instead: 'a verb or a noun phrase' },
];

const TEXT_PATTERNS: readonly Pattern[] = [
  WHERE,
  { find: /^(Of|Those|Whoever) [a-z]/, instead: 'a subject and a verb' },
  { find: /\bis no [a-z]/, instead: '"is not a" or "Unknown …"' },
  { find: /\bbefore (it|them) belongs\b/i, instead: 'the common word order' },
];

/** In documents only: comments and strings still contain them. */
const DOCUMENT_PATTERNS: readonly Pattern[] = [
  ...TEXT_PATTERNS,
  { find: /\bbeside\b(?! the point)/, instead: '"next to", "while" or "during"' },
  { find: /\bat once\b|\bfor ever\b/, instead: '"immediately", "at the same time" or "forever"' },
  { find: /\b(some|any|every)body\b/, instead: 'who it is, or "someone"' },
  { find: /\d (%|x)(?![\w*])/, instead: '40% and 2x, without a space' },
  { find: /\bprocessors?\b/, instead: '"CPU"' },
];

/** Lists comments and strings with a pattern of translated English, as `path:line: …`. */
export function proseFaults(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => [
    ...commentsOf(file.text).flatMap((one) => matches(file.path, one, COMMENT_PATTERNS)),
    ...stringsOf(file.text).flatMap((one) => matches(file.path, one, TEXT_PATTERNS)),
  ]);
}

/** Lists lines of a Markdown document with a pattern of translated English. Skips code, links and generated tables. */
export function documentFaults(file: SourceFile): string[] {
  let isCode = false;
  let isGenerated = false;
  return file.text.split('\n').flatMap((text, index) => {
    if (text.startsWith('```')) isCode = !isCode;
    if (text.startsWith('<!--')) isGenerated = text.includes('written by');
    if (isCode || isGenerated) return [];
    const prose = text.replace(/`[^`]*`|\]\([^)]*\)/g, '');
    return matches(file.path, { text: prose, line: index + 1 }, DOCUMENT_PATTERNS);
  });
}

/** Lists exported functions, classes, interfaces and types without a docstring right above them. */
export function docstringFaults(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const lines = file.text.split('\n');
    return lines.flatMap((text, index) => {
      const found =
        /^export (?:async )?(?:abstract )?(?:function\*?|class|interface|type) (\w+)/.exec(text);
      const isDocumented = lines[index - 1]?.trim().endsWith('*/');
      return found && !isDocumented
        ? [`${file.path}:${index + 1}: ${found[1]} has no docstring`]
        : [];
    });
  });
}

interface Passage {
  readonly text: string;
  readonly line: number;
}

function matches(path: string, { text, line }: Passage, patterns: readonly Pattern[]): string[] {
  return patterns.flatMap(({ find, instead }) => {
    const found = find.exec(text);
    return found
      ? [`${path}:${line}: "${found[0]}" in "${text.trim().slice(0, 70)}": write ${instead}`]
      : [];
  });
}

const TOKEN =
  /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;

function tokensOf(text: string): Passage[] {
  return [...text.matchAll(TOKEN)].map(({ 0: found, index }) => ({
    text: found,
    line: text.slice(0, index).split('\n').length,
  }));
}

/** Every line of every comment, without its marks. */
function commentsOf(source: string): Passage[] {
  return tokensOf(source)
    .filter(({ text }) => text.startsWith('/'))
    .flatMap(({ text, line }) =>
      text.split('\n').map((part, index) => ({
        text: part.replace(/^\s*(\/\*\*?|\*\/|\*|\/\/)\s*/, ''),
        line: line + index,
      })),
    )
    .map((passage, index, all) => {
      // Only the first line of a comment has an opening.
      const before = all[index - 1];
      const isContinued = before?.line === passage.line - 1 && before.text.trim() !== '';
      return isContinued ? { ...passage, text: ` ${passage.text}` } : passage;
    });
}

function stringsOf(source: string): Passage[] {
  return tokensOf(source)
    .filter(({ text }) => !text.startsWith('/'))
    .map(({ text, line }) => ({ text: text.slice(1, -1), line }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const wanted = process.argv.slice(2);
  const isWanted = ({ path }: SourceFile) =>
    wanted.length === 0 || wanted.some((start) => path.startsWith(start));
  const files = readSources(['src', 'adapters', 'trainer', 'scripts']).filter(isWanted);
  const documents = wanted
    .filter((path) => path.endsWith('.md'))
    .map((path) => ({ path, text: readFileSync(path, 'utf8') }));
  const faults = [
    ...proseFaults(files),
    ...docstringFaults(files),
    ...documents.flatMap(documentFaults),
  ];
  process.stdout.write(`${[...faults, `${faults.length} found`].join('\n')}\n`);
}

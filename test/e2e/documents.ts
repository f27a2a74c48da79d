// The examples in the documents: code blocks, the commands in them, and requests with the answer that the page shows.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** A code block of a page. */
interface Block {
  readonly language: string;
  readonly code: string;
  /** The text between this block and the next block or heading. */
  readonly after: string;
}

/** A request, and the answer that the page shows for it: `contains` and the answer as code, in the text after the block. */
export interface Example {
  readonly page: string;
  /** Such as `/v1/chat/completions`. */
  readonly route: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** Undefined if the page shows none. */
  readonly answer: string | undefined;
}

/** The pages with requests for their readers. */
export function listPages(): string[] {
  const below = (folder: string) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md') && !name.includes('node_modules'))
      .map((name) => path.join(folder, name));
  return ['README.md', ...below('docs'), ...below('examples'), ...below('models')];
}

/** Returns the code blocks of a page, in order. */
export function blocksOf(page: string): Block[] {
  const parts = readFileSync(page, 'utf8').split(/^ *```/m);
  return parts.flatMap((part, i) => {
    if (i % 2 === 0) return [];
    const [language = '', ...lines] = part.split('\n');
    const [after = ''] = parts[i + 1]!.split(/^#/m);
    return [{ language, code: lines.join('\n'), after }];
  });
}

/** Returns the commands of a block: its lines, joined if they end with a backslash or inside quotes, without comments. */
export function commandsOf(code: string): string[] {
  const commands: string[] = [];
  let open = '';
  for (const line of code.replaceAll('\\\n', ' ').split('\n')) {
    open += `${open && '\n'}${line}`;
    if ((open.split("'").length - 1) % 2 === 1) continue;
    if (open.trim()) commands.push(open.replace(/\s+#[^'"\n]*$/, ''));
    open = '';
  }
  return commands;
}

/** Returns the generations that a page requests with curl. An answer belongs to the last request of its block. */
export function examplesOf(page: string): Example[] {
  return blocksOf(page).flatMap(({ language, code, after }) => {
    if (language !== 'sh') return [];
    const requests = commandsOf(code).flatMap((command) => {
      const found = /^curl https?:\S+?(\/v1\/\S*completions) [\s\S]*?-d '([\s\S]*)'$/.exec(command);
      return found ? [{ page, route: found[1]!, body: JSON.parse(found[2]!) }] : [];
    });
    const shown = /\bcontains `([^`]+)`/.exec(after)?.[1];
    return requests.map((request, i) => ({
      ...request,
      answer: i === requests.length - 1 ? shown : undefined,
    }));
  });
}

/** Returns what a response answers: the text of a completion or a message, or the arguments of a call. */
export function answerOf({ choices }: AnyCompletion): string {
  const [{ text, message }] = choices;
  return (text ?? message?.content ?? message?.tool_calls?.[0]?.function.arguments ?? '').trim();
}

interface AnyCompletion {
  readonly choices: readonly [
    {
      readonly text?: string;
      readonly message?: {
        readonly content: string | null;
        readonly tool_calls?: readonly { readonly function: { readonly arguments: string } }[];
      };
    },
  ];
}

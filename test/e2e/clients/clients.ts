// The clients of docs/clients.md: each is a package, the file that pins its version, and the ways in which it is run.
import { readFileSync } from 'node:fs';

interface Client {
  readonly package: string;
  /** Relative to the repository. */
  readonly pins: keyof typeof PINS;
  /** A function, a file or a program, which depends on where the package is installed. */
  readonly ways: string;
  /** Whether it runs with LORIKEET_E2E_LONG only, though its packages are there: it sends what others send, and takes long. */
  readonly isLong?: true;
}

/** The files with pinned versions. The packages of the long ones are installed with LORIKEET_E2E_LONG only. */
export const PINS = {
  'package.json': { language: 'Node', isLong: false },
  'test/e2e/python-clients.txt': { language: 'Python', isLong: true },
  'test/e2e/clients/npm/package.json': { language: 'Node', isLong: true },
  'test/e2e/clients/long-clients.txt': { language: 'Python', isLong: true },
  'test/e2e/clients/aider.txt': { language: 'Python', isLong: true },
} as const;

const NPM = { pins: 'test/e2e/clients/npm/package.json' } as const;
const PYTHON = { pins: 'test/e2e/python-clients.txt' } as const;
const LONG_PYTHON = { pins: 'test/e2e/clients/long-clients.txt' } as const;

export const CLIENTS: readonly Client[] = [
  { package: 'openai', pins: 'package.json', ways: 'openai' },
  { package: 'openai', ...PYTHON, ways: 'openai_ways' },
  { package: '@openai/agents', ...NPM, ways: 'agents-ways.mjs' },
  { package: 'openai-agents', ...PYTHON, ways: 'agents_ways' },
  { package: '@anthropic-ai/sdk', pins: 'package.json', ways: 'anthropic' },
  { package: 'anthropic', ...LONG_PYTHON, ways: 'anthropic_ways' },
  { package: '@ai-sdk/openai', pins: 'package.json', ways: 'aiOpenai' },
  { package: '@ai-sdk/openai-compatible', pins: 'package.json', ways: 'aiCompatible' },
  { package: '@ai-sdk/anthropic', ...NPM, ways: 'ai-anthropic-ways.mjs' },
  { package: 'langchain', ...NPM, ways: 'langchain-ways.mjs' },
  { package: 'langchain-openai', ...PYTHON, ways: 'langchain_ways', isLong: true },
  { package: 'langchain-anthropic', ...LONG_PYTHON, ways: 'langchain_anthropic_ways' },
  { package: 'litellm', ...PYTHON, ways: 'litellm_ways', isLong: true },
  { package: 'pydantic-ai-slim', ...PYTHON, ways: 'pydantic_ai_ways' },
  { package: 'pydantic-ai-slim', ...LONG_PYTHON, ways: 'pydantic_ai_anthropic_ways' },
  { package: 'instructor', ...PYTHON, ways: 'instructor_ways' },
  { package: 'llama-index-llms-openai-like', ...PYTHON, ways: 'llama_index_ways' },
  { package: 'smolagents', ...LONG_PYTHON, ways: 'smolagents_ways' },
  { package: '@mastra/core', ...NPM, ways: 'mastra-ways.mjs' },
  { package: 'aider-chat', pins: 'test/e2e/clients/aider.txt', ways: 'aider' },
  { package: '@continuedev/cli', ...NPM, ways: 'continue' },
  { package: 'opencode-ai', ...NPM, ways: 'opencode' },
];

/** The name of a client's row. A package may have several, with different ways. */
export function rowName({ package: name, pins }: Client): string {
  return `${name} (${pins})`;
}

/** The version that is pinned for a client. Throws if there is none. */
export function pinnedVersion({ package: name, pins }: Client): string {
  const text = readFileSync(pins, 'utf8');
  if (pins.endsWith('.json')) {
    const { dependencies, devDependencies } = JSON.parse(text);
    return { ...dependencies, ...devDependencies }[name];
  }
  const line = text.split('\n').find((one) => one.split(/[[=]/)[0] === name);
  if (!line) throw new Error(`${pins} does not pin ${name}`);
  return line.split('==')[1]!;
}

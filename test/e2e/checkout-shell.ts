// Types the commands of a page as its reader does: in a checkout, here a folder of links to this one, with an empty data folder.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { freePort } from '../free-port.ts';
import { until } from '../until.ts';
import { blocksOf, commandsOf } from './documents.ts';
import { fetchBase, isLong } from './served.ts';

const BASE = 'smollm2-135m-instruct';

/** How long all commands of a page may take. Training as the page says takes minutes. */
export const PAGE_TIMEOUT_MS = (isLong ? 40 : 10) * 60_000;

/** What stands in for the long parts of a page: the toy base under the real one's name, and one training step. */
const SHORTENED: readonly (readonly [RegExp, string])[] = [
  [/--epochs \d+/, '--max-steps 1 --max-length 128'],
  [/--compute int8/, ''],
];

/** A reader's checkout, data folder and terminal. */
export type Shell = Awaited<ReturnType<typeof openShell>>;

/** Opens a shell; a reason if the page cannot be typed as it stands, which LORIKEET_E2E_LONG asks for. */
export async function openShell(t: TestContext) {
  const base = isLong ? await fetchBase() : { dir: path.resolve('models/toy') };
  const folder = temporaryFolder(t);
  const home = path.join(folder, 'home');
  for (const name of readdirSync('.').filter((entry) => entry !== '.git')) {
    symlinkSync(path.resolve(name), path.join(folder, name));
  }
  mkdirSync(path.join(home, 'models'), { recursive: true });
  if ('dir' in base) symlinkSync(base.dir, path.join(home, 'models', BASE));
  const ports = new Map<string, string>();
  for (const shown of ['8080', '8081']) ports.set(shown, String(await freePort()));
  const servers = new Map<string, ChildProcess>();
  t.after(() => {
    for (const { pid } of servers.values()) process.kill(-pid!, 'SIGKILL');
  });

  const start = (text: string, variables: Readonly<Record<string, string>>) => {
    const shortened = SHORTENED.reduce((rest, [long, short]) => rest.replace(long, short), text);
    const typed = atFreePort(isLong ? text : shortened).replace(
      /(^|; do )lorikeet/,
      '$1npx lorikeet',
    );
    const PATH = `${path.dirname(process.execPath)}:${process.env['PATH']}`;
    const own = { PATH, HOME: folder, LORIKEET_HOME: home, PORT: ports.get('8080')! };
    const env = { ...own, HF_HUB_OFFLINE: '1', npm_config_offline: 'true', ...variables };
    // In its own group, as a terminal does, so that an interrupt also reaches what npm starts.
    return spawn('bash', ['-c', `exec 2>&1; ${typed}`], { cwd: folder, env, detached: true });
  };
  const atFreePort = (text: string) =>
    [...ports].reduce((rest, [shown, port]) => rest.replaceAll(shown, port), text);

  return {
    reason: 'reason' in base ? base.reason : undefined,
    isLong,
    folder,
    home,
    atFreePort,
    /** Environment variables of the commands from now on. */
    variables: {} as Record<string, string>,
    /** Runs a command to its end and returns what it prints. */
    async run(text: string): Promise<string> {
      const child = start(text, this.variables);
      let out = '';
      child.stdout.on('data', (chunk) => {
        out += chunk;
      });
      const [code] = await once(child, 'close');
      assert.equal(code, 0, `${text}: ${out}`);
      return out;
    },
    /** Sends a page's request and returns the response. */
    async ask(command: string) {
      return JSON.parse(await this.run(`${command} -sS --fail`));
    },
    /** Starts a server in place of the last one on its port, and waits until it is ready. */
    async serve(text: string): Promise<void> {
      const shown = /--port (\d+)/.exec(text)?.[1] ?? '8080';
      const last = servers.get(shown);
      if (last) {
        process.kill(-last.pid!, 'SIGINT');
        await once(last, 'close');
      }
      const server = start(text, this.variables);
      servers.set(shown, server);
      server.stdout.resume();
      await until('a server that is ready', async () => {
        const url = `http://127.0.0.1:${ports.get(shown)}/readyz`;
        return (await fetch(url).catch(() => undefined))?.ok === true;
      });
    },
  };
}

/** Types the blocks of a page in order. Each command goes to the first handler whose expression matches it, else it is run. */
export async function typePage(
  shell: Shell,
  page: string,
  handlers: readonly (readonly [RegExp, (command: string) => Promise<unknown>])[],
): Promise<void> {
  const all = [
    [/^(npx )?lorikeet serve|^npm start/, shell.serve.bind(shell)],
    ...handlers,
  ] as const;
  for (const { language, code } of blocksOf(page)) {
    const isProgram = language === 'ts' || language === 'python';
    const typed = language === 'sh' ? commandsOf(code) : isProgram ? [code] : [];
    for (const command of typed) {
      const [, type] = all.find(([pattern]) => pattern.test(command)) ?? [];
      await (type ? type(command) : shell.run(command));
    }
  }
}

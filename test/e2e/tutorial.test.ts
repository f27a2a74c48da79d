// Types every command of docs/tutorial.md, in order, in an empty folder. The toy base and a single training step stand in for
// the real base, so this shows that the commands work, not that the answers are good.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { freePort } from '../free-port.ts';
import { until } from '../until.ts';

const MINUTES = 60_000;

test('the commands of the tutorial work in an empty folder', {
  timeout: 5 * MINUTES,
}, async (t) => {
  const shell = await openShell(t);
  const page = readFileSync('docs/tutorial.md', 'utf8');
  const blocks = Array.from(page.matchAll(/^```sh\n([\s\S]*?)^```/gm), ([, block]) => block!);
  assert.ok(blocks.length > 8);
  const answered: string[] = [];
  for (const block of blocks) {
    for (const command of commandsOf(block)) {
      if (command.startsWith('lorikeet serve')) await shell.serve(command);
      else if (command.startsWith('curl')) answered.push(await shell.run(`${command} -sS --fail`));
      else if (command.startsWith('lorikeet keys create')) {
        shell.key = (await shell.run(`${command} 2>/dev/null`)).trim();
        addDefaultModel(path.join(shell.home, 'keys.json'), page);
      } else await shell.run(command);
    }
  }
  const models = answered.map((text) => JSON.parse(text).model as string);
  assert.equal(models.length, 3);
  assert.ok(
    models.every((model) => model.startsWith('tickets')),
    models.join(),
  );
  const choice = JSON.parse(answered[1]!).choices[0].message.content as string;
  assert.ok(['billing', 'shipping', 'account', 'returns'].includes(choice), choice);
});

/** The commands of a block: lines, joined if they end with a backslash or inside quotes. */
function commandsOf(block: string): string[] {
  const commands: string[] = [];
  let open = '';
  for (const line of block.replaceAll('\\\n', ' ').split('\n')) {
    open += `${open && '\n'}${line}`;
    if ((open.split("'").length - 1) % 2 === 1) continue;
    if (open.trim()) commands.push(open.replace(/\s+#[^'"\n]*$/, ''));
    open = '';
  }
  return commands;
}

/** Makes the change of the keys file that the page shows. */
function addDefaultModel(file: string, page: string): void {
  const shown = /^"tenants": (\{.*\})$/m.exec(page)![1]!;
  const keys = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...keys, tenants: JSON.parse(shown) }));
}

async function openShell(t: TestContext) {
  const folder = temporaryFolder(t);
  const home = path.join(folder, 'home');
  const command = path.join(folder, 'lorikeet');
  writeFileSync(
    command,
    `#!/bin/sh\nexec '${process.execPath}' '${path.resolve('bin/lorikeet.mjs')}' "$@"\n`,
  );
  chmodSync(command, 0o755);
  symlinkSync(path.resolve('examples'), path.join(folder, 'examples'));
  const port = String(await freePort());
  let server: ChildProcess | undefined;
  t.after(() => server?.kill('SIGKILL'));
  const start = (text: string, key: string) => {
    const typed = text
      .replaceAll('smollm2-135m-instruct', path.resolve('models/toy'))
      .replaceAll('8080', port)
      .replace(/--epochs \d+/, '--max-steps 1 --max-length 128')
      .replace('--compute int8', '');
    const PATH = `${folder}:${path.dirname(process.execPath)}:${process.env['PATH']}`;
    const env = { PATH, KEY: key, PORT: port, HOME: folder, LORIKEET_HOME: home };
    return spawn('bash', ['-c', `exec 2>&1; ${typed}`], { cwd: folder, env });
  };
  return {
    home,
    key: '',
    /** Runs a command to its end and returns what it prints. */
    async run(text: string): Promise<string> {
      const child = start(text, this.key);
      let out = '';
      child.stdout.on('data', (chunk) => {
        out += chunk;
      });
      const [code] = await once(child, 'close');
      assert.equal(code, 0, `${text}: ${out}`);
      return out;
    },
    /** Starts a server in place of the last one, and waits until it is ready. */
    async serve(text: string): Promise<void> {
      if (server) {
        server.kill('SIGINT');
        await once(server, 'close');
      }
      server = start(text.replace('lorikeet', 'exec lorikeet'), this.key);
      server.stdout?.resume();
      await until('a server that is ready', async () => {
        const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
        return response?.ok === true;
      });
    },
  };
}

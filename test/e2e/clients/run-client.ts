// Runs a client against a server: in this process, in Python, or with a newer Node.
import { cp, mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { execute } from '../execute.ts';
import { type Installed, npmPackages } from '../npm-packages.ts';
import { clientEnvironment, pythonWith } from '../python-venv.ts';
import { aiCompatibleWays, aiOpenaiWays } from './ai-ways.ts';
import { anthropicWays } from './anthropic-ways.ts';
import { type CLIENTS, pinnedVersion } from './clients.ts';
import { openaiWays } from './openai-ways.ts';
import { newerNode, PROGRAMS } from './programs.ts';
import type { Result } from './results.ts';
import { type Access, type Outcomes, runWays, type Ways } from './ways.ts';

const IN_PROCESS: Readonly<Record<string, (access: Access) => Ways>> = {
  openai: openaiWays,
  anthropic: anthropicWays,
  aiOpenai: aiOpenaiWays,
  aiCompatible: aiCompatibleWays,
};

type Client = (typeof CLIENTS)[number];

/** Installs the packages of a file of pins once. */
export async function install(pins: Client['pins']): Promise<Installed> {
  if (pins === 'package.json') return { bin: path.resolve('node_modules/.bin') };
  if (pins.endsWith('.json')) return npmPackages(pins);
  const made = await pythonWith(path.resolve(pins));
  return 'reason' in made ? made : { bin: path.dirname(made.python) };
}

/** Runs all ways of a client. `bin` is the folder of its programs. */
export async function runClient(client: Client, bin: string, access: Access): Promise<Result> {
  const version = pinnedVersion(client);
  const { ways } = client;
  const inNode = IN_PROCESS[ways] ?? PROGRAMS[ways]?.(bin);
  if (inNode) return { version, ways: await runWays(inNode(access)) };
  if (ways.endsWith('.mjs')) return { version, ways: await runWithNewerNode(bin, ways, access) };
  const script = path.join(import.meta.dirname, 'ways.py');
  return runJson(path.join(bin, 'python'), [script, ways, client.package, access.baseURL, 'base']);
}

/** The scripts find their packages in a folder above their own. */
async function runWithNewerNode(bin: string, file: string, { baseURL }: Access): Promise<Outcomes> {
  const folder = await mkdtemp(path.join(bin, '../../scripts-'));
  try {
    await cp(path.join(import.meta.dirname, 'npm'), folder, { recursive: true });
    await cp(path.join(import.meta.dirname, 'ways.ts'), path.join(folder, 'ways.ts'));
    return await runJson(newerNode(bin), [path.join(folder, 'run-ways.mjs'), file, baseURL]);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function runJson<T>(command: string, args: readonly string[]): Promise<T> {
  const { stdout } = await execute(command, args, {
    env: clientEnvironment(path.dirname(command)),
  });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
}

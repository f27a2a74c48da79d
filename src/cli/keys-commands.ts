// lorikeet keys create | list | revoke: who may use the server. A key is shown once, when it is made.
import type { Command } from 'commander';
import { UsageError } from '../common/errors.ts';
import { type Config, loadConfig } from '../settings/config.ts';
import type { KeyEntry, KeysFile } from '../tenants/keys-file.ts';
import type { Terminal } from './terminal.ts';

interface CommonOptions {
  keys?: string;
  json?: true;
}

interface CreateOptions extends CommonOptions {
  tenant: string;
  name?: string;
  admin?: true;
}

export function addKeys(program: Command, terminal: Terminal): void {
  const keys = program.command('keys').description('make, list and revoke API keys');
  const add = (syntax: string, description: string) =>
    keys
      .command(syntax)
      .description(description)
      .option('--keys <file>', 'the keys file [LORIKEET_KEYS]')
      .option('--json', 'print the result as JSON');
  add('create', 'make a key for a tenant; it is printed once, and only its hash is kept')
    .requiredOption('--tenant <id>', 'whose key it is; a new tenant has no limits')
    .option('--name <text>', 'a note, to tell keys apart')
    .option('--admin', 'may use the admin routes')
    .addHelpText('after', CREATE_EXAMPLES)
    .action((options: CreateOptions) => create(options, terminal));
  add('list', 'the keys of the file, without their secrets').action((options: CommonOptions) =>
    list(options, terminal),
  );
  add('revoke <id>', 'take a key back: servers refuse it within 5 s').action(
    (id: string, options: CommonOptions) => revoke(id, options, terminal),
  );
}

async function create(options: CreateOptions, terminal: Terminal): Promise<void> {
  const { keyPepper, file } = await locate(options);
  const { createApiKey, createKeyDigest } = await import('../tenants/api-key.ts');
  const { checkTenantId, updateKeysFile } = await import('../tenants/keys-file.ts');
  const { tenant, name, admin = false } = options;
  checkTenantId(tenant);
  const key = createApiKey();
  const entry: KeyEntry = {
    id: key.id,
    tenant,
    ...(name !== undefined && { name }),
    admin,
    created: new Date().toISOString(),
    sha256: createKeyDigest(keyPepper)(key.text).toString('hex'),
  };
  await updateKeysFile(file, (before) => withKey(before, entry));
  if (options.json) {
    const { sha256: _, ...shown } = entry;
    terminal.out(`${JSON.stringify({ ...shown, key: key.text, file })}\n`);
  } else {
    terminal.out(`${key.text}\n`);
    terminal.error(
      `Keep it: it is not shown again. Servers that run with ${file} know it within 5 s.\n`,
    );
  }
}

function withKey(before: KeysFile, entry: KeyEntry): KeysFile {
  const settings = before.tenants[entry.tenant] ?? { weight: 1, limits: {} };
  return {
    ...before,
    tenants: { ...before.tenants, [entry.tenant]: settings },
    keys: [...before.keys, entry],
  };
}

async function list(options: CommonOptions, terminal: Terminal): Promise<void> {
  const { keys } = await read(options);
  if (options.json) {
    const shown = keys.map(({ sha256: _, ...entry }) => entry);
    terminal.out(`${JSON.stringify(shown)}\n`);
    return;
  }
  const rows = keys.map(({ id, tenant, admin, created, name }) => [
    id,
    tenant,
    admin ? 'admin' : '',
    created.slice(0, 10),
    name ?? '',
  ]);
  const table = [['ID', 'TENANT', '', 'CREATED', 'NAME'], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]!.length)));
  for (const row of table) {
    const line = row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
    terminal.out(`${line.trimEnd()}\n`);
  }
}

async function revoke(id: string, options: CommonOptions, terminal: Terminal): Promise<void> {
  const { file } = await locate(options);
  const { updateKeysFile } = await import('../tenants/keys-file.ts');
  await updateKeysFile(file, (before) => {
    const keys = before.keys.filter((entry) => entry.id !== id);
    if (keys.length === before.keys.length) {
      throw new UsageError(`there is no key ${id} in ${file} (lorikeet keys list shows the ids)`);
    }
    return { ...before, keys };
  });
  terminal.out(options.json ? `${JSON.stringify({ id, revoked: true })}\n` : `revoked ${id}\n`);
}

async function read(options: CommonOptions): Promise<KeysFile> {
  const { file } = await locate(options);
  const { NO_KEYS, parseKeysFile, readKeysText } = await import('../tenants/keys-file.ts');
  const text = await readKeysText(file);
  return text === undefined ? NO_KEYS : parseKeysFile(text);
}

async function locate({ keys }: CommonOptions): Promise<Config & { file: string }> {
  const config = loadConfig(keys === undefined ? {} : { keys });
  const { keysPath } = await import('../tenants/keys-file.ts');
  return { ...config, file: keysPath(config) };
}

const CREATE_EXAMPLES = `
Examples:
  lorikeet keys create --tenant acme --name laptop
  lorikeet keys create --tenant ops --admin --json
`;

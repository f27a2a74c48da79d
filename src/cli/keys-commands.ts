// lorikeet keys create, list and revoke: manage who may use the server. A key is shown only once, when it is created.
import type { Command } from 'commander';
import { loadConfig } from '../settings/config.ts';
import type { CommandContext } from './programs.ts';
import { formatTable } from './table.ts';
import type { Terminal } from './terminal.ts';

interface KeysFlags {
  readonly keys?: string;
  readonly json?: true;
}

interface CreateFlags extends KeysFlags {
  readonly tenant: string;
  readonly name?: string;
  readonly admin?: true;
  readonly readOnly?: true;
  readonly prefix?: string;
}

/** Adds the commands. */
export function addKeys(program: Command, { terminal }: CommandContext): void {
  const keys = program.command('keys').description('create, list and revoke API keys');
  const add = (syntax: string, description: string) =>
    keys
      .command(syntax)
      .description(description)
      .option('--keys <file>', 'the keys file [LORIKEET_KEYS]')
      .option('--json', 'print the result as JSON');
  add('create', 'create a key for a tenant; it is printed once, and only its hash is stored')
    .requiredOption('--tenant <id>', 'the tenant; a new one has no limits')
    .option('--name <text>', 'a note that tells keys apart')
    .option('--admin', 'may use the admin routes')
    .option('--read-only', 'may look at everything that its tenant sees, and change nothing')
    .option('--prefix <text>', "the key's beginning, which some clients check: tml- for Tinker's")
    .addHelpText('after', CREATE_EXAMPLES)
    .action((flags: CreateFlags) => create(flags, terminal));
  add('list', 'list the keys without their secrets').action((flags: KeysFlags) =>
    list(flags, terminal),
  );
  add('revoke <id>', 'revoke a key; servers refuse it within 2 s').action(
    (id: string, flags: KeysFlags) => revoke(id, flags, terminal),
  );
}

async function create(flags: CreateFlags, terminal: Terminal): Promise<void> {
  const { createKey } = await import('../compose/keys.ts');
  const { tenant, name, admin: isAdmin = false, readOnly: isReadOnly = false, prefix } = flags;
  const request = { tenant, name, isAdmin, isReadOnly, prefix };
  const { entry, text, file } = await createKey(configOf(flags), request);
  if (flags.json) {
    terminal.out(`${JSON.stringify({ ...entry, key: text, file })}\n`);
    return;
  }
  terminal.out(`${text}\n`);
  terminal.error(
    `Store this key now: it is not shown again. Servers that use ${file} accept it within 2 s.\n`,
  );
}

async function list(flags: KeysFlags, terminal: Terminal): Promise<void> {
  const { listKeys } = await import('../compose/keys.ts');
  const keys = await listKeys(configOf(flags));
  const rows = keys.map(({ id, tenant, admin, readOnly, created, name = '' }) => [
    id,
    tenant,
    [admin && 'admin', readOnly && 'read-only'].filter(Boolean).join(', '),
    created.slice(0, 10),
    name,
  ]);
  const table = formatTable([['ID', 'TENANT', '', 'CREATED', 'NAME'], ...rows]);
  terminal.out(`${flags.json ? JSON.stringify(keys) : table}\n`);
}

async function revoke(id: string, flags: KeysFlags, terminal: Terminal): Promise<void> {
  const { revokeKey } = await import('../compose/keys.ts');
  await revokeKey(configOf(flags), id);
  terminal.out(flags.json ? `${JSON.stringify({ id, revoked: true })}\n` : `revoked ${id}\n`);
}

function configOf({ keys }: KeysFlags) {
  return loadConfig(keys === undefined ? {} : { keys });
}

const CREATE_EXAMPLES = `
Examples:
  lorikeet keys create --tenant acme --name laptop
  lorikeet keys create --tenant ops --admin --json
  lorikeet keys create --tenant ops --admin --read-only --name dashboard
`;

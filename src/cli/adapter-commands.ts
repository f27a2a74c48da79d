// lorikeet adapters …: what is published, where aliases lead, what goes. Knows what may be asked; the work is loaded
// by the command that does it.
import type { Command } from 'commander';
import { LOCAL_TENANT } from '../contracts/tenant.ts';
import type { AliasOptions } from './adapters/alias.ts';
import type { AdapterContext, CommonOptions } from './adapters/context.ts';
import type { PushOptions } from './adapters/push.ts';
import type { Terminal } from './terminal.ts';

type Work = (context: AdapterContext) => Promise<void>;

export function addAdapters(program: Command, terminal: Terminal): void {
  const adapters = program
    .command('adapters')
    .description('publish adapters, look into the store, lead aliases');
  const add = (syntax: string, description: string): Command =>
    adapters
      .command(syntax)
      .description(description)
      .option('--tenant <id>', 'whose adapters', LOCAL_TENANT.id)
      .option('--store <place>', 'a folder or s3://bucket/prefix [LORIKEET_STORE]')
      .option('--json', 'print the result as JSON');
  const run = async (options: CommonOptions, work: Work) => {
    const { withRepository } = await import('./adapters/context.ts');
    await withRepository(options, terminal, work);
  };
  addPublishing(add, run);
  addLooking(add, run);
  addRemoving(add, run);
}

type Add = (syntax: string, description: string) => Command;
type Run = (options: CommonOptions, work: Work) => Promise<void>;

function addPublishing(add: Add, run: Run): void {
  add('push <dir>', 'publish a PEFT folder as the next version of a name')
    .requiredOption('--name <name>', 'what requests call it')
    .option('--base <model>', 'the base that it is for: checks every shape, and binds it')
    .option('--alias <alias>', 'beside latest, lead this alias to it; may be repeated', collect, [])
    .addHelpText('after', PUSH_EXAMPLES)
    .action((dir: string, options: CommonOptions & PushOptions) =>
      run(options, async (context) => {
        const { push } = await import('./adapters/push.ts');
        await push(context, dir, options);
      }),
    );
  add('adopt <reference>', 'make a version of files that were put into the store by hand')
    .addHelpText('after', ADOPT_EXAMPLES)
    .action((reference: string, options: CommonOptions) =>
      run(options, async (context) => {
        const { adopt } = await import('./adapters/adopt.ts');
        await adopt(context, reference);
      }),
    );
  add('alias <name> <alias> [version]', 'lead an alias to a version, or to shares of several')
    .option('--split <shares>', 'percent and version of each share, such as 90:3,10:4')
    .option('--rollback', 'back to where it led before')
    .addHelpText('after', ALIAS_EXAMPLES)
    .action((name: string, alias: string, version: string | undefined, options: AliasCommand) =>
      run(options, async (context) => {
        const { moveAlias } = await import('./adapters/alias.ts');
        await moveAlias(context, { name, alias }, { ...options, version });
      }),
    );
}

type AliasCommand = CommonOptions & Omit<AliasOptions, 'version'>;

function addLooking(add: Add, run: Run): void {
  add('ls [name]', 'the adapters, or the versions of one').action(
    (name: string | undefined, options: CommonOptions) =>
      run(options, async (context) => {
        const { list } = await import('./adapters/list.ts');
        await list(context, name);
      }),
  );
  add('inspect <reference>', 'what the manifest of a version says').action(
    (reference: string, options: CommonOptions) =>
      run(options, async (context) => {
        const { inspect } = await import('./adapters/inspect.ts');
        await inspect(context, reference);
      }),
  );
  add('verify <reference>', 'read a version whole and compare it with its manifest').action(
    (reference: string, options: CommonOptions) =>
      run(options, async (context) => {
        const { verify } = await import('./adapters/inspect.ts');
        await verify(context, reference);
      }),
  );
  add('pull <reference>', 'copy a version out of the store, as a plain PEFT folder')
    .requiredOption('--out <dir>', 'the folder to write')
    .action((reference: string, options: CommonOptions & { out: string }) =>
      run(options, async (context) => {
        const { pull } = await import('./adapters/pull.ts');
        await pull(context, reference, options);
      }),
    );
}

function addRemoving(add: Add, run: Run): void {
  add('rm <reference>', 'remove NAME@VERSION, NAME:ALIAS, or NAME with all versions')
    .option('--yes', 'do not ask')
    .action((reference: string, options: CommonOptions & { yes?: true }) =>
      run(options, async (context) => {
        const { remove } = await import('./adapters/remove.ts');
        await remove(context, reference, options);
      }),
    );
  add('gc', "delete the files of removed versions and unfinished publications, all tenants'")
    .option('--grace <hours>', 'what is younger stays', '24')
    .action((options: CommonOptions & { grace: string }) =>
      run(options, async (context) => {
        const { collect } = await import('./adapters/remove.ts');
        await collect(context, options);
      }),
    );
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

const PUSH_EXAMPLES = `
Examples:
  lorikeet adapters push ./run/adapter --name zen
  lorikeet adapters push ./run/adapter --name zen --base smollm2-135m-instruct --alias stable
  lorikeet adapters push ./zen --name zen --tenant acme --store s3://models/adapters
`;

const ADOPT_EXAMPLES = `
Examples:
  aws s3 cp --recursive ./zen s3://models/adapters/local/zen/1/
  lorikeet adapters adopt zen@1 --store s3://models/adapters
`;

const ALIAS_EXAMPLES = `
Examples:
  lorikeet adapters alias zen stable 3
  lorikeet adapters alias zen stable --split 90:3,10:4
  lorikeet adapters alias zen stable --rollback
`;

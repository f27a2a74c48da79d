// lorikeet adapters: publishes, lists, copies and removes adapters in the store, and moves their aliases.
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { UsageError } from '../common/errors.ts';
import { formatBytes } from '../common/format-bytes.ts';
import type { AboutChange, PublishedAdapters, Removal } from '../compose/adapters.ts';
import { LOCAL_TENANT, TENANT_PATTERN } from '../contracts/tenant.ts';
import { loadConfig } from '../settings/config.ts';
import {
  describeAbout,
  describeAdapters,
  describeAlias,
  describeManifest,
  describePush,
  describeVersions,
  parseTarget,
  type TargetFlags,
} from './adapter-text.ts';
import type { CommandContext } from './programs.ts';
import { listenForInterrupt, type Terminal } from './terminal.ts';

/** The flags common to all of these commands. */
interface AdaptersFlags {
  readonly store?: string;
  readonly tenant?: string;
  readonly json?: true;
}

/** A command's result: for programs, and for humans. */
type CommandResult = readonly [json: unknown, text: string];

type AddCommand = (
  syntax: string,
  description: string,
  /** Absent: the command is about one tenant. */
  options?: { readonly isOfAll?: true },
) => Command;

/** Runs a command on the tenant's adapters and prints its result. */
type RunCommand = (
  flags: AdaptersFlags,
  command: (adapters: PublishedAdapters) => Promise<CommandResult>,
) => Promise<void>;

/** Adds the commands. */
export function addAdapters(program: Command, { terminal, reporter }: CommandContext): void {
  const group = program
    .command('adapters')
    .description('publish, list and remove adapters in the store, and move their aliases');
  const add: AddCommand = (syntax, description, { isOfAll } = {}) => {
    const command = group.command(syntax).description(description);
    if (!isOfAll) command.option('--tenant <id>', "the adapters' owner", LOCAL_TENANT.id);
    return command
      .option('--store <place>', 'a folder or s3://bucket/prefix [LORIKEET_STORE]')
      .option('--json', 'print the result as JSON');
  };
  const run: RunCommand = async ({ store, tenant = LOCAL_TENANT.id, json }, command) => {
    if (!TENANT_PATTERN.test(tenant)) {
      throw new UsageError('--tenant: must be a name such as acme: a-z, 0-9, ., _ and -');
    }
    const { withAdapters } = await import('../compose/adapters.ts');
    const config = loadConfig(store === undefined ? {} : { store });
    const context = { config, tenant, signal: listenForInterrupt(), reporter };
    const [value, text] = await withAdapters(context, command);
    terminal.out(`${json ? JSON.stringify(value) : text}\n`);
  };
  addPublishing(add, run);
  addAbout(add, run);
  addQueries(add, run, terminal);
  addRemoving(add, run);
}

interface PushFlags extends AdaptersFlags {
  readonly name: string;
  readonly base?: string;
  readonly alias: readonly string[];
  readonly responseFormat?: string;
  readonly tools?: string;
}

function addPublishing(add: AddCommand, run: RunCommand): void {
  add('push <dir>', 'publish a PEFT folder as the next version of a name')
    .requiredOption('--name <name>', 'the name that requests use')
    .option('--base <model>', 'its base: checks every shape, and records the base')
    .option('--alias <alias>', 'also move this alias to it; may be repeated', append, [])
    .option('--response-format <file>', 'JSON: the response_format of requests that have none')
    .option('--tools <file>', 'JSON: the tools of chat requests that have none')
    .addHelpText('after', PUSH_EXAMPLES)
    .action((folder: string, { name, base, alias: aliases, ...flags }: PushFlags) =>
      run(flags, async (adapters) => {
        const directory = path.resolve(folder);
        const { responseFormat, tools } = flags;
        const pushed = await adapters.push({
          directory,
          name,
          base,
          aliases,
          responseFormatFile: responseFormat,
          toolsFile: tools,
        });
        const json = { published: pushed.isNew, ...pushed.manifest, aliases: pushed.aliases };
        return [json, describePush(pushed, aliases)];
      }),
    );
  add('adopt <reference>', 'make a version of files that were copied into the store by hand')
    .addHelpText('after', ADOPT_EXAMPLES)
    .action((reference: string, flags: AdaptersFlags) =>
      run(flags, async (adapters) => {
        const manifest = await adapters.adopt(reference);
        return [manifest, `${reference} is published (rank ${manifest.rank})`];
      }),
    );
  add('alias <name> <alias> [version]', 'move an alias to a version, or split it between several')
    .option('--split <shares>', 'percent and version of each share, such as 90:3,10:4')
    .option('--rollback', 'move it back to its previous target')
    .addHelpText('after', ALIAS_EXAMPLES)
    .action(
      (
        name: string,
        alias: string,
        version: string | undefined,
        { split, rollback, ...flags }: AdaptersFlags & TargetFlags,
      ) =>
        run(flags, async (adapters) => {
          const target = parseTarget(version, {
            ...(split && { split }),
            ...(rollback && { rollback }),
          });
          const movedAlias = await adapters.moveAlias(name, alias, target);
          return [movedAlias, describeAlias(movedAlias)];
        }),
    );
}

interface AboutFlags extends AdaptersFlags, AboutChange {
  readonly tag?: readonly string[];
  readonly example?: readonly string[];
}

function addAbout(add: AddCommand, run: RunCommand): void {
  add('about <name>', 'show or change what an adapter is for, as pages and /v1/models show it')
    .option('--description <text>', 'a sentence or two')
    .option('--kind <kind>', 'chat or embedding; classifiers are recognized')
    .option('--tag <word>', 'replaces all tags; may be repeated, "" for none', append)
    .option('--example <prompt>', 'replaces all example prompts; may be repeated', append)
    .addHelpText('after', ABOUT_EXAMPLES)
    .action((name: string, { kind, description, tag, example, ...flags }: AboutFlags) =>
      run(flags, async (adapters) => {
        const [tags, examples] = [tag, example].map((words) => words?.filter(Boolean));
        const about = await adapters.about(name, { kind, description, tags, examples });
        return [{ name, ...about }, describeAbout(about)];
      }),
    );
}

function addQueries(add: AddCommand, run: RunCommand, terminal: Terminal): void {
  add('ls [name]', 'list the adapters, or the versions of one').action(
    (name: string | undefined, flags: AdaptersFlags) =>
      run(flags, async (adapters) => {
        if (name !== undefined) {
          const versions = await adapters.listVersions(name);
          return [versions, describeVersions(versions)];
        }
        const listings = await adapters.list();
        // Not on standard output, which a program may read.
        for (const { folder, reason } of await adapters.listRefusedFolders()) {
          terminal.error(`${folder} is not served: ${reason}\n`);
        }
        const none = `tenant ${flags.tenant} has no adapters in ${adapters.label}\nPublish one: lorikeet adapters push DIR --name NAME`;
        return [listings, listings.length > 0 ? describeAdapters(listings) : none];
      }),
  );
  add('inspect <reference>', "show a version's manifest").action(
    (reference: string, flags: AdaptersFlags) =>
      run(flags, async (adapters) => {
        const manifest = await adapters.inspect(reference);
        return [manifest, describeManifest(manifest)];
      }),
  );
  add('verify <reference>', 'read a version in full and compare it with its manifest').action(
    (reference: string, flags: AdaptersFlags) =>
      run(flags, async (adapters) => {
        const { manifest, moduleCount } = await adapters.verify(reference);
        const { name, version, digest } = manifest;
        return [
          { verified: true, name, version, digest },
          `${name}@${version} is intact: ${moduleCount} linears, digest ${digest}`,
        ];
      }),
  );
  add('pull <reference>', 'copy a version out of the store as a PEFT folder')
    .requiredOption('--out <dir>', 'the folder to write')
    .action((reference: string, { out, ...flags }: AdaptersFlags & { readonly out: string }) =>
      run(flags, async (adapters) => {
        const directory = path.resolve(out);
        const manifest = await adapters.pull(reference, directory);
        const text = `${manifest.name}@${manifest.version} is in ${directory}`;
        return [{ directory, ...manifest }, text];
      }),
    );
}

function addRemoving(add: AddCommand, run: RunCommand): void {
  add('rm <reference>', 'remove NAME@VERSION, NAME:ALIAS, or NAME with all versions')
    .option('--yes', 'do not ask')
    .action((reference: string, { yes, ...flags }: AdaptersFlags & { readonly yes?: true }) =>
      run(flags, async (adapters) => {
        const removal = await adapters.prepareRemoval(reference);
        if (!yes) await confirm(questionFor(removal, reference));
        await removal.apply();
        const later =
          removal.kind === 'alias'
            ? ''
            : '\nlorikeet adapters gc deletes the files once 24 h have passed.';
        return [{ removed: reference, tenant: flags.tenant }, `${reference} is removed${later}`];
      }),
    );
  add('gc', 'delete the files of removed versions and unfinished publications of all tenants', {
    isOfAll: true,
  })
    .option('--grace <hours>', 'keep files that are younger', '24')
    .action(({ grace, ...flags }: AdaptersFlags & { readonly grace: string }) =>
      run(flags, async (adapters) => {
        const garbage = await adapters.collectGarbage(parseHours(grace) * HOUR_MS);
        const { unfinished, removed, bytes, damaged } = garbage;
        const left = damaged > 0 ? `; ${damaged} versions with damaged files were left` : '';
        const text = `freed ${formatBytes(bytes)}: ${removed} removed versions, ${unfinished} unfinished publications${left}`;
        return [garbage, text];
      }),
    );
}

const HOUR_MS = 3_600_000;

function parseHours(text: string): number {
  if (/^\d{1,6}(\.\d+)?$/.test(text)) return Number(text);
  throw new UsageError('--grace: must be a number of hours');
}

function append(value: string, values: readonly string[] = []): string[] {
  return [...values, value];
}

function questionFor({ kind, versionCount }: Removal, reference: string): string {
  if (kind === 'alias') return `Remove the alias ${reference}?`;
  if (kind === 'version') return `Remove ${reference}?`;
  return `Remove ${reference} with its ${versionCount} versions?`;
}

/** Asks on the terminal. Throws `UsageError` if the answer is no, or if there is no terminal to ask on. */
async function confirm(question: string): Promise<void> {
  if (!process.stdin.isTTY) throw new UsageError(`${question} Confirm with --yes.`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new UsageError('Nothing was removed.');
  } finally {
    terminal.close();
  }
}

const PUSH_EXAMPLES = `
Examples:
  lorikeet adapters push ./run/adapter --name zen
  lorikeet adapters push ./run/adapter --name zen --base smollm2-135m-instruct --alias stable
  lorikeet adapters push ./zen --name zen --tenant acme --store s3://models/adapters
  lorikeet adapters push ./intent --name intent --response-format intent-format.json
`;

const ABOUT_EXAMPLES = `
Examples:
  lorikeet adapters about zen
  lorikeet adapters about zen --description "Answers like a monk." --tag style --example "What is time?"
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

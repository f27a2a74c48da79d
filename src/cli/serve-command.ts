// lorikeet serve: one flag per setting, and the greeting of a ready server.
import { type Command, Option } from 'commander';
import type { ReadyServer } from '../compose/context.ts';
import { type Flags, listSettings, loadConfig, redactConfig } from '../settings/config.ts';
import { addTabled, formatItems, helpWidth } from './help.ts';
import type { CommandContext } from './programs.ts';
import { openStartBar } from './start-display.ts';
import { listenForInterrupt } from './terminal.ts';

/** Adds the command. */
export function addServe(
  parent: Command,
  { terminal, reporter, programs, showsAll }: CommandContext,
): void {
  const serve = parent
    .command('serve')
    .description('serve the base and its adapters over HTTP')
    .option(
      '--prewarm',
      'build everything that the first start needs, answer one request, and exit',
    )
    .option('--print-config', 'print the settings with secrets redacted, and exit');
  const settingOfOption = new Map<string, keyof Flags>();
  const options = listSettings().flatMap(({ name, flag, env, help, isSwitch, group, isCommon }) => {
    if (flag === undefined) return [];
    const option = new Option(isSwitch ? flag : `${flag} <value>`, `${help} [${env}]`);
    settingOfOption.set(option.attributeName(), name);
    return [{ option, group, isCommon: isCommon === true }];
  });
  addTabled(serve, options, showsAll);
  if (showsAll) serve.addHelpText('after', () => environmentHelp(helpWidth(terminal.columns)));
  serve.addHelpText('after', SERVE_EXAMPLES);
  serve.action(async (options: Record<string, string | boolean>) => {
    const flags: Flags = {};
    for (const [attribute, value] of Object.entries(options)) {
      const name = settingOfOption.get(attribute);
      // Commander sets a switch such as --no-demo to false if it is given, otherwise to true.
      if (name && value !== true) flags[name] = value === false ? '1' : value;
    }
    const config = loadConfig(flags);
    if (options['printConfig']) {
      terminal.out(`${JSON.stringify(redactConfig(config), null, 2)}\n`);
      return;
    }
    const isPrewarm = options['prewarm'] === true;
    const bar = terminal.isInteractive ? openStartBar(terminal.error) : undefined;
    const signal = listenForInterrupt();
    if (bar) signal.addEventListener('abort', () => terminal.error(STOPPING));
    const program = { config, signal, reporter: bar?.reporter ?? reporter };
    try {
      await programs.serve(program, {
        isPrewarm,
        onReady(server) {
          const prewarmed = `${server.name} answers. The files built for it are in ${config.home}.\n`;
          bar?.complete(`${server.name} is ready`);
          const greeting = bar ? suggest(server) : greet(server);
          terminal.out(isPrewarm ? prewarmed : greeting);
        },
      });
    } finally {
      bar?.close();
    }
  });
}

/** Describes a ready server: its address, who may use it, and a sample request. */
export function greet(server: ReadyServer): string {
  const { url, name, adapters, demos, access } = server;
  const lines = [
    `${name} is served at ${url}`,
    `Open it in a browser for the playground, fine-tuning and status. The API is described at ${url}/docs`,
  ];
  if (adapters) {
    lines.push(`Adapters: ${adapters.folder}${adapters.exists ? '' : ' (does not exist yet)'}`);
  }
  if (demos.length > 0) lines.push(`Demo adapters: ${demos.join(', ')} (--no-demo hides them)`);
  if (access === 'open') lines.push('Anyone who can reach this port can use it.');
  lines.push('Try it:', `  ${sampleRequest(server)}`);
  return `${lines.join('\n')}\n`;
}

/** Describes a ready server to somebody at a terminal: what to know, and three things to try. */
export function suggest(server: ReadyServer): string {
  const { url, model, canChat, adapters, access } = server;
  const lines: string[] = [];
  if (adapters && !adapters.exists) lines.push(`The folder ${adapters.folder} does not exist yet.`);
  if (access === 'open') lines.push('Anyone who can reach this port can use it.');
  const program = import.meta.url.includes('/node_modules/') ? 'lorikeet' : 'npx lorikeet';
  lines.push(
    `${canChat ? 'Chat:      ' : 'Complete:  '} ${sampleRequest(server)}`,
    `Playground: ${url} (also fine-tuning, status and the API's description)`,
    `Train:      ${program} train --model ${model} --data rows.jsonl --name my-adapter`,
  );
  return `${lines.join('\n')}\n`;
}

function sampleRequest({ url, canChat, access }: ReadyServer): string {
  const [route, body] = canChat
    ? ['chat/completions', '{"model":"base","messages":[{"role":"user","content":"Hello!"}]}']
    : ['completions', '{"model":"base","prompt":[1,2,3]}'];
  const key = access === 'keys' ? ' -H "authorization: Bearer $KEY"' : '';
  return `curl ${url}/v1/${route}${key} -H 'content-type: application/json' -d '${body}'`;
}

function environmentHelp(width: number): string {
  const only = listSettings().filter(({ flag }) => flag === undefined);
  const items = only.map(({ env, help, group }) => {
    const heading = `Environment only: ${group[0]!.toLowerCase()}${group.slice(1)}`;
    return { term: env, text: help, heading };
  });
  return formatItems(items, width);
}

const STOPPING =
  '\nStopping: running requests finish first, for up to 25 s. A second interrupt ends them now.\n';

const SERVE_EXAMPLES = `
Examples:
  lorikeet serve
  lorikeet serve --model ./my-base --adapters ./adapters --port 9000
  lorikeet serve --host 0.0.0.0 --keys ./keys.json --slots 64
`;

// The help of a command: what it marks, and which options only `--help all` lists.
import { type Command, Help, type Option } from 'commander';
import { largest } from '../common/long-arrays.ts';

/** The widest line of a help text. */
const MAX_WIDTH = 100;

/** How every command shows its help. */
export const HELP_STYLE = {
  // The longest flags leave less than 40 columns of an ordinary terminal.
  minWidthToWrap: 20,
  optionDescription(option: Option): string {
    const text = Help.prototype.optionDescription.call(new Help(), option);
    return option.mandatory ? `${text} (required)` : text;
  },
};

/** Returns the width of help on a terminal with this many columns. */
export function helpWidth(columns: number | undefined): number {
  return Math.min(MAX_WIDTH, columns ?? MAX_WIDTH);
}

/** Whether the arguments ask for the whole help of a command: `--help all`. */
export function asksForAll(args: readonly string[]): boolean {
  return args.some((arg, i) => (arg === '--help' || arg === '-h') && args[i + 1] === 'all');
}

/** An option from a table of settings. */
export interface TabledOption {
  readonly option: Option;
  /** The heading above it. */
  readonly group: string;
  /** Whether the short help lists it. */
  readonly isCommon: boolean;
}

/** Adds the options of a table. Without `showsAll` the help lists the common ones and says how many more there are. */
export function addTabled(
  command: Command,
  options: readonly TabledOption[],
  showsAll: boolean,
): void {
  for (const { option, group, isCommon } of options) {
    command.addOption(option.helpGroup(group).hideHelp(!isCommon && !showsAll));
  }
  if (showsAll) return;
  const hidden = options.filter(({ isCommon }) => !isCommon).length;
  const more = `\n${hidden} more options: lorikeet ${command.name()} --help all`;
  command.addHelpText('after', more);
}

/** Formats items below headings, as the options are. */
export function formatItems(
  items: readonly { readonly term: string; readonly text: string; readonly heading: string }[],
  width: number,
): string {
  const help = Object.assign(new Help(), HELP_STYLE, { helpWidth: width });
  const termWidth = largest(items.map(({ term }) => term.length));
  const lines: string[] = [];
  for (const [i, { term, text, heading }] of items.entries()) {
    if (heading !== items[i - 1]?.heading) lines.push('', heading);
    lines.push(help.formatItem(term, termWidth, text, help));
  }
  return lines.join('\n');
}

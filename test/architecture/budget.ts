// The budget of code lines per folder. A folder that needs more raises its number in budget.json, in the same commit.
// As a program it prints the sum, and how much the budget has grown since the commit before.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { readSources } from './source.ts';

type Lines = Readonly<Record<string, number>>;

const FILE = 'test/architecture/budget.json';
/** How far below its budget a folder may be: this share of it, and a few lines in a small one. */
const SLACK = 0.03;
const SLACK_LINES = 20;

/** Returns the budgets in the text of budget.json. */
export function parseBudget(text = readFileSync(FILE, 'utf8')): Lines {
  return JSON.parse(text);
}

/** Counts the lines that are neither blank nor comments of TypeScript, CSS or HTML. */
export function codeLines(text: string): number {
  const comment = /^\s*\/\*[\s\S]*?\*\/.*$|^\s*<!--[\s\S]*?-->.*$|^\s*(\/\/|\*).*$/gm;
  const code = text.replace(comment, '');
  return code.split('\n').filter((line) => line.trim() !== '').length;
}

/** TypeScript, and what the pages are made of. */
const COUNTED = /\.ts$|^src\/pages\/.*\.(js|css|html)$/;

/** Counts the code lines of each folder that has a budget of its own: `src`, `src/http`, `test/e2e`. */
export function countLines(): Lines {
  const files = readSources(['src', 'adapters', 'trainer', 'test'], COUNTED);
  const counts: Record<string, number> = {};
  for (const { path, text } of files.filter((file) => !file.path.includes('/proto/'))) {
    const folder = path.split('/').slice(0, -1).slice(0, 2).join('/');
    counts[folder] = (counts[folder] ?? 0) + codeLines(text);
  }
  return counts;
}

const isFarBelow = (count: number, budget: number) =>
  budget - count > Math.max(SLACK * budget, SLACK_LINES);

/** Lists the folders that are above their budget, far below it, or without one. */
export function budgetFaults(budget: Lines, counts: Lines): string[] {
  return [...new Set([...Object.keys(counts), ...Object.keys(budget)])].flatMap((folder) => {
    const [count, most] = [counts[folder] ?? 0, budget[folder] ?? 0];
    const found = `${folder}: ${count} code lines, budget ${most}`;
    if (count > most) return `${found}. Shorten it, or raise its number in ${FILE} and say why`;
    return isFarBelow(count, most) ? `${found}. Lower its number: npm run fix` : [];
  });
}

/** Lowers the budgets that the folders are far below, to 1% above their code. Raises none. */
export function lowerBudget(budget: Lines, counts: Lines): Lines {
  const lowered = Object.entries(budget).map(([folder, most]) => {
    const count = counts[folder] ?? 0;
    return [folder, isFarBelow(count, most) ? Math.ceil((count * 1.01) / 10) * 10 : most] as const;
  });
  return Object.fromEntries(lowered.filter(([, most]) => most > 0));
}

/** Says by how much the budgets have grown, unless the commit's message explains it. */
export function unexplainedGrowth(before: Lines, after: Lines, message: string): string[] {
  const growth = sum(after) - sum(before);
  if (growth <= 0 || /^Budget: ./m.test(message)) return [];
  return [`${growth} lines more: lower another folder's, or name the feature ("Budget: ...")`];
}

/** The budgets of a commit. Throws if there is no history, or no budget in it. */
function budgetAt(commit: string): Lines {
  return parseBudget(git('show', `${commit}:${FILE}`));
}

/** Checks the last commit. A merge, and a checkout without history, has no faults. */
export function growthFaults(): string[] {
  try {
    const [parents, ...message] = git('log', '-1', '--format=%P%n%B').split('\n');
    if (parents!.includes(' ')) return [];
    return unexplainedGrowth(budgetAt('HEAD~1'), budgetAt('HEAD'), message.join('\n'));
  } catch {
    return [];
  }
}

const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8', stdio: 'pipe' });

const sum = (lines: Lines) => Object.values(lines).reduce((total, count) => total + count, 0);

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  let growth = '';
  try {
    growth = `, ${sum(parseBudget()) - sum(budgetAt('HEAD~1'))} more than in the commit before`;
  } catch {} // no history, or no budget in it
  process.stdout.write(`${sum(countLines())} code lines; budget ${sum(parseBudget())}${growth}\n`);
}

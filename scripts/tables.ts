// Writes the generated tables in the documents: settings, training settings, routes, errors, request fields, clients, bases,
// kinds of adapters, decisions, layers, and the tests behind docs/evidence/reliability.md. Also lowers the budget of code lines.
// `npm run fix` runs it; `--check` changes nothing and fails if a file is out of date.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { ADAPTER_KINDS } from '../adapters/peft/kinds.ts';
import { pageMetrics } from '../src/contracts/metrics.ts';
import { mapSamplingFields } from '../src/contracts/sampling-fields.ts';
import {
  absentValue,
  fieldlessSettings,
  formFields,
  listTrainingFlags,
} from '../src/contracts/training-fields.ts';
import type { TrainingSetting } from '../src/contracts/training-setting.ts';
import { TRAINING_SETTINGS } from '../src/contracts/training-settings.ts';
import { NAME_RULES } from '../src/jobs/names.ts';
import { listSettings } from '../src/settings/config.ts';
import { countLines, lowerBudget, parseBudget } from '../test/architecture/budget.ts';
import { layerTable } from '../test/architecture/rules.ts';
import { clientTable } from '../test/e2e/clients/results.ts';
import { routeTable } from '../test/http/documented-routes.ts';
import { baseTables } from '../test/model/documented-families.ts';
import { reliabilityTables } from '../test/reliability/held-rows.ts';
import { errorTable } from './documented-errors.ts';
import { FIELD_PAGES, fieldTables } from './documented-fields.ts';

const routes = await routeTable();
const isCheck = process.argv.includes('--check');
const stale = [
  rewrite('docs/configuration.md', (text) => replaceTable(text, 'settings', settingsTable())),
  ...Object.entries(fieldTables()).map(([name, table]) =>
    rewrite(`docs/${FIELD_PAGES[name as keyof typeof FIELD_PAGES]}`, (text) =>
      replaceTable(text, name, table),
    ),
  ),
  rewrite('docs/routes.md', (text) => replaceTable(text, 'routes', routes)),
  rewrite('docs/decisions/README.md', (text) => replaceTable(text, 'decisions', decisionTable())),
  rewrite('docs/errors.md', (text) => replaceTable(text, 'errors', errorTable())),
  rewrite('docs/clients.md', (text) => replaceTable(text, 'clients', clientTable())),
  rewrite('docs/bases.md', (text) => replaceTables(text, baseTables())),
  rewrite('docs/training-settings.md', (text) =>
    replaceTable(text, 'training settings', trainingSettingsTable()),
  ),
  rewrite('docs/adapters.md', (text) => replaceTable(text, 'kinds of adapters', kindsTable())),
  rewrite('docs/evidence/reliability.md', (text) => replaceTables(text, reliabilityTables())),
  rewrite('src/pages/tables.ts', pageTables),
  rewrite('CONTRIBUTING.md', (text) => replaceTable(text, 'layers', layerTable())),
  rewrite('test/architecture/budget.json', (text) => {
    const lowered = lowerBudget(parseBudget(text), countLines());
    return `${JSON.stringify(lowered, null, 2)}\n`;
  }),
].flat();
if (isCheck && stale.length > 0) {
  process.stderr.write(`Out of date: ${stale.join(', ')}. Run \`npm run fix\`.\n`);
  process.exitCode = 1;
}

/** Applies `change` to a file. Returns the file's name if that changes it. */
function rewrite(file: string, change: (text: string) => string): string[] {
  const text = readFileSync(file, 'utf8');
  const changed = change(text);
  if (changed === text) return [];
  if (!isCheck) writeFileSync(file, changed);
  return [file];
}

function replaceTables(text: string, tables: Readonly<Record<string, string>>): string {
  return Object.entries(tables).reduce(
    (sofar, [name, table]) => replaceTable(sofar, name, table),
    text,
  );
}

/** Replaces the text between a table's two marks. Throws if the document lacks them. */
function replaceTable(text: string, name: string, table: string): string {
  const mark = `<!-- ${name}: written by \`npm run fix\` -->\n`;
  const start = text.indexOf(mark);
  const end = text.indexOf(`<!-- end of ${name} -->`);
  if (start < 0 || end < start) throw new Error(`no marks for the table "${name}"`);
  return `${text.slice(0, start + mark.length)}\n${table}\n${text.slice(end)}`;
}

function settingsTable(): string {
  const rows = listSettings().map(
    ({ env, flag, help }) =>
      `| \`${env}\` | ${flag ? `\`${flag}\`` : ''} | ${help.replaceAll('|', '\\|')} |\n`,
  );
  return `| variable | flag | meaning |\n|---|---|---|\n${rows.join('')}`;
}

function kindsTable(): string {
  const rows = ADAPTER_KINDS.map(({ field, name, ...kind }) => {
    const served = 'served' in kind ? `served: ${kind.served}` : 'refused';
    return `| ${name} | \`${field}\` | ${served} |\n`;
  });
  return `| kind | field | |\n|---|---|---|\n${rows.join('')}`;
}

function trainingSettingsTable(): string {
  const flags = new Map<string, string>(listTrainingFlags().map(({ key, flag }) => [key, flag]));
  const rows = Object.entries<TrainingSetting>(TRAINING_SETTINGS).map(([key, row]) => {
    const flag = flags.get(key);
    const absent = row.isRequired ? 'required' : absentValue(row);
    return `| \`${key}\` | ${flag ? `\`${flag}\`` : ''} | ${absent} | ${row.help} |\n`;
  });
  return `| key | flag | default | meaning |\n|---|---|---|---|\n${rows.join('')}`;
}

/** Returns the index of the decisions. Throws if one lacks its title or its status. */
function decisionTable(): string {
  const files = readdirSync('docs/decisions').filter((name) => /^\d{4}-/.test(name));
  const rows = files.sort().map((file) => {
    const text = readFileSync(`docs/decisions/${file}`, 'utf8');
    const form = /^# \d{4}: (.+)\n\nStatus: (\w+) (\d{4}-\d\d-\d\d)(, .+)?\.\n/;
    const [, title, status, date, change = ''] = form.exec(text) ?? [];
    if (!title) {
      throw new Error(
        `docs/decisions/${file} does not begin like template.md: title, status, date`,
      );
    }
    const shown = title[0]!.toUpperCase() + title.slice(1);
    return `| [${Number(file.slice(0, 4))}](${file}) | ${shown} | ${status}${change} | ${date} |\n`;
  });
  return `| | decision | status | date |\n|---|---|---|---|\n${rows.join('')}`;
}

/** Returns the tables that pages share with the server, as a module of theirs. */
function pageTables(): string {
  const { suffix, steps, name, reserved } = NAME_RULES;
  const pairs = steps.map(([from, to]) => `[${from}, ${JSON.stringify(to)}]`).join(', ');
  const rules = `suffix: ${suffix}, steps: [${pairs}], name: ${name}, reserved: ${JSON.stringify(reserved)}`;
  return [
    '// Tables that the server shares with its pages. Written by `npm run fix` from src/contracts and src/jobs/names.ts.',
    "import type { PageMetric } from '../contracts/metrics.ts';",
    "import type { SamplingFormField } from '../contracts/sampling-fields.ts';",
    "import type { FormField } from '../contracts/training-fields.ts';\n",
    pageTable('SAMPLING_FIELDS: readonly SamplingFormField[]', samplingFields()),
    pageTable('METRICS: readonly PageMetric[]', pageMetrics()),
    pageTable('FORM_FIELDS: readonly FormField[]', formFields()),
    `export const FIELDLESS_SETTINGS = ${JSON.stringify(fieldlessSettings())};\n`,
    `export const NAME_RULES = { ${rules} };\n`,
  ].join('\n');
}

function pageTable(name: string, rows: readonly object[]): string {
  const lines = rows.map((row) => `  ${JSON.stringify(row)},\n`).join('');
  return `export const ${name} = [\n${lines}];\n`;
}

/** Returns the sampling fields in the form that the playground uses. Filters without effect are off. */
function samplingFields(): object[] {
  const fields = mapSamplingFields(({ schema, label, neutral, isOpenAi, isAdvanced }) => ({
    label,
    min: isOpenAi ? schema.minValue : Math.max(0, schema.minValue ?? 0),
    max: (schema.maxValue ?? Infinity) < Number.MAX_SAFE_INTEGER ? schema.maxValue : undefined,
    isInteger: schema.format === 'safeint' || undefined,
    standard: neutral === 0 && !isOpenAi ? 'off' : String(neutral),
    isOpenAi,
    isAdvanced,
  }));
  return Object.entries(fields).map(([name, row]) => ({ name, ...row }));
}

// The dialog that turns a CSV or TSV file into a JSONL file: the user says what its columns are, and sees the first rows.
import { useState } from 'preact/hooks';
import { Dialog } from '../../components/dialog.tsx';
import { AreaField, ChoiceField } from '../../components/fields.tsx';
import { onDemand } from '../../components/on-demand.tsx';
import { Table } from '../../components/parts.tsx';
import { Problem } from '../../components/problem.tsx';
import { counted } from '../../format.ts';
import { Example } from './plan.tsx';
import type { OpenTable, StoreProps } from './store.ts';
import * as tables from './table.ts';

const PREVIEWED_ROWS = 5;
/** The characters shown of a long cell. */
const MAX_CELL = 120;

const usePapa = onDemand(async () => (await import('papaparse')).default);

/** The dialog, which is open while the user names columns. */
export function TableDialog({ store }: StoreProps) {
  const { value: open } = store.table;
  const close = () => {
    store.table.value = undefined;
  };
  return (
    <Dialog id="table" title={`Columns of ${open?.name}`} isWide isOpen={!!open} onClose={close}>
      {open && <TableForm store={store} open={open} />}
    </Dialog>
  );
}

interface FormProps extends StoreProps {
  readonly open: OpenTable;
}

function TableForm(props: FormProps) {
  const papa = usePapa();
  return papa ? <Columns {...props} papa={papa} /> : <p class="help">Loading …</p>;
}

type Papa = Parameters<typeof tables.readTable>[1];

function Columns({ store, open, papa }: FormProps & { readonly papa: Papa }) {
  const [{ table: guessed, problem }] = useState(() => tables.readTable(open.text, papa));
  const [table, setTable] = useState(guessed);
  const { columns, rows, form, mapping, system } = table;
  const lines = tables.toLines(table);
  const skipped = rows.length - lines.length;
  const left = skipped > 0 ? ` ${counted(skipped, 'row')} without a value left out.` : '';
  const classifier = form === 'chat' ? tables.toClassifier(lines) : undefined;
  const names = columns.map((name, i) => [String(i), name || `Column ${i + 1}`] as const);
  return (
    <form method="dialog">
      <Problem id="table-problem" text={problem} />
      {!open.isUnicode && (
        <p class="warning">
          The file is not UTF-8, so it was read as Windows-1252 (Latin 1). Check letters with
          accents.
        </p>
      )}
      <div class="settings-grid">
        <ChoiceField
          id="table-form"
          label="The rows are"
          options={tables.FORM_IDS.map((id) => [id, tables.FORMS[id].label] as const)}
          value={form}
          onChange={(id) => setTable(tables.withForm(table, id as tables.FormId))}
        />
        {tables.rolesOf(table).map(({ id, label, column, isOptional }) => (
          <ChoiceField
            key={id}
            id={`role-${id}`}
            label={label}
            options={[['-1', isOptional ? 'No column' : 'Choose a column'], ...names]}
            value={String(column)}
            onChange={(at) => setTable({ ...table, mapping: { ...mapping, [id]: Number(at) } })}
          />
        ))}
      </div>
      {classifier && (
        <p class="help" id="table-classes">
          There are only {classifier.classes.length} answers: {classifier.classes.join(', ')}. “
          {tables.FORMS.classifier.label}” trains a classifier, which chooses one of them.
        </p>
      )}
      {tables.takesSystem(table) && (
        <AreaField
          id="table-system"
          label="System prompt of all rows (optional)"
          rows={2}
          value={system}
          onInput={(text) => setTable({ ...table, system: text })}
        />
      )}
      <div id="table-rows">
        <Table
          isMatrix
          caption="The first rows"
          columns={columns}
          rows={rows
            .slice(0, PREVIEWED_ROWS)
            .map((row) => row.map((cell) => cell.slice(0, MAX_CELL)))}
        />
      </div>
      <p id="table-count" role="status">
        {tables.isComplete(table)
          ? `${counted(lines.length, 'row')}.${left}`
          : 'Choose a different column for each part.'}
      </p>
      <div id="table-first">
        {lines[0] && (
          <Example name="The first row as it will be">
            {JSON.stringify(JSON.parse(lines[0]), null, 2)}
          </Example>
        )}
      </div>
      <div class="row end">
        <button type="submit">Cancel</button>
        <button
          type="submit"
          id="table-yes"
          class="primary"
          disabled={lines.length === 0}
          onClick={() => store.useTable(table, open)}
        >
          Use these rows
        </button>
      </div>
    </form>
  );
}

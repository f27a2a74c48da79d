// The fields for a job's files: the user drops a file, chooses one, or takes one that was uploaded before. Without a validation
// file a slider says which part of the training file is held out.
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { FileObject } from '../../../contracts/fine-tuning-api.ts';
import { Dialog } from '../../components/dialog.tsx';
import { number, Table } from '../../components/parts.tsx';
import { dateAndTime, size } from '../../format.ts';
import { pagedQuery } from '../../store/pages.ts';
import { PLACES, type Place } from './draft.ts';
import { uploadedFile } from './files.ts';
import type { StoreProps } from './store.ts';

const TEXTS = {
  training: {
    label: 'Training file',
    help: 'Drop a JSONL file here: {"messages": […]}, {"prompt": …, "completion": …}, {"text": …, "label": …} for a classifier, pairs for DPO, or prompts for rewards. A CSV or TSV table is converted, and Parquet is read',
  },
  validation: {
    label: 'Validation file (optional)',
    help: 'Held-out examples show whether the model learns or memorizes',
  },
};
const MAX_HELD_OUT = 50;

/** The fields. */
export function FileFields({ store }: StoreProps) {
  const [choosing, setChoosing] = useState<Place>();
  const { files, heldOut } = store.draft.value;
  return (
    <div class="drops">
      {PLACES.map((place) => (
        <FileField key={place} store={store} place={place} onReuse={() => setChoosing(place)} />
      ))}
      {!files.validation && (
        <div class="field">
          <label for="split">
            Held out for validation: {heldOut === 0 ? 'nothing' : `${heldOut}% of the file`}
          </label>
          <input
            id="split"
            type="range"
            max={MAX_HELD_OUT}
            value={heldOut}
            onInput={({ currentTarget }) => store.change({ heldOut: currentTarget.valueAsNumber })}
          />
        </div>
      )}
      <UploadDialog
        isOpen={choosing !== undefined}
        onClose={(file) => {
          if (file) store.files.replace(choosing!, uploadedFile(file));
          setChoosing(undefined);
        }}
      />
    </div>
  );
}

function FileField({
  store,
  place,
  onReuse,
}: StoreProps & { readonly place: Place; readonly onReuse: () => void }) {
  const [isOver, setOver] = useState(false);
  const { label, help } = TEXTS[place];
  const file = store.draft.value.files[place];
  const isUploading = file && !file.id && !file.problem;
  const state = isUploading ? 'uploading …' : file?.problem ? 'not uploaded' : 'uploaded';
  const action = file ? 'Remove' : 'Use an uploaded file';
  const id = `${place}-file`;
  const take = (chosen: File | undefined) => chosen && void store.take(place, chosen);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: the field in it does the same
    <div
      id={`${place}-drop`}
      class={`drop ${file ? 'full' : ''} ${isOver ? 'over' : ''}`}
      onDragOver={(event) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        setOver(false);
        take(event.dataTransfer?.files[0]);
      }}
    >
      <input
        id={id}
        type="file"
        class="hidden"
        accept=".jsonl,.json,.csv,.tsv,.parquet,application/jsonl,text/csv,text/tab-separated-values"
        aria-describedby={`${id}-help`}
        onChange={({ currentTarget: input }) => {
          take(input.files?.[0]);
          input.value = ''; // so that choosing the same file again, once it is corrected, is a change
        }}
      />
      <label for={id}>
        <strong>{label}</strong>
        <span class="help" id={`${id}-help`}>
          {file ? `${file.name}, ${size(file.byteSize)}, ${state}` : help}
        </span>
        {isUploading && <progress value={file.share} aria-label="Upload" />}
      </label>
      <button
        type="button"
        class="quiet small"
        aria-label={`${action}: ${label}`}
        onClick={file ? () => store.files.replace(place) : onReuse}
      >
        {action}
      </button>
    </div>
  );
}

interface UploadDialogProps {
  readonly isOpen: boolean;
  /** Called without a file if the user has chosen none. */
  readonly onClose: (file?: FileObject) => void;
}

function UploadDialog({ isOpen, onClose }: UploadDialogProps) {
  const uploads = useMemo(() => pagedQuery<FileObject>('v1/files?purpose=fine-tune'), []);
  useEffect(() => {
    if (isOpen) void uploads.refresh();
  }, [isOpen]);
  const files = uploads.items.value ?? [];
  const none = uploads.isRead.value ? 'No files yet.' : 'Loading …';
  const rows = files.map((file) => [
    file.filename,
    size(file.bytes),
    dateAndTime(file.created_at),
    <button
      type="button"
      class="small"
      aria-label={`Use ${file.filename}`}
      onClick={() => onClose(file)}
    >
      Use
    </button>,
  ]);
  const columns = ['File', number('Size'), 'Uploaded', 'Action'];
  const title = 'Choose an uploaded file';
  return (
    <Dialog id="uploads" title={title} isWide isOpen={isOpen} onClose={() => onClose()}>
      {rows.length > 0 && (
        <Table
          caption="Uploaded files"
          columns={columns}
          keys={files.map(({ id }) => id)}
          rows={rows}
        />
      )}
      <p class="help" role="status">
        {uploads.problem.value || (rows.length === 0 && none)}
      </p>
      <form method="dialog" class="row end">
        {uploads.hasMore.value && (
          <button type="button" onClick={() => void uploads.more()}>
            Show more
          </button>
        )}
        <button type="submit">Cancel</button>
      </form>
    </Dialog>
  );
}

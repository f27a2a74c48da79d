// The files of a new job: each is uploaded as soon as it is chosen. Removing or replacing it also deletes its upload.
import type { Signal } from '@preact/signals';
import type { FileObject } from '../../../contracts/fine-tuning-api.ts';
import { errorText, request, requestJson } from '../../api.ts';
import type { DraftFile, JobDraft, Place } from './draft.ts';

/** Lines of a larger file are not shown. */
const MAX_READ_BYTES = 64 * 2 ** 20;

/** Returns a file that is on the server already. */
export function uploadedFile({ id, filename: name, bytes: byteSize }: FileObject): DraftFile {
  return { id, name, byteSize, problem: '', isOwn: false, share: 1 };
}

/** The functions that change and read the files of a draft. */
export type Files = ReturnType<typeof createFiles>;

/** Creates them. */
export function createFiles(draft: Signal<JobDraft>) {
  const uploads = new Map<Place, AbortController>();

  function put(place: Place, file: DraftFile | undefined) {
    const { [place]: _, ...others } = draft.value.files;
    draft.value = { ...draft.value, files: { ...others, ...(file && { [place]: file }) } };
  }

  function replace(place: Place, file?: DraftFile) {
    uploads.get(place)?.abort();
    deleteUpload(draft.value.files[place]);
    put(place, file);
  }

  async function upload(place: Place, file: File) {
    const { name, size: byteSize } = file;
    const start = { name, byteSize, id: '', problem: '', isOwn: true, share: 0, file };
    replace(place, start);
    const controller = new AbortController();
    const { signal } = controller;
    uploads.set(place, controller);
    const set = (part: Partial<DraftFile>) => {
      if (signal.aborted) deleteUpload({ ...start, ...part });
      else put(place, { ...start, ...part });
    };
    const form = new FormData();
    form.append('purpose', 'fine-tune');
    form.append('file', file);
    try {
      const options = { form, signal, onProgress: (share: number) => set({ share }) };
      set({ id: (await requestJson<FileObject>('v1/files', options)).id });
    } catch (error) {
      set({ problem: errorText(error) });
    }
  }

  /** Returns a file's text; empty if it is not uploaded, or too large to show lines of it. */
  async function read(place: Place): Promise<string> {
    const { file, id, byteSize = 0 } = draft.value.files[place] ?? {};
    if (!id || byteSize > MAX_READ_BYTES) return '';
    return file?.text() ?? (await request(`v1/files/${id}/content`)).text();
  }

  return { upload, replace, read };
}

/** Deletes an upload that nothing else uses. */
function deleteUpload(file: DraftFile | undefined) {
  if (file?.isOwn && file.id !== '')
    void request(`v1/files/${file.id}`, { method: 'DELETE' }).catch(() => {});
}

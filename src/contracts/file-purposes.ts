// The purposes of files, as in OpenAI's API: for uploads, and for files that jobs and batches produce.

export const UPLOAD_PURPOSES = ['fine-tune', 'batch'] as const;
/** The purpose of an uploaded file. */
export type UploadPurpose = (typeof UPLOAD_PURPOSES)[number];

export const FILE_PURPOSES = [...UPLOAD_PURPOSES, 'fine-tune-results', 'batch_output'] as const;

/** Whether clients upload files with this purpose. */
export function isUploadPurpose(purpose: unknown): purpose is UploadPurpose {
  return UPLOAD_PURPOSES.includes(purpose as UploadPurpose);
}

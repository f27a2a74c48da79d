// /v1/files: uploads for jobs and batches, and the files that these produced. A tenant sees only its own.
import { z } from '@hono/zod-openapi';
import { fieldError } from '../../common/errors.ts';
import { addIssue } from '../../common/schema-issues.ts';
import {
  isUploadPurpose,
  UPLOAD_PURPOSES,
  type UploadPurpose,
} from '../../contracts/file-purposes.ts';
import {
  deletedFileSchema,
  type FileObject,
  fileListSchema,
  fileObjectSchema,
} from '../../contracts/fine-tuning-api.ts';
import { toUnixSeconds } from '../../contracts/openai.ts';
import { checkFileStart } from '../../jobs/check-rows.ts';
import type { FileMeta } from '../../jobs/files.ts';
import type { JobsSide } from '../deps.ts';
import { FILE_LIFE_S, fileExpirySchema } from '../schema/batches.ts';
import { integerText, orderQuery, pageQuery } from '../schema/fields.ts';
import { type App, addRoute, json, ownId, validateBody } from '../wire/route.ts';
import { type UploadForm, withUpload } from '../wire/upload.ts';
import { toListResponse } from './api-objects.ts';

const PATH = '/v1/files';
const MAX_LIMIT = 10_000;

const ANCHOR = 'expires_after[anchor]';
const SECONDS = 'expires_after[seconds]';

/** The form's fields as clients send them. */
const uploadFields = z
  .strictObject({
    // OpenAI's other purposes belong to features that this server lacks.
    purpose: z.custom<UploadPurpose>(isUploadPurpose, {
      error: ({ input }) =>
        input === undefined
          ? 'is required'
          : 'must be fine-tune or batch; files have no other use here',
    }),
    [ANCHOR]: z.literal('created_at', 'must be created_at').optional(),
    [SECONDS]: integerText(...FILE_LIFE_S).optional(),
  })
  .superRefine(({ [ANCHOR]: anchor, [SECONDS]: seconds }, ctx) => {
    if (anchor !== undefined && seconds === undefined) addIssue(ctx, 'is required', [SECONDS]);
    if (anchor === undefined && seconds !== undefined) addIssue(ctx, 'is required', [ANCHOR]);
  });

/** The form as the API's document shows it. */
const uploadForm = z
  .object({
    file: z.string().openapi({
      format: 'binary',
      description: 'JSON lines; for fine-tuning also a JSON list, CSV or Parquet',
    }),
    purpose: z.enum(UPLOAD_PURPOSES),
    expires_after: fileExpirySchema.optional(),
  })
  .openapi('CreateFileRequest');

const listQuery = z.strictObject({
  purpose: z.string().max(64).optional(),
  ...pageQuery(MAX_LIMIT, MAX_LIMIT),
  order: orderQuery,
});

/** Adds the routes. */
export function addFileRoutes(
  app: App,
  { files, uploads }: Pick<JobsSide, 'files' | 'uploads'>,
): void {
  addRoute(app, `POST ${PATH}`, {
    summary: 'Upload a file of rows; the job or batch that uses it checks them',
    content: { 'multipart/form-data': { schema: uploadForm } },
    response: json(fileObjectSchema),
    description: 'The file',
    async handle(c) {
      const { signal } = c.req.raw;
      const meta = await withUpload(c.req.raw, uploads, async (form) =>
        files.create(c.get('tenant').id, await toNewFile(form), { signal }),
      );
      return toFileObject(meta);
    },
  });
  addRoute(app, `GET ${PATH}`, {
    summary: 'List files, the newest first',
    query: listQuery,
    response: json(fileListSchema),
    async handle(c, query) {
      const page = await files.list(c.get('tenant').id, query);
      return toListResponse(page, toFileObject);
    },
  });
  addRoute(app, `GET ${PATH}/{id}`, {
    summary: 'Get one file’s details',
    response: json(fileObjectSchema),
    handle: async (c) => toFileObject(await files.get(...ownId(c))),
  });
  addRoute(app, `DELETE ${PATH}/{id}`, {
    summary: 'Delete a file; jobs that already train with it continue',
    response: json(deletedFileSchema),
    async handle(c) {
      const [tenant, id] = ownId(c);
      await files.remove(tenant, id);
      return { id, object: 'file', deleted: true };
    },
  });
  addRoute(app, `GET ${PATH}/{id}/content`, {
    summary: 'Download a file as it is (result tables are not in base64)',
    response: { 'application/octet-stream': { schema: z.string() } },
    async handle(c) {
      const headersOf = (byteSize: number) => ({
        'content-type': 'application/octet-stream',
        'content-length': String(byteSize),
      });
      // Nobody would read or close the file of a HEAD request.
      if (c.req.method === 'HEAD')
        return c.body(null, 200, headersOf((await files.get(...ownId(c))).byteSize));
      const { body, byteSize } = await files.open(...ownId(c));
      return c.body(ReadableStream.from(body), 200, headersOf(byteSize));
    },
  });
}

async function toNewFile({ fields, file }: UploadForm) {
  const values = validateBody(uploadFields, Object.fromEntries(fields));
  if (!file) throw fieldError('file', 'is required');
  await checkFileStart(file.path, values.purpose);
  const seconds = values[SECONDS];
  return {
    source: { file: file.path },
    byteSize: file.byteSize,
    filename: file.filename,
    purpose: values.purpose,
    ...(seconds !== undefined && { expiresAfterMs: seconds * 1000 }),
  };
}

function toFileObject(meta: FileMeta): FileObject {
  return {
    id: meta.id,
    object: 'file',
    bytes: meta.byteSize,
    created_at: toUnixSeconds(meta.createdMs),
    ...(meta.expiresMs !== undefined && { expires_at: toUnixSeconds(meta.expiresMs) }),
    filename: meta.filename,
    purpose: meta.purpose,
    status: 'processed',
  };
}

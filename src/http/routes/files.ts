// /v1/files: uploads of training data, and what jobs leave. A tenant's own; another's is as unknown.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { ServeError } from '../../common/errors.ts';
import {
  deletedFileSchema,
  type FileObject,
  fileListSchema as fileListAnswer,
  fileObjectSchema,
} from '../../contracts/openai.ts';
import type { FileMeta } from '../../jobs/files.ts';
import type { JobsSide } from '../deps.ts';
import { addRoute } from '../described-route.ts';
import { errorResponses } from '../json-route.ts';
import { toListAnswer } from '../list-answer.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { fileListSchema, uploadFieldsSchema, uploadFormSchema } from '../schema/files.ts';
import { type Upload, withUpload } from '../upload.ts';
import { validate, validateQuery } from '../validation.ts';

type FilesSide = Pick<JobsSide, 'files' | 'uploads'>;

export function addFileRoutes(app: OpenAPIHono<HttpEnv>, { files, uploads }: FilesSide): void {
  addUploadRoute(app, { files, uploads });
  addRoute(app, {
    method: 'get',
    path: '/v1/files',
    summary: 'List files, the newest first',
    query: fileListSchema,
    answers: { 'application/json': { schema: fileListAnswer } },
    errors: [400, 401, 503],
    async handle(c, query) {
      const page = await files.list(c.get('tenant').id, query);
      return c.json(toListAnswer(page, toFileObject));
    },
  });
  addRoute(app, {
    method: 'get',
    path: '/v1/files/{id}',
    summary: 'Get the facts of one file',
    answers: { 'application/json': { schema: fileObjectSchema } },
    errors: [401, 404, 503],
    handle: async (c) =>
      c.json(toFileObject(await files.get(c.get('tenant').id, c.req.param('id')!))),
  });
  addRoute(app, {
    method: 'delete',
    path: '/v1/files/{id}',
    summary: 'Delete a file; jobs that have begun to train go on',
    answers: { 'application/json': { schema: deletedFileSchema } },
    errors: [401, 404, 503],
    async handle(c) {
      const id = c.req.param('id')!;
      await files.remove(c.get('tenant').id, id);
      return c.json({ id, object: 'file' as const, deleted: true as const });
    },
  });
  addRoute(app, {
    method: 'get',
    path: '/v1/files/{id}/content',
    summary: 'Get the content of a file, as it is (result tables too: not in base64)',
    answers: { 'application/octet-stream': { schema: z.string() } },
    errors: [401, 404, 503],
    async handle(c) {
      const { body, byteSize } = await files.open(c.get('tenant').id, c.req.param('id')!);
      return c.body(ReadableStream.from(body), 200, {
        'content-type': 'application/octet-stream',
        'content-length': String(byteSize),
      });
    },
  });
}

function addUploadRoute(app: OpenAPIHono<HttpEnv>, { files, uploads }: FilesSide): void {
  const described = createRoute({
    method: 'post',
    path: '/v1/files',
    summary: 'Upload a file of JSON lines; its rows are checked when a job is made of it',
    request: { body: { content: { 'multipart/form-data': { schema: uploadFormSchema } } } },
    responses: {
      200: {
        description: 'The file',
        content: { 'application/json': { schema: fileObjectSchema } },
      },
      ...errorResponses(400, 401, 408, 413, 415, 503, 507),
    },
  });
  app.openAPIRegistry.registerPath(described);
  app.post(described.getRoutingPath(), async (c) => {
    validateQuery(undefined, c.req.query());
    const { signal } = c.req.raw;
    const meta = await withUpload(c.req.raw, uploads, (upload) =>
      files.create(c.get('tenant').id, toNewFile(upload), { signal }),
    );
    return c.json(toFileObject(meta));
  });
}

function toNewFile({ fields, file }: Upload) {
  const asked = validate(uploadFieldsSchema, Object.fromEntries(fields));
  if (!file) throw new ServeError('invalid_request', 'file: is required', { param: 'file' });
  const seconds = asked['expires_after[seconds]'];
  return {
    source: { file: file.path },
    byteSize: file.byteSize,
    filename: file.filename,
    purpose: 'fine-tune' as const,
    ...(seconds !== undefined && { expiresAfterMs: seconds * 1000 }),
  };
}

function toFileObject(meta: FileMeta): FileObject {
  return {
    id: meta.id,
    object: 'file',
    bytes: meta.byteSize,
    created_at: Math.floor(meta.createdMs / 1000),
    ...(meta.expiresMs !== undefined && { expires_at: Math.floor(meta.expiresMs / 1000) }),
    filename: meta.filename,
    purpose: meta.purpose,
    status: 'processed',
  };
}

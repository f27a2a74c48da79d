// The Files API: files come back unchanged, belong to their tenant, and are bounded.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import OpenAI, { toFile } from 'openai';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { FileObject } from '../../src/contracts/fine-tuning-api.ts';
import { listKeys, wrapStore } from '../adapters/store/wrapped-store.ts';
import { serveKeyed } from './keyed.ts';
import { connect } from './openai-client.ts';
import { assertRefused, listen, readError, readOk, serve } from './served.ts';
import { type FilesSideOptions, filesSide } from './with-jobs.ts';

const MULTIPART = { 'content-type': 'multipart/form-data; boundary=x' };
const LINES = '{"messages":[{"role":"user","content":"Zwölf ☃"}]}\n';

function form(content: string | Uint8Array, fields: Record<string, string> = {}): FormData {
  const body = new FormData();
  for (const [name, value] of Object.entries({ purpose: 'fine-tune', ...fields })) {
    body.append(name, value);
  }
  body.append('file', new Blob([content as Uint8Array<ArrayBuffer>]), 'rows.jsonl');
  return body;
}

const expiringAfter = (seconds: number) => ({
  'expires_after[anchor]': 'created_at',
  'expires_after[seconds]': `${seconds}`,
});

/** Adds parts to a valid form. */
function withParts(...parts: readonly [name: string, value: string | Blob][]): FormData {
  const body = form(LINES);
  for (const [name, value] of parts) body.append(name, value as string);
  return body;
}

function serveFiles(options: FilesSideOptions = {}) {
  const jobs = filesSide(options);
  const { app } = serve({ jobs });
  const upload = async (body: RequestInit['body'], init: RequestInit = {}) =>
    app.request('/v1/files', { method: 'POST', body: body ?? null, ...init });
  return { app, upload, directory: jobs.uploads.directory };
}

describe('the official client', () => {
  test('uploads, lists, reads and deletes a file', async () => {
    const { app } = serveFiles();
    const client = await connect({ app });
    const made = await client.files.create({
      file: await toFile(Buffer.from(LINES), 'rows.jsonl'),
      purpose: 'fine-tune',
      expires_after: { anchor: 'created_at', seconds: 3600 },
    });
    assert.match(made.id, /^file-[0-9a-f]{24}$/);
    const { id, created_at } = made;
    assert.deepEqual(made, {
      id,
      object: 'file',
      bytes: Buffer.byteLength(LINES),
      created_at,
      expires_at: created_at + 3600,
      filename: 'rows.jsonl',
      purpose: 'fine-tune',
      status: 'processed',
    });
    assert.deepEqual(await client.files.waitForProcessing(id), made);
    assert.deepEqual(await client.files.retrieve(id), made);
    assert.equal(await (await client.files.content(id)).text(), LINES);
    const listed = [];
    for await (const file of client.files.list({ limit: 1 })) listed.push(file);
    assert.deepEqual(listed, [made]);
    assert.deepEqual(await client.files.delete(id), { id, object: 'file', deleted: true });
    await assert.rejects(client.files.retrieve(id), OpenAI.NotFoundError);
    await assert.rejects(client.files.content(id), OpenAI.NotFoundError);
  });

  test('reads the size of a file, which nothing opens for that', async () => {
    const calls: string[] = [];
    const store = wrapStore(createMemoryStore(), (work, call) => {
      calls.push(call);
      return work();
    });
    const { app, upload } = serveFiles({ store });
    const { id } = await readOk<FileObject>(await upload(form(LINES)));
    const response = await app.request(`/v1/files/${id}/content`, { method: 'HEAD' });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-length'), `${Buffer.byteLength(LINES)}`);
    assert.ok(!calls.some((call) => /^get .*content$/.test(call)));
    assert.equal(await (await app.request(`/v1/files/${id}/content`)).text(), LINES);
    assert.ok(calls.some((call) => /^get .*content$/.test(call)));
  });

  test('pages through files in both orders, by purpose', async () => {
    const { app, upload } = serveFiles();
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      ids.push((await readOk<FileObject>(await upload(form(LINES)))).id);
    }
    const client = await connect({ app });
    const all = async (query: OpenAI.FileListParams) => {
      const found: string[] = [];
      for await (const { id } of client.files.list(query)) found.push(id);
      return found;
    };
    assert.deepEqual(await all({ limit: 2, order: 'asc' }), ids);
    assert.deepEqual(await all({ limit: 2 }), ids.toReversed());
    assert.deepEqual(await all({ limit: 2, purpose: 'fine-tune' }), ids.toReversed());
    assert.deepEqual(await all({ purpose: 'batch' }), []);
    for (const after of ['unknown', 'file-zzz', `file-${'f'.repeat(24)}`, 'ftjob-1']) {
      const refused = await app.request(`/v1/files?after=${after}`);
      await assertRefused(refused, { code: 'invalid_request', param: 'after' });
    }
    for await (const { id } of client.files.list({ limit: 2 })) await client.files.delete(id);
    assert.deepEqual(await all({}), [], 'files can be deleted while they are listed');
  });
});

describe('an upload', () => {
  const LIMIT = 1000;
  const refused: [what: string, body: FormData, param: string, code?: string, status?: number][] = [
    ['gzip', form(gzipSync(LINES)), 'file'],
    ['zip', form(Buffer.from('PK\x03\x04rest', 'latin1')), 'file'],
    ['UTF-16', form(Buffer.from(`\ufeff${LINES}`, 'utf16le')), 'file'],
    ['CSV with CR', form('prompt,completion\ra,b\r'), 'file'],
    ['UTF-16 without a mark', form(Buffer.from(LINES, 'utf16le')), 'file'],
    ['tar', form(Buffer.from(`${'a'.repeat(257)}ustar`)), 'file'],
    ['too large', form('x'.repeat(LIMIT + 1)), 'file', 'payload_too_large', 413],
    ['a second file', withParts(['file', new Blob([LINES])]), 'file'],
    ['a file without a name', withParts(['file', 'rows.jsonl']), 'file'],
    ['a file of another name', withParts(['rows', new Blob([LINES])]), 'rows'],
    ['a second purpose', withParts(['purpose', 'batch']), 'purpose'],
    ['a field that it does not know', withParts(['x', '1']), 'x', 'unknown_parameter'],
    ['a long field', withParts(['x', 'y'.repeat(1025)]), 'x'],
    ['another purpose', form(LINES, { purpose: 'vision' }), 'purpose'],
    ['an expiry of a minute', form(LINES, expiringAfter(60)), 'expires_after[seconds]'],
    [
      'an anchor alone',
      withParts(['expires_after[anchor]', 'created_at']),
      'expires_after[seconds]',
    ],
    ['seconds alone', withParts(['expires_after[seconds]', '3600']), 'expires_after[anchor]'],
  ];
  for (const [what, body, param, code = 'invalid_request', status = 400] of refused) {
    test(`is refused: ${what}`, async () => {
      const { upload, directory } = serveFiles({ maxFileBytes: LIMIT });
      await assertRefused(await upload(body), { status, code, param });
      assert.deepEqual(readdirSync(directory), [], 'nothing is left behind');
    });
  }

  test('is refused without a file, with too many fields, or cut off', async () => {
    const { upload } = serveFiles();
    const empty = new FormData();
    empty.append('purpose', 'fine-tune');
    await assertRefused(await upload(empty), { param: 'file' });
    const many = Array.from({ length: 17 }, (_, i): [string, string] => [`x${i}`, '1']);
    const refused = { status: 400, code: 'invalid_request', param: null };
    await assertRefused(await upload(withParts(...many)), refused);
    const cut = '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{"a":';
    const part = await upload(cut, { headers: MULTIPART });
    await assertRefused(part, { status: 400, code: 'invalid_request' });
  });

  test('is refused as another type, or compressed', async () => {
    const { upload } = serveFiles();
    for (const [headers, status] of [
      [{ 'content-type': 'application/json' }, 415],
      [{ ...MULTIPART, 'content-encoding': 'gzip' }, 415],
      [{ 'content-type': 'multipart/form-data' }, 415],
      [{ 'content-type': 'multipart/form-data; a=b' }, 400],
    ] as const) {
      assert.equal((await upload('{}', { headers })).status, status, JSON.stringify(headers));
    }
  });

  test('is refused by its declared length before it is read, and if no data arrives', async () => {
    const { upload } = serveFiles({ maxFileBytes: LIMIT, idleTimeoutMs: 20 });
    const long = await upload('', { headers: { ...MULTIPART, 'content-length': '999999999' } });
    assert.equal(long.status, 413);
    const body = new ReadableStream({ start() {} });
    const silent = await upload(body, { headers: MULTIPART, duplex: 'half' } as RequestInit);
    assert.equal(silent.status, 408);
  });

  test('does not grow memory with its size', async () => {
    const { upload, directory } = serveFiles({ maxFileBytes: 2 ** 30, store: forgetfulStore() });
    const piece = new Uint8Array(2 ** 20).fill(0x61);
    const head =
      '--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n';
    async function* body() {
      yield Buffer.from(head);
      for (let i = 0; i < 128; i++) yield piece;
      yield Buffer.from('\r\n--x--\r\n');
    }
    globalThis.gc?.();
    let peak = 0;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().arrayBuffers);
    }, 5);
    const before = process.memoryUsage().arrayBuffers;
    const response = await upload(ReadableStream.from(body()), {
      headers: MULTIPART,
      duplex: 'half',
    } as RequestInit);
    clearInterval(watch);
    assert.equal((await readOk<FileObject>(response)).bytes, 128 * 2 ** 20);
    assert.ok(peak - before < 48 * 2 ** 20, `${(peak - before) / 2 ** 20} MiB`);
    assert.deepEqual(readdirSync(directory), []);
  });
});

test('an upload beyond the limit of the process is 413, and says whose limit it is', async (t) => {
  const { upload, directory } = serveFiles();
  const limitFiles = (bytes: number | 'unlimited') =>
    spawnSync('prlimit', ['--pid', `${process.pid}`, `--fsize=${bytes}:`]);
  if (limitFiles(2 ** 16).status !== 0) return t.skip('needs prlimit of util-linux');
  try {
    const message = /^The file is too large for the file system of the server, or for the/;
    const refusal = { status: 413, code: 'payload_too_large', message };
    await assertRefused(await upload(form('a'.repeat(2 ** 18))), refusal);
    assert.deepEqual(readdirSync(directory), []);
  } finally {
    limitFiles('unlimited');
  }
});

test('an upload is refused if a part has no name', async () => {
  const { upload, directory } = serveFiles();
  const start = '--x\r\nContent-Disposition: form-data';
  for (const part of [
    `${start}\r\n\r\n1\r\n`,
    `${start}; name=""\r\n\r\n${'1'.repeat(2000)}\r\n`,
    `${start}; filename="a"\r\n\r\n${LINES}\r\n`,
  ]) {
    const response = await upload(`${part}${part}--x--\r\n`, { headers: MULTIPART });
    await assertRefused(response, { code: 'invalid_request', param: null });
    assert.deepEqual(readdirSync(directory), []);
  }
});

const UPLOAD = 'POST /v1/files HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x';
const purposePart = '--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n';
const fileHead = '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n';
const twice = `${purposePart}${purposePart}${fileHead}`.padEnd(2 ** 20);
const COMPLETION = 'POST /v1/completions HTTP/1.1\r\nContent-Type: application/json';
const chunks = `10000\r\n${' '.repeat(2 ** 16)}\r\n`.repeat(32);
const REFUSED_MIDWAY: readonly [what: string, status: number, head: string, body: string][] = [
  ['an upload', 400, `${UPLOAD}\r\nContent-Length: ${twice.length}`, twice],
  ['chunks', 413, `${COMPLETION}\r\nTransfer-Encoding: chunked`, `${chunks}0\r\n\r\n`],
];
for (const [what, status, head, body] of REFUSED_MIDWAY) {
  test(`T12: a connection takes the next request after a refused body: ${what}`, async () => {
    const { port } = await listen(serveFiles().app);
    const socket = connectSocket(port, '127.0.0.1');
    const next = 'GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    socket.write(`${head}\r\nHost: localhost\r\n\r\n${body}${next}`);
    const statuses = (await text(socket)).match(/(?<=HTTP\/1\.1 )\d+/g);
    assert.deepEqual(statuses, [`${status}`, '200']);
  });
}

describe('an uploaded file', () => {
  test('that holds no rows is refused with the line', async () => {
    const { upload } = serveFiles();
    const all = 'JSON lines, a JSON list or CSV in UTF-8, or Parquet';
    for (const [content, reason, formats = all, purpose = 'fine-tune'] of [
      ['', 'is empty'],
      ['\n \r\n', 'is empty'],
      ['no JSON at all', 'line 1 is not a JSON object'],
      ['\n\n1\n[]', 'line 3 is not a JSON object'],
      ['color,size\na,b\n', 'line 1 is not a JSON object'],
      ['', 'is empty', 'JSON lines in UTF-8', 'batch'],
      ['PK\x03\x04', 'is zip', 'JSON lines in UTF-8', 'batch'],
      ['[{}]', 'line 1 is not a JSON object', 'JSON lines in UTF-8', 'batch'],
    ] as const) {
      const response = await upload(form(content, { purpose }));
      const { message, param } = await readError(response);
      assert.deepEqual([response.status, param], [400, 'file'], content);
      assert.equal(message, `file: ${reason}; expected ${formats}`);
    }
  });

  test('may be a JSON list, CSV with a known column, Parquet, or lines of which one is a row', async () => {
    const { upload } = serveFiles();
    for (const content of [
      '[\n{"prompt": "a"}\n]',
      'prompt,completion\na,b\n',
      'PAR1\u0015\u0004',
      'no JSON\n{"prompt": "a"}\n',
    ]) {
      assert.equal((await upload(form(content))).status, 200, content);
    }
  });

  test('may have a byte order mark, blank lines and any object, and a name like a path', async () => {
    const { upload } = serveFiles();
    const long = JSON.stringify({ prompt: 'x'.repeat(100_000) });
    for (const content of ['\ufeff{}\r\n\r\n', '\n{}', long]) {
      assert.equal((await upload(form(content))).status, 200, content);
    }
    for (const [name, expected] of [
      ['../../etc/passwd', 'passwd'],
      ['😀'.repeat(200), '😀'.repeat(127)],
    ] as const) {
      const body = form(LINES);
      body.set('file', new Blob([LINES]), name);
      assert.equal((await readOk<FileObject>(await upload(body))).filename, expected);
    }
  });

  test('of a tenant with as many files as it may have is refused until one is deleted', async () => {
    const { app, upload } = serveFiles({ maxFiles: 1 });
    const { id } = await readOk<FileObject>(await upload(form(LINES)));
    assert.equal((await upload(form(LINES))).status, 400);
    await app.request(`/v1/files/${id}`, { method: 'DELETE' });
    assert.equal((await upload(form(LINES))).status, 200);
  });

  test('F16: what is left of an upload whose server died counts for a day, then the next upload removes it', async () => {
    let nowMs = Date.now();
    const now = () => nowMs;
    const store = createMemoryStore({ now });
    const { upload } = serveFiles({ store, now, maxFiles: 1 });
    await store.put('local/.files/file-left/content', new Uint8Array(100));
    assert.equal((await upload(form(LINES))).status, 400);
    nowMs += 25 * 3_600_000;
    const { id } = await readOk<FileObject>(await upload(form(LINES)));
    assert.deepEqual(await listKeys(store, 'local/.files/'), [
      `local/.files/${id}/content`,
      `local/.files/${id}/meta.json`,
    ]);
    nowMs += 25 * 3_600_000;
    assert.equal((await upload(form(LINES))).status, 400); // a whole file stays
  });

  test('of a tenant whose files use all of their bytes is refused until one is deleted', async () => {
    const { app, upload } = serveFiles({ maxFilesBytes: 10_000 });
    const large = `${JSON.stringify({ prompt: 'x'.repeat(6000) })}\n`;
    const { id } = await readOk<FileObject>(await upload(form(large)));
    await assertRefused(await upload(form(large)), {
      status: 400,
      param: 'file',
      message: /^Your files use \d+ bytes of 10000 bytes, which leaves no room for 6014 bytes more/,
    });
    assert.equal((await upload(form(LINES))).status, 200, 'a small one has room');
    await app.request(`/v1/files/${id}`, { method: 'DELETE' });
    assert.equal((await upload(form(large))).status, 200);
  });
});

/** Takes contents without keeping them: what is measured is the way there. */
function forgetfulStore() {
  const inner = createMemoryStore();
  return {
    ...wrapStore(inner),
    put: (key: string, source: Parameters<typeof inner.put>[1], options = {}) =>
      inner.put(key, source instanceof Uint8Array ? source : new Uint8Array(), options),
  };
}

test('a file of another tenant is as unknown: the same answer on every route', async () => {
  const jobs = filesSide();
  const { ask } = serveKeyed({ tenants: { acme: {}, umbrella: {} }, jobs });
  const { id } = await jobs.files.create('acme', {
    source: Buffer.from(LINES),
    byteSize: LINES.length,
    filename: 'a',
    purpose: 'fine-tune',
  });
  const unknown = `file-${'0'.repeat(24)}`;
  for (const [method, end] of [
    ['GET', ''],
    ['GET', '/content'],
    ['DELETE', ''],
  ] as const) {
    const [foreign, missing] = await Promise.all(
      [id, unknown].map(async (one) => {
        const response = await ask('umbrella', `/v1/files/${one}${end}`, undefined, { method });
        return [response.status, (await response.text()).replace(one, 'ID')];
      }),
    );
    assert.deepEqual(foreign, missing);
    assert.equal(foreign![0], 404);
  }
  assert.equal((await ask('acme', `/v1/files/${id}`)).status, 200);
  assert.deepEqual((await readOk<{ data: [] }>(await ask('umbrella', '/v1/files'))).data, []);
});

test('a file whose metadata are damaged is an error, is not listed, and can be deleted', async () => {
  const store = createMemoryStore();
  const { app, upload } = serveFiles({ store });
  const damaged = await readOk<FileObject>(await upload(form(LINES)));
  const sound = await readOk<FileObject>(await upload(form(LINES)));
  await store.put(`local/.files/${damaged.id}/meta.json`, Buffer.from('{"schema":1}'));
  const path = `/v1/files/${damaged.id}`;
  for (const part of ['', '/content']) {
    const response = await app.request(`${path}${part}`);
    const message = /damaged in the store, .*Delete it and create it again/;
    await assertRefused(response, { status: 500, code: 'object_damaged', message });
  }
  const { data } = await readOk<{ data: FileObject[] }>(await app.request('/v1/files'));
  assert.deepEqual(data, [sound]);
  assert.equal((await app.request(path, { method: 'DELETE' })).status, 200);
  assert.equal((await app.request(path)).status, 404);
  assert.equal(await store.head(`local/.files/${damaged.id}/content`), undefined);
});

test('an expired file is gone', async () => {
  let nowMs = 1_700_000_000_000;
  const store = createMemoryStore();
  const { upload, app } = serveFiles({ store, now: () => nowMs });
  const { id } = await readOk<FileObject>(await upload(form(LINES, expiringAfter(3600))));
  nowMs += 3_599_000;
  assert.equal((await app.request(`/v1/files/${id}`)).status, 200);
  nowMs += 1000;
  assert.equal((await app.request(`/v1/files/${id}`)).status, 404);
  for await (const { key } of store.list('')) assert.fail(`${key} is left`);
});

// Writes the files with a batch's results: the committed parts, one after the other, and an error for each line that was not
// answered. A server that takes over writes the same files again.
import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { RecordLease } from '../jobs/lease.ts';
import { type BatchRecord, isAnswered } from './batch.ts';
import { readBatchLines } from './batch-input.ts';
import { unansweredResult } from './batch-results.ts';
import type { ResultKind } from './batch-store.ts';
import type { BatchesContext } from './context.ts';

interface FilesContext extends Pick<BatchesContext, 'batches' | 'files' | 'createId'> {
  /** A local folder for the files until they are in the store. */
  readonly folder: string;
}

interface ResultInput {
  /** The local input file. */
  readonly input: string;
  readonly signal: AbortSignal;
}

/** The files of a batch that is about to end. */
export interface ResultFiles {
  readonly ids: Pick<BatchRecord, 'outputFile' | 'errorFile'>;
  readonly hasUnanswered: boolean;
}

/** Writes the files. Empty ones are left out. */
export async function writeResultFiles(
  lease: RecordLease<BatchRecord>,
  context: FilesContext,
  { input, signal }: ResultInput,
): Promise<ResultFiles> {
  const { batches, files, createId, folder } = context;
  // The ids are chosen before the files exist, so that no server writes a file twice.
  await lease.change((batch) => {
    if (batch.reserved) return undefined;
    return { ...batch, reserved: { output: createId('file'), errors: createId('file') } };
  });
  const batch = lease.record;
  let unanswered = 0;
  async function* content(kind: ResultKind) {
    yield* batches.readParts(batch, kind, { signal });
    if (kind === 'output') return;
    for await (const text of unansweredResults(batch, input)) {
      unanswered++;
      yield Buffer.from(`${text}\n`);
    }
  }
  const create = async (kind: ResultKind): Promise<string | undefined> => {
    const file = path.join(folder, `${kind}.jsonl`);
    await pipeline(content(kind), createWriteStream(file), { signal });
    const { size: byteSize } = await stat(file);
    if (byteSize === 0) return undefined;
    const filename = `${batch.id}_${kind === 'output' ? 'output' : 'error'}.jsonl`;
    const facts = {
      id: batch.reserved![kind],
      byteSize,
      filename,
      purpose: 'batch_output' as const,
    };
    const expiry = batch.keepMs === undefined ? {} : { expiresAfterMs: batch.keepMs };
    const call = { signal };
    return (await files.create(batch.tenant, { source: { file }, ...facts, ...expiry }, call)).id;
  };
  const outputFile = await create('output');
  const errorFile = await create('errors');
  const ids = { ...(outputFile && { outputFile }), ...(errorFile && { errorFile }) };
  return { ids, hasUnanswered: unanswered > 0 };
}

/** The results of lines that were not answered. A batch that was cancelled before its check has none. */
async function* unansweredResults(batch: BatchRecord, input: string): AsyncGenerator<string> {
  const { cursor, total } = batch;
  if (total === 0 || (cursor.open.length === 0 && cursor.line >= total)) return;
  for await (const line of readBatchLines(input)) {
    if (!isAnswered(cursor, line.index)) yield unansweredResult(batch, line);
  }
}

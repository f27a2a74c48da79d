// The parsers under test: how they refuse a file, and what holds for a file that they accept.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import type { ZodType } from 'zod';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { parseAdapterConfig } from '../../adapters/peft/peft-config.ts';
import { AliasStore } from '../../adapters/repository/aliases.ts';
import { ChangeLog } from '../../adapters/repository/changes.ts';
import { keys, versionsOf } from '../../adapters/repository/manifest.ts';
import { VersionStore } from '../../adapters/repository/versions.ts';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { isDamage } from '../../adapters/store/store.ts';
import { FileError, ServeError } from '../../src/common/errors.ts';
import { elementCount } from '../../src/common/tensor.ts';
import {
  GENERATION_CONFIG_FILE,
  generationConfigSchema,
  readGenerationConfig,
} from '../../src/contracts/generation-config.ts';
import {
  readTrainingOrigin,
  TRAINING_ORIGIN_FILE,
  trainingOriginSchema,
} from '../../src/contracts/training-origin.ts';
import { openGguf } from '../../src/formats/gguf.ts';
import {
  ADAPTER_LIMITS,
  parseSafetensors,
  serializeSafetensors,
} from '../../src/formats/safetensors.ts';
import { moduleName, TARGET_NAMES } from '../../src/model/target-modules.ts';
import { splitLines } from '../../src/rows/lines.ts';
import { parseRow, TrainingRowError } from '../../src/rows/row-schema.ts';
import { parseKeysFile } from '../../src/tenants/keys-file.ts';
import {
  decodeEntry,
  encodeEntry,
  factsSchema,
  requestSchema,
  resultSchema,
  samplingSessionSchema,
} from '../../src/tinker/journal-entries.ts';
import { adapterBytes, configBytes, MODEL } from '../adapters/sample.ts';
import { CONSTRAINT_TARGETS } from './constraint-targets.ts';
import {
  ADAPTER,
  ALIASES,
  CONFIGS,
  GENERATION_CONFIGS,
  GGUF,
  JOURNAL_ENTRIES,
  KEYS_FILES,
  MANIFESTS,
  ROWS,
  TRAINING_ORIGINS,
  VERSION,
  WEIGHTS,
} from './formats.ts';
import type { Target } from './fuzz.ts';

const MODULES = [0, 1, 2].flatMap((layer) => TARGET_NAMES.map((name) => moduleName(layer, name)));

const isFileError = (error: unknown) => error instanceof FileError && error.field !== '';
/** A refusal of an adapter, with the field or tensor at fault. */
const isInvalidAdapter = (error: unknown) =>
  error instanceof ServeError && error.status === 422 && (error.param ?? '') !== '';

const GOOD_CONFIG = configBytes();

/** Some parsers read from a path. In memory, if the system has such a folder. */
const SCRATCH = mkdtempSync(
  path.join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lorikeet-fuzz-'),
);
const GGUF_PATH = path.join(SCRATCH, 'model.gguf');
process.on('exit', () => rmSync(SCRATCH, { recursive: true }));

/** Reads a JSON file from a folder, and holds what comes against its schema. */
function ofFolder(name: string, read: (folder: string) => Promise<unknown>, schema: ZodType) {
  return {
    isRefusal: isFileError,
    async run(file: Uint8Array) {
      writeFileSync(path.join(SCRATCH, name), file);
      const value = await read(SCRATCH);
      assert.deepEqual(schema.parse(value), value);
    },
  };
}

/** Of the files of a session's journal. */
const ENTRY_SCHEMAS = [factsSchema, samplingSessionSchema, requestSchema, resultSchema];

/** All targets except those of the HTTP API. */
export const PARSERS: readonly Target[] = [
  {
    name: 'safetensors',
    ...WEIGHTS,
    isRefusal: isFileError,
    run(file) {
      parseSafetensors(file);
      const { tensors, metadata } = parseSafetensors(file, ADAPTER_LIMITS);
      const written = serializeSafetensors(tensors, metadata);
      const again = parseSafetensors(written, ADAPTER_LIMITS);
      const rewritten = serializeSafetensors(again.tensors, again.metadata);
      assert.equal(Buffer.compare(rewritten, written), 0, 'it is read back as it was');
    },
  },
  {
    name: 'adapter-weights',
    ...WEIGHTS,
    isRefusal: isInvalidAdapter,
    async run(file) {
      const { byteSize } = await parseAdapter(adapterBytes(GOOD_CONFIG, file), MODEL);
      assert.ok(byteSize > 0);
    },
  },
  {
    name: 'adapter-config',
    ...CONFIGS,
    isRefusal: isInvalidAdapter,
    async run(file) {
      const config = await parseAdapterConfig(file, MODULES);
      for (const name of MODULES.filter((module) => config.isTargeted(module))) {
        const { rank, scaling } = config.settingOf(name);
        assert.ok(Number.isInteger(rank) && rank > 0 && Number.isFinite(scaling), name);
      }
    },
  },
  {
    name: 'gguf',
    ...GGUF,
    isRefusal: isFileError,
    async run(file) {
      writeFileSync(GGUF_PATH, file);
      const opened = await openGguf(GGUF_PATH);
      try {
        for (const [name, shape] of opened.shapes) {
          assert.equal(opened.read(name).length, elementCount(shape));
        }
      } finally {
        opened.close();
      }
    },
  },
  {
    name: 'training-rows',
    ...ROWS,
    isRefusal: (error) => error instanceof TrainingRowError,
    async run(file) {
      const halves = [file.subarray(0, file.length / 2), file.subarray(file.length / 2)];
      for await (const { text, fault } of splitLines(Readable.from(halves), 4096)) {
        assert.ok((text === undefined) === (fault !== undefined));
        if (text !== undefined) parseRow(text);
      }
    },
  },
  {
    name: 'keys-file',
    ...KEYS_FILES,
    isRefusal: isFileError,
    run(file) {
      const parsed = parseKeysFile(Buffer.from(file).toString());
      assert.deepEqual(parseKeysFile(JSON.stringify(parsed)), parsed);
    },
  },
  {
    name: 'manifest',
    ...MANIFESTS,
    isRefusal: (error) => isDamage(error as Error),
    async run(file) {
      const store = guardStore(createMemoryStore());
      await store.put(keys.versionFile(VERSION, 'manifest.json'), file);
      const manifest = await new VersionStore({ store }).manifest(VERSION);
      if (manifest) assert.deepEqual({ ...manifest, ...VERSION }, manifest);
    },
  },
  {
    name: 'aliases',
    ...ALIASES,
    isRefusal: (error) => isDamage(error as Error),
    async run(file) {
      const store = guardStore(createMemoryStore());
      await store.put(keys.alias(ADAPTER.tenant, ADAPTER.name), file);
      const { aliases } = (await new AliasStore({ store }, new ChangeLog({ store })).read(
        ADAPTER,
      ))!;
      for (const pointer of Object.values(aliases.aliases))
        assert.ok(versionsOf(pointer).length > 0);
    },
  },
  {
    name: 'generation-config',
    ...GENERATION_CONFIGS,
    ...ofFolder(GENERATION_CONFIG_FILE, readGenerationConfig, generationConfigSchema),
  },
  {
    name: 'training-origin',
    ...TRAINING_ORIGINS,
    ...ofFolder(TRAINING_ORIGIN_FILE, readTrainingOrigin, trainingOriginSchema),
  },
  {
    name: 'journal-entry',
    ...JOURNAL_ENTRIES,
    isRefusal: isFileError,
    run(file) {
      const faults = ENTRY_SCHEMAS.flatMap((schema: ZodType<object>) => {
        const decode = (bytes: Uint8Array) => decodeEntry(Buffer.from(bytes), schema, 'entry');
        try {
          const written = encodeEntry(decode(file));
          assert.deepEqual(encodeEntry(decode(written)), written, 'it is read back as it was');
          return [];
        } catch (error) {
          if (!isFileError(error)) throw error;
          return [error];
        }
      });
      if (faults.length === ENTRY_SCHEMAS.length) throw faults[0];
    },
  },
  ...CONSTRAINT_TARGETS,
];

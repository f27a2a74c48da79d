// What the engine process is told about an adapter: an identity, and the local files that make it up. Plain data.

export interface AdapterSource {
  /** Of its owner and its content, hex: what caches and slots know it by. */
  readonly digest: string;
  /** Who made it, for fair shares of caches. */
  readonly owner: string;
  /** One for a plain adapter; their sum for a composition. */
  readonly parts: readonly AdapterSourcePart[];
}

export interface AdapterSourcePart {
  /** SHA-256 over its two files as `adapters/peft/digest.ts` defines it, hex: checked when they are read. */
  readonly digest: string;
  /** A local PEFT folder. */
  readonly directory: string;
  /** Multiplies its update; 1 for a plain adapter. */
  readonly weight: number;
}

// Training runs and checkpoints as the lists of Tinker's protocol answer them. The protocol's client ignores what is under
// `lorikeet`.

/** A checkpoint of a run. */
export interface TinkerCheckpoint {
  /** `{folder}/{name}` */
  readonly checkpoint_id: string;
  readonly checkpoint_type: 'training' | 'sampler';
  /** ISO 8601, as all times here. */
  readonly time: string;
  readonly tinker_path: string;
  readonly size_bytes: number;
  readonly public: false;
  readonly user_metadata: Readonly<Record<string, string>> | null;
  /** Null: never. */
  readonly expires_at: string | null;
  readonly lorikeet: {
    /** The name of the model that it is. */
    readonly model: string;
    readonly version: number;
  };
}

/** A training run. */
export interface TinkerRun {
  readonly training_run_id: string;
  readonly base_model: string;
  readonly model_owner: string;
  readonly is_lora: true;
  readonly lora_rank: number;
  readonly last_request_time: string;
  readonly last_checkpoint: TinkerCheckpoint | null;
  readonly last_sampler_checkpoint: TinkerCheckpoint | null;
  readonly user_metadata: Readonly<Record<string, string>> | null;
  readonly lorikeet: {
    /** ended: its session has ended. */
    readonly state: 'training' | 'ended';
    readonly steps: number;
    /** The newest mean loss per token. */
    readonly loss: number | null;
    /** A step and its loss, oldest first. Only if a single run is requested. */
    readonly losses?: readonly (readonly [step: number, loss: number])[];
  };
}

// How messages get to an engine and back: what the client needs of a child process or of function calls.
import type { EngineModelInfo, FromEngine, ToEngine } from './protocol.ts';

export type EngineState = 'starting' | 'ready' | 'restarting' | 'stopped';

export interface EngineChannel {
  readonly state: EngineState;
  /** Known once the engine was ready. */
  readonly model: EngineModelInfo | undefined;
  /** False while a ready engine is stopped, or its step takes far longer than its steps do. */
  readonly isProgressing: boolean;
  /** Once it is ready (again); rejects where it is stopped. */
  whenReady(): Promise<EngineModelInfo>;
  send(message: ToEngine): void;
  /** Its messages make no sense: the engine is ended, and started anew where that is possible. */
  distrust(reason: string): void;
  /** Ends the engine, whose requests fail, and starts another where that is possible. This counts as no crash. */
  restart(reason: string): void;
  /** Resolves once the engine has ended. */
  drain(deadlineMs: number): Promise<void>;
}

export interface ChannelHandlers {
  onMessage(message: FromEngine): void;
  /** The engine and all that it held is gone. */
  onLost(): void;
  /** After `onLost`: how the engine ended is known, and it was its own doing. */
  onCrashed(): void;
  /** Whether a sequence waits for a step; one whose adapter is being loaded does not. */
  isWaiting(): boolean;
}

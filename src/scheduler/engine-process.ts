// The engine process's program, forked by the supervisor.
import { endStartPhase } from '../common/start-phases.ts';
import { runEngineChild } from './engine-child.ts';
import { createEngineHost } from './engine-host.ts';

endStartPhase('imports');
await runEngineChild(createEngineHost);

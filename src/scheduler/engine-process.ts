// The engine process's program, forked by the supervisor.
import { runEngineChild } from './engine-child.ts';
import { createEngineHost } from './engine-host.ts';

await runEngineChild(createEngineHost);

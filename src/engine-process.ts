// The engine process's entry point. The server's supervisor forks it.
import { endStartPhase } from './common/start-phases.ts';
import { runEngine } from './compose/engine.ts';

endStartPhase('imports');
await runEngine();

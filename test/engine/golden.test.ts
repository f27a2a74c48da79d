import { goldenSuite } from './golden-suite.ts';

goldenSuite('on the CPU', { provider: 'cpu' });

// This package's version and root folder, found from the sources and from dist/ alike.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(import.meta.url);
const packageJson: { version: string } = require('#package.json');

export const VERSION = packageJson.version;
export const PACKAGE_ROOT = path.dirname(require.resolve('#package.json'));

// TypeScript to JavaScript by Node's own type stripping: positions stay as they are, so no source map is needed.
import { stripTypeScriptTypes } from 'node:module';

export default { process: (source) => ({ code: stripTypeScriptTypes(source) }) };

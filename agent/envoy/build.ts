// Compiles Envoy's keeper (agent/envoy/keeper) into build/weir-keeper. Run by the set-up; a no-op when nothing changed.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileProgram } from '../workload/build.ts';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'keeper');
export const keeperPath = join(folder, '..', '..', '..', 'build', 'weir-keeper');

export const buildKeeper = (): void => { compileProgram(folder, keeperPath); };

if (process.argv[1] === fileURLToPath(import.meta.url)) buildKeeper();
